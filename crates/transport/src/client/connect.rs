//! From an address to a connection.

use super::Connection;
use crate::{address::Address, config::ClientConfig};
use std::io;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use towpath_core::{Error, ErrorKind};

impl Connection {
    /// Connects over TCP and spawns the driver on the current tokio runtime.
    ///
    /// A name is looked up by the system's resolver; its addresses are tried one after another, all
    /// within [`connect_timeout`](ClientConfig::connect_timeout).
    ///
    /// # Errors
    /// MCP-E-011, not processed: the name is unknown, nobody listens, or the time is up.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(address: &Address, config: &ClientConfig) -> Result<Connection, Error> {
        let failed = || Error::new(ErrorKind::ConnectFailed).at(address.to_string());
        config.validate().map_err(|error| failed().because(error.to_string()))?;
        let until = Instant::now() + config.connect_timeout;
        let stream = match timeout_at(until, TcpStream::connect((address.host(), address.port()))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed().because(reason(&error)).with_source(error)),
            Err(_) => {
                let waited = config.connect_timeout.as_millis();
                return Err(failed().because(format!("no answer within {waited} ms")));
            }
        };
        // A request is written whole; waiting for more to send would only delay it.
        stream.set_nodelay(true).map_err(|error| failed().because(error.to_string()))?;
        let (connection, driver) = Connection::new(stream, address.to_string(), config)
            .map_err(|error| failed().because(error.to_string()))?;
        tokio::spawn(driver);
        Ok(connection)
    }
}

/// The system's words, without its numbers.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nobody listens there".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => error.to_string(),
    }
}
