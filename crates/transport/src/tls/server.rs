//! The answering side.

use super::{
    ALPN,
    pem::{InvalidTls, Source},
    stream::Stream,
    watch,
    words::{self, Side},
};
use crate::{farewell::Farewell, out::OutQueue, peer::Certificates, traffic::Meter};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use std::{
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

/// How long a client has for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Who a server is, and which clients it lets in: for `mcps://`. Clones share what is
/// [reloaded](Self::reload).
///
/// ```no_run
/// use towpath_transport::ServerTls;
/// let tls = ServerTls::builder().identity_files("server.pem", "server.key").client_ca_file("ca.pem").build()?;
/// # Ok::<(), towpath_transport::InvalidTls>(())
/// ```
#[derive(Clone)]
pub struct ServerTls(Arc<Shared>);

struct Shared {
    made_of: ServerTlsBuilder,
    current: RwLock<Arc<ServerConfig>>,
}

/// Settings of a [`ServerTls`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing unless it builds"]
pub struct ServerTlsBuilder {
    identity: Option<(Source, Source)>,
    client_ca: Vec<Source>,
    client_auth: ClientAuth,
    handshake_timeout: Duration,
}

/// Whether a client has to show a certificate, where a client CA is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientAuth {
    /// Without one nobody gets in.
    #[default]
    Required,
    /// A client without one gets in too; one with a bad one does not.
    Optional,
}

impl ServerTlsBuilder {
    /// Who this server is: a certificate, with those between it and the CA behind it, and its private key, both
    /// in PEM.
    pub fn identity_files(mut self, certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.identity = Some((certificates.as_ref().into(), key.as_ref().into()));
        self
    }

    /// The same, from memory.
    pub fn identity_pem(mut self, certificates: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity = Some((certificates.as_ref().into(), key.as_ref().into()));
        self
    }

