//! How a channel comes to its connections.

use std::{fmt, future::Future, pin::Pin, sync::Arc};
use tokio::time::timeout;
use towpath_core::{Error, ErrorKind};
use towpath_transport::{Address, ClientConfig, Connection};

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, Error>> + Send>>;

/// Makes a connection to an address: over a socket, unless the user brings a way of their own.
#[derive(Clone)]
pub(crate) enum Connector {
    Sockets(towpath_transport::Connector),
    Own(Arc<dyn Fn(Address, ClientConfig) -> Connecting + Send + Sync>),
}

impl Default for Connector {
    fn default() -> Self {
        Connector::Sockets(towpath_transport::Connector::default())
    }
}

impl Connector {
    pub(crate) fn new<F, R>(connect: F) -> Self
    where
        F: Fn(Address, ClientConfig) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Connection, Error>> + Send + 'static,
    {
        Connector::Own(Arc::new(move |address, config| Box::pin(connect(address, config))))
    }

    /// Has no effect on a way of the user's own.
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(self, tls: towpath_transport::ClientTls) -> Self {
        match self {
            Connector::Sockets(connector) => Connector::Sockets(connector.with_tls(tls)),
            own => own,
        }
    }

    /// Counts the connections over sockets.
    #[cfg(feature = "metrics")]
    pub(crate) fn with_traffic(self, traffic: &towpath_transport::Traffic) -> Self {
        match self {
            Connector::Sockets(connector) => Connector::Sockets(connector.with_traffic(traffic)),
            own => own,
        }
    }

    /// One try. It ends within the connect timeout, and every failure is one to connect: calls that wait
    /// for the outcome of one connect look for that.
    pub(super) async fn connect(
        &self,
        address: &Address,
        config: &ClientConfig,
    ) -> Result<Connection, Error> {
        let own = match self {
            Connector::Sockets(connector) => {
                return connector.clone().with_config(config.clone()).connect(address).await;
            }
            Connector::Own(own) => own,
        };
        let failed = || Error::new(ErrorKind::ConnectFailed).at(address.to_string());
        match timeout(config.connect_timeout, own(address.clone(), config.clone())).await {
            Ok(Err(error)) if error.kind() != ErrorKind::ConnectFailed => Err(failed().with_source(error)),
            Ok(outcome) => outcome,
            Err(_) => {
                let waited = config.connect_timeout.as_millis();
                Err(failed().because(format!("no answer within {waited} ms")))
            }
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Connector::Sockets(connector) => connector.fmt(f),
            Connector::Own(_) => f.write_str("Connector(own)"),
        }
    }
}
