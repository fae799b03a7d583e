//! How a channel comes to its connections.

use std::{fmt, future::Future, pin::Pin, sync::Arc};
use tokio::time::timeout;
use towpath_core::{Error, ErrorKind};
use towpath_transport::{Address, ClientConfig, Connection};

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, Error>> + Send>>;

/// Makes a connection to an address: over a socket, unless the user brings a way of their own.
#[derive(Clone, Default)]
pub(crate) struct Connector(Option<Arc<dyn Fn(Address, ClientConfig) -> Connecting + Send + Sync>>);

impl Connector {
    pub(crate) fn new<F, R>(connect: F) -> Self
    where
        F: Fn(Address, ClientConfig) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Connection, Error>> + Send + 'static,
    {
        Connector(Some(Arc::new(move |address, config| Box::pin(connect(address, config)))))
    }

    /// One try. It ends within the connect timeout, and every failure is one to connect: calls that wait
    /// for the outcome of one connect look for that.
    pub(super) async fn connect(
        &self,
        address: &Address,
        config: &ClientConfig,
    ) -> Result<Connection, Error> {
        let Some(own) = &self.0 else { return Connection::connect(address, config).await };
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
        f.write_str(if self.0.is_some() { "Connector(own)" } else { "Connector" })
    }
}
