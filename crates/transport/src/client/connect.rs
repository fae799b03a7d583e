//! From an address to a connection.

use super::{
    Connection,
    eyeballs::{Answers, interleave, race},
};
use crate::{address::Address, config::ClientConfig, stream::Socket, unix};
use std::path::Path;
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};
use towpath_core::{Error, ErrorKind};

/// Makes connections: what it takes beside an address. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Connector {
    config: ClientConfig,
}

impl Connector {
    /// One that makes connections with these limits and times.
    pub fn new(config: ClientConfig) -> Self {
        Connector { config }
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
    /// Cancel safety: dropping it gives up all attempts.
    ///
    /// # Errors
    /// MCP-E-011, not processed: the name is unknown, nobody listens, or the time is up. It says what each
    /// address answered.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(&self, address: &Address) -> Result<Connection, Error> {
        let failed = |why: String| Error::new(ErrorKind::ConnectFailed).at(address.to_string()).because(why);
        self.config.validate().map_err(|error| failed(error.to_string()))?;
        let until = Instant::now() + self.config.connect_timeout;
        let socket = match (address.host_port(), address.path()) {
            (Some((host, port)), _) => Socket::Tcp(self.tcp(host, port, until, &failed).await?),
            (_, path) => Socket::Unix(self.unix(path.unwrap_or("".as_ref()), until, &failed).await?),
        };
        socket.no_delay().map_err(|error| failed(error.to_string()))?;
        let (connection, driver) = Connection::new(socket, address.to_string(), &self.config)
            .map_err(|error| failed(error.to_string()))?;
        tokio::spawn(driver);
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
            Ok(Err(error)) => Err(failed(unix::reason(&error)).with_source(error)),
            Err(_) => {
                let waited = self.config.connect_timeout.as_millis();
                Err(failed(format!("no answer within {waited} ms")))
            }
        }
    }
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