    /// Asks clients for certificates, signed by a CA in this file (PEM, one or many): mutual TLS. Can be said
    /// more than once.
    pub fn client_ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.client_ca.push(path.as_ref().into());
        self
    }

    /// The same, from memory.
    pub fn client_ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.client_ca.push(pem.as_ref().into());
        self
    }

    /// Whether a client has to show a certificate; by default it has to, where a client CA is given. Where none
    /// is, nobody is asked for one.
    pub fn client_auth(mut self, auth: ClientAuth) -> Self {
        self.client_auth = auth;
        self
    }

    /// How long a client has for its handshake, the wait for its first byte included; default 10 s. At least 1
    /// ms, at most a day.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout.clamp(Duration::from_millis(1), Duration::from_secs(86_400));
        self
    }

    /// Reads the files.
    ///
    /// # Errors
    /// If a file cannot be read or is no PEM, if there is no certificate, or if key and certificate do not belong
    /// together.
    pub fn build(self) -> Result<ServerTls, InvalidTls> {
        let current = RwLock::new(Arc::new(self.config()?));
        Ok(ServerTls(Arc::new(Shared { made_of: self, current })))
    }

    fn config(&self) -> Result<ServerConfig, InvalidTls> {
        let Some((certificates, key)) = &self.identity else {
            return Err(InvalidTls::new("there is no certificate: name its file, and that of its key"));
        };
        let invalid = |error: rustls::Error| InvalidTls::new(error.to_string());
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(invalid)?;
        let config = if self.client_ca.is_empty() {
            config.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for source in &self.client_ca {
                for certificate in source.certificates("the client CA")? {
                    let added = roots.add(certificate);
                    added.map_err(|error| InvalidTls::new(format!("the client CA: {source}: {error}")))?;
                }
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match self.client_auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let verifier =
                verifier.build().map_err(|error| InvalidTls::new(format!("the client CA: {error}")))?;
            config.with_client_cert_verifier(verifier)
        };
        let chain = certificates.certificates("the server's certificate")?;
        let key_der = key.key("the server's key")?;
        let mut config = config.with_single_cert(chain, key_der).map_err(|error| {
            InvalidTls::new(format!("the server's certificate {certificates} with the key {key}: {error}"))
        })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// What came of a handshake.
pub(crate) enum Shaken {
    /// A client that may come in, with its certificates if it has shown some.
    In(Box<Stream>, Certificates),
    /// A client with something to be told, over TLS or without.
    Tell(Told, &'static str),
    /// Nobody is left to be told anything.
    Out,
}

pub(crate) enum Told {
    Tls(Box<Stream>),
    Plain(TcpStream),
}

impl ServerTls {
    /// One without a certificate yet.
    pub fn builder() -> ServerTlsBuilder {
        ServerTlsBuilder {
            identity: None,
            client_ca: Vec::new(),
            client_auth: ClientAuth::default(),
            handshake_timeout: HANDSHAKE,
        }
    }

    /// Reads the files again, for handshakes that begin from now on; open connections go on as they are.
    ///
    /// # Errors
    /// As [`build`](ServerTlsBuilder::build); then all stays as it was.
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
        let sources: Vec<&Source> = made_of.client_ca.iter().chain(identity).collect();
        watch::watch(&sources, every, || self.reload()).await;
    }

    /// The handshake, no longer than it may take.
    pub(crate) async fn accept(&self, stream: TcpStream, peer: SocketAddr) -> Shaken {
        let limit = self.0.made_of.handshake_timeout;
        match timeout(limit, self.shake(stream)).await {
            Ok(Ok(shaken)) => shaken,
            Ok(Err((error, stream))) => {
                let why = words::say(&error, Side::Server);
                if words::is_trouble(&error) {
                    tracing::warn!(%peer, why, "a client was not let in");
                } else {
                    tracing::debug!(%peer, why, "a TLS handshake failed");
                }
                // What it has sent already would reset the connection, and destroy the alert on its way.
                let (mut stream, mut farewell) = (stream, Farewell::new(OutQueue::default()));
                poll_fn(|cx| farewell.poll(&mut stream, cx, &Meter::default())).await;
                Shaken::Out
            }
            Err(_) => {
                tracing::debug!(%peer, "a TLS handshake took longer than {} ms", limit.as_millis());
                Shaken::Out
            }
        }
    }

    async fn shake(&self, stream: TcpStream) -> Result<Shaken, (io::Error, TcpStream)> {
        let mut first = [0];
        match stream.peek(&mut first).await {
            // As an MCP frame begins, and no record of TLS does.
            Ok(1) if first == *b"M" => {
                return Ok(Shaken::Tell(Told::Plain(stream), "this port speaks TLS: connect to mcps://"));
            }
            Ok(_) => {}
            Err(error) => return Err((error, stream)),
        }
        let config = self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = TlsAcceptor::from(config).accept(stream).into_fallible().await?;
        let session = stream.get_ref().1;
        let mcp = session.alpn_protocol() == Some(ALPN);
        let certificates = certificates(session.peer_certificates().unwrap_or_default());
        let stream = Box::new(Stream::new(tokio_rustls::TlsStream::Server(stream), Side::Server));
        if !mcp {
            return Ok(Shaken::Tell(
                Told::Tls(stream),
                "offer mcp/1 by ALPN: the highest version spoken is 1",
            ));
        }
        Ok(Shaken::In(stream, certificates))
    }
}

fn certificates(chain: &[CertificateDer<'_>]) -> Certificates {
    let mut shown = Certificates::default();
    if let Some(end) = chain.first().and_then(|der| webpki::EndEntityCert::try_from(der).ok()) {
        shown.dns_names = end.valid_dns_names().map(ToOwned::to_owned).collect();
        shown.uris = end.valid_uri_names().map(ToOwned::to_owned).collect();
    }
    shown.chain = chain.iter().map(|der| der.to_vec().into()).collect();
    shown
}

/// Whoever sees it sees names of files, and no key.
impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerTls").field(&self.0.made_of).finish()
    }
}
