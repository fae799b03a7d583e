//! Whether the process at the other end turns.

use super::Probe;
use std::{fmt, future::Future, pin::Pin, sync::Arc};
use towpath_core::{BoxError, Endpoint, Error};
use towpath_transport::{Address, Connection, Connector};

/// Sends PING over a connection of its own, and waits for PONG: the process is there, reads, and answers.
///
/// The connection is kept from one probe to the next, so that neither side pays for a handshake each time; it
/// carries no calls. One that has ended meanwhile says nothing about the endpoint (a server may close what is idle): another
/// one is made then, in the same probe.
#[derive(Debug, Default)]
pub struct PingProbe {
    connect: Connect,
    open: Option<Connection>,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, Error>> + Send>>;

#[derive(Clone)]
enum Connect {
    Sockets(Connector),
    Own(Arc<dyn Fn(Address) -> Connecting + Send + Sync>),
}

impl PingProbe {
    /// One that connects as the [default](Connector) does: without TLS.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that connects in this way: with the certificates of `mcps://`, for example.
    pub fn with_connector(connector: Connector) -> Self {
        PingProbe { connect: Connect::Sockets(connector), open: None }
    }

    /// One that makes its connections in a way of one's own.
    pub fn connecting_by<F, R>(connect: F) -> Self
    where
        F: Fn(Address) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Connection, Error>> + Send + 'static,
    {
        let connect = Arc::new(move |address| Box::pin(connect(address)) as Connecting);
        PingProbe { connect: Connect::Own(connect), open: None }
    }
}

/// A clone has no connection yet.
impl Clone for PingProbe {
    fn clone(&self) -> Self {
        PingProbe { connect: self.connect.clone(), open: None }
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
        let connection = match &self.connect {
            Connect::Sockets(connector) => connector.connect(&address).await?,
            Connect::Own(connect) => connect(address).await?,
        };
        connection.ping().await?;
        self.open = Some(connection);
        Ok(())
    }
}

impl Default for Connect {
    fn default() -> Self {
        Connect::Sockets(Connector::default())
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Connect::Sockets(connector) => connector.fmt(f),
            Connect::Own(_) => f.write_str("Connector(own)"),
        }
    }
}
