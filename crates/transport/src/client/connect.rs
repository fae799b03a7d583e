//! From an address to a connection.

use super::{
    Connection,
    eyeballs::{Answers, interleave, race},
};
use crate::{
    address::{Address, Scheme},
    config::ClientConfig,
    stream::Socket,
    tls::{self, ClientTls},
    traffic::Traffic,
    unix,
};
use std::{path::Path, sync::OnceLock};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};
use towpath_core::{Error, ErrorKind, Processed};

/// Makes connections: what it takes beside an address. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Connector {
    config: ClientConfig,
    tls: Option<ClientTls>,
    traffic: Option<Traffic>,
}

impl Connector {
    /// One that makes connections with these limits and times.
    pub fn new(config: ClientConfig) -> Self {
        Connector { config, tls: None, traffic: None }
    }

    /// Whom to trust, and who this client is, on addresses of `mcps://`.
    #[cfg(feature = "tls")]
    pub fn with_tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Counts its connections, and what goes over them.
    pub fn with_traffic(mut self, traffic: &Traffic) -> Self {
        self.traffic = Some(traffic.clone());
        self
    }

    /// The same with other limits and times.
    pub fn with_config(mut self, config: ClientConfig) -> Self {
        self.config = config;
        self
    }

    /// The limits and times.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Connects, and spawns the driver on the current tokio runtime.
    ///
    /// A name is looked up by the system's resolver. Of its addresses, IPv6 and IPv4 take turns; the next one is
    /// tried beside the others when 250 ms have passed or one has failed, and the first that connects wins
    /// (RFC 8305). All that is within [`connect_timeout`](ClientConfig::connect_timeout).
    ///
    /// Over TLS it is connected when the peer has answered a PING: a server looks at a client's certificate only
    /// when the handshake is over for the client.
    ///
    /// Cancel safety: dropping it gives up all attempts.
    ///
    /// # Errors
    /// MCP-E-011, not processed: the name is unknown, nobody listens, the time is up, or TLS fails; it says what
    /// each address answered, and what to do. MCP-E-007, not processed: the server wants a certificate of this
    /// client, or another one.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(&self, address: &Address) -> Result<Connection, Error> {
        let failed = |why: String| Error::new(ErrorKind::ConnectFailed).at(address.to_string()).because(why);
        self.config.validate().map_err(|error| failed(error.to_string()))?;
        let until = Instant::now() + self.config.connect_timeout;
        let tls = match (address.scheme(), &self.tls) {
            (Scheme::Tls, None) => return Err(failed(tls::NO_CLIENT.to_owned())),
            (Scheme::Tls, tls) => tls.as_ref(),
            _ => None,
        };
        let Some((host, port)) = address.host_port() else {
            let path = address.path().unwrap_or("".as_ref());
            let socket = Socket::Unix(self.unix(path, until, &failed).await?);
            return self.run(socket, address, &failed);
        };
        let stream = self.tcp(host, port, until, &failed).await?;
        // A request is written whole; waiting for more to send would only delay it.
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let Some(tls) = tls else { return self.run(Socket::Tcp(stream), address, &failed) };
        let waited = self.config.connect_timeout.as_millis();
        let stream = match timeout_at(until, tls.connect(stream, host)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err((kind, why))) => return Err(Error::new(kind).at(address.to_string()).because(why)),
            Err(_) => {
                return Err(failed(format!("no TLS handshake within {waited} ms: check that it serves TLS")));
            }
        };
        let failure = stream.failure();
        let connection = self.run(Socket::Tls(Box::new(stream)), address, &failed)?;
        match timeout_at(until, connection.ping()).await {
            Ok(Ok(_)) => Ok(connection),
            Ok(Err(error)) => Err(not_let_in(error, &failure)),
            Err(_) => Err(failed(format!("it speaks TLS, and answers no PING within {waited} ms"))),
        }
    }

    fn run(
        &self,
        socket: Socket,
        address: &Address,
        failed: &impl Fn(String) -> Error,
    ) -> Result<Connection, Error> {
        let (connection, driver) = Connection::new(socket, address.to_string(), &self.config)
            .map_err(|error| failed(error.to_string()))?;
        tokio::spawn(match &self.traffic {
            Some(traffic) => driver.with_traffic(traffic),
            None => driver,
        });
        Ok(connection)
    }

    async fn tcp(
        &self,
        host: &str,
        port: u16,
        until: Instant,
        failed: &impl Fn(String) -> Error,
    ) -> Result<TcpStream, Error> {
        let waited = self.config.connect_timeout.as_millis();
        let addresses = match timeout_at(until, lookup_host((host, port))).await {
            Ok(Ok(addresses)) => interleave(addresses),
            Ok(Err(error)) => {
                return Err(failed(format!("the name cannot be looked up: {error}")).with_source(error));
            }
            Err(_) => return Err(failed(format!("the name could not be looked up within {waited} ms"))),
        };
        let mut answers = Answers::default();
        match timeout_at(until, race(addresses, &mut answers, TcpStream::connect)).await {
            Ok(Some(stream)) => Ok(stream),
            Ok(None) if answers.count() == 0 => Err(failed("the name has no address".to_owned())),
            Ok(None) => {
                let error = failed(answers.text());
                Err(match answers.into_error() {
                    Some(source) => error.with_source(source),
                    None => error,
                })
            }
            Err(_) if answers.count() == 1 => Err(failed(format!("no answer within {waited} ms"))),
            Err(_) => Err(failed(format!("no connection within {waited} ms: {}", answers.text()))),
        }
    }

    async fn unix(
        &self,
        path: &Path,
        until: Instant,
        failed: &impl Fn(String) -> Error,
    ) -> Result<unix::UnixStream, Error> {
        match timeout_at(until, unix::connect(path)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(failed(unix::reason(path, &error)).with_source(error)),
            Err(_) => {
                let waited = self.config.connect_timeout.as_millis();
                Err(failed(format!("no answer within {waited} ms")))
            }
        }
    }
}

/// A connection that ended before it was of any use was none.
fn not_let_in(error: Error, failure: &OnceLock<ErrorKind>) -> Error {
    let kind = match (failure.get(), error.kind()) {
        (Some(kind), _) => *kind,
        (None, ErrorKind::Unauthenticated) => ErrorKind::Unauthenticated,
        _ => ErrorKind::ConnectFailed,
    };
    let peer = error.endpoint().unwrap_or_default().to_owned();
    let why = error.detail().to_owned();
    Error::new(kind).at(peer).because(why).with_processed(Processed::No).with_source(error)
}

impl Connection {
    /// Connects with these limits and times, and with nothing else: see [`Connector::connect`].
    ///
    /// # Errors
    /// MCP-E-011, not processed: the name is unknown, nobody listens, or the time is up.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(address: &Address, config: &ClientConfig) -> Result<Connection, Error> {
        Connector::new(config.clone()).connect(address).await
    }
}
