//! The calling side.

use super::{
    ALPN,
    pem::{InvalidTls, Source},
    stream::Stream,
    watch,
    words::{self, Side},
};
use rustls::{
    ClientConfig, RootCertStore, client::Resumption, crypto::ring, pki_types::ServerName, version::TLS13,
};
use std::{
    fmt, io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use towpath_core::ErrorKind;

/// Whom a client trusts, and who it is itself: for `mcps://` addresses. Clones share what is
/// [reloaded](Self::reload).
///
/// ```no_run
/// use towpath_transport::ClientTls;
/// let tls = ClientTls::builder().ca_file("ca.pem").identity_files("client.pem", "client.key").build()?;
/// # Ok::<(), towpath_transport::InvalidTls>(())
/// ```
#[derive(Clone)]
pub struct ClientTls(Arc<Shared>);

struct Shared {
    made_of: ClientTlsBuilder,
    server_name: Option<ServerName<'static>>,
    current: RwLock<Arc<ClientConfig>>,
}

/// Settings of a [`ClientTls`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing unless it builds"]
pub struct ClientTlsBuilder {
    ca: Vec<Source>,
    identity: Option<(Source, Source)>,
    server_name: Option<String>,
}

impl ClientTlsBuilder {
    /// Trusts servers whose certificates were signed by a CA in this file (PEM, one or many). Can be said more
    /// than once. No CA is trusted by itself, not even those that browsers trust; a system's bundle is a file
    /// too (`/etc/ssl/certs/ca-certificates.crt` on Debian).
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.ca.push(path.as_ref().into());
        self
    }

    /// The same, from memory.
    pub fn ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.ca.push(pem.as_ref().into());
        self
    }

    /// Who this client is, for servers that ask: a certificate, with those between it and the CA behind it, and
    /// its private key, both in PEM.
    pub fn identity_files(mut self, certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.identity = Some((certificates.as_ref().into(), key.as_ref().into()));
        self
    }

    /// The same, from memory.
    pub fn identity_pem(mut self, certificates: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity = Some((certificates.as_ref().into(), key.as_ref().into()));
        self
    }

    /// The name that the server's certificate has to be for, in place of the address's host.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Reads the files.
    ///
    /// # Errors
    /// If a file cannot be read or is no PEM, if there is no CA, if key and certificate do not belong together,
    /// or if the server's name is none.
    pub fn build(self) -> Result<ClientTls, InvalidTls> {
        let server_name = match &self.server_name {
            Some(name) => Some(server_name(name).map_err(InvalidTls::new)?),
            None => None,
        };
        let current = RwLock::new(Arc::new(self.config()?));
        Ok(ClientTls(Arc::new(Shared { made_of: self, server_name, current })))
    }

    fn config(&self) -> Result<ClientConfig, InvalidTls> {
        if self.ca.is_empty() {
            return Err(InvalidTls::new("there is no CA to trust: name a file with its certificate"));
        }
        let mut roots = RootCertStore::empty();
        for source in &self.ca {
            for certificate in source.certificates("the CA")? {
                roots
                    .add(certificate)
                    .map_err(|error| InvalidTls::new(format!("the CA: {source}: {error}")))?;
            }
        }
        let invalid = |error: rustls::Error| InvalidTls::new(error.to_string());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(invalid)?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((certificates, key)) => {
                let chain = certificates.certificates("the client's certificate")?;
                let key_der = key.key("the client's key")?;
                config.with_client_auth_cert(chain, key_der).map_err(|error| {
                    InvalidTls::new(format!(
                        "the client's certificate {certificates} with the key {key}: {error}"
                    ))
                })?
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl ClientTls {
    /// One that trusts nobody yet.
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder::default()
    }

    /// Reads the files again, for connections that are made from now on.
    ///
    /// # Errors
    /// As [`build`](ClientTlsBuilder::build); then all stays as it was.
    pub fn reload(&self) -> Result<(), InvalidTls> {
        let config = Arc::new(self.0.made_of.config()?);
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// [Reloads](Self::reload) whenever one of the files has changed, which it looks for every so often, at least 10 ms apart; what
    /// comes of it is logged. It never ends: spawn it, or select over it.
    pub async fn watch(&self, every: Duration) {
        let made_of = &self.0.made_of;
        let identity = made_of.identity.iter().flat_map(|(certificates, key)| [certificates, key]);
        let sources: Vec<&Source> = made_of.ca.iter().chain(identity).collect();
        watch::watch(&sources, every, || self.reload()).await;
    }

    /// The handshake. An error comes with its kind and in words.
    pub(crate) async fn connect(&self, stream: TcpStream, host: &str) -> Result<Stream, (ErrorKind, String)> {
        let failed = |why| (ErrorKind::ConnectFailed, why);
        let name = match &self.0.server_name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(failed)?,
        };
        let config = self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let shaken = TlsConnector::from(config).connect(name, stream).await;
        let stream = shaken.map_err(|error| (words::kind(&error), during(&error)))?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(failed(
                "the server speaks TLS, but not MCP: it does not take mcp/1 by ALPN".to_owned(),
            ));
        }
        Ok(Stream::new(tokio_rustls::TlsStream::Client(stream), Side::Client))
    }
}

fn during(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "the server ended the connection during the TLS handshake: check that it serves TLS".to_owned()
        }
        io::ErrorKind::ConnectionReset => {
            format!("{error} during the TLS handshake: check that the server serves TLS")
        }
        _ => words::say(error, Side::Client),
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    // The zone of an IPv6 address is of this machine only.
    let name = host.split('%').next().unwrap_or(host);
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("{host:?} is no name that a certificate can be for"))
}

/// Whoever sees it sees names of files, and no key.
impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientTls").field(&self.0.made_of).finish()
    }
}
