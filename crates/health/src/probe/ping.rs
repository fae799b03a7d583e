//! Whether the process at the other end turns.

use super::Probe;
use towpath_core::{BoxError, Endpoint};
use towpath_transport::{Address, Connection, Connector};

/// Sends PING over a connection of its own, and waits for PONG: the process is there, reads, and answers.
///
/// The connection is kept from one probe to the next, so that neither side pays for a handshake each time; it
/// carries no calls. One that has ended meanwhile says nothing about the endpoint (a server may close what is idle): another
/// one is made then, in the same probe.
#[derive(Debug, Default)]
pub struct PingProbe {
    connector: Connector,
    open: Option<Connection>,
}

impl PingProbe {
    /// One that connects as the [default](Connector) does: without TLS.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that connects in this way: with the certificates of `mcps://`, for example.
    pub fn with_connector(connector: Connector) -> Self {
        PingProbe { connector, open: None }
    }
}

/// A clone has no connection yet.
impl Clone for PingProbe {
    fn clone(&self) -> Self {
        PingProbe::with_connector(self.connector.clone())
    }
}

impl Probe for PingProbe {
    async fn probe(&mut self, endpoint: &Endpoint) -> Result<(), BoxError> {
        if let Some(open) = self.open.take_if(|open| !open.is_closed())
            && open.ping().await.is_ok()
        {
            self.open = Some(open);
            return Ok(());
        }
        let address: Address = endpoint.address().parse()?;
        let connection = self.connector.connect(&address).await?;
        connection.ping().await?;
        self.open = Some(connection);
        Ok(())
    }
}
