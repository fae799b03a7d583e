//! How channels come to be.

use super::{Channel, connector::Connector, pipe::Pipe};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use towpath_core::{Endpoint, Error, ErrorKind, Live, NewService, Observe};
use towpath_pool::{PoolBuilder, PoolConfig, PoolEvent, PoolHandle, PoolOptions, PoolState, PoolStats};
use towpath_transport::{Address, ClientConfig, Connection};

/// Makes a [`Channel`] for each endpoint that it is given: the bottom of a stack for one endpoint, under a balancer.
/// [`ClientBuilder::channels`](crate::ClientBuilder::channels) makes it.
///
/// Such a channel writes the endpoint's [state](towpath_core::EndpointState), connected or not and when the next connect is
/// made; it begins to connect when its readiness is first asked for, and is ready while it is connected. It ends when it is
/// dropped, or when the endpoint's state says that it is gone. An endpoint whose address is none that a connection can be made
/// to is never ready, and a call on it says why.
///
/// Its channels share one config, which can be replaced while they are used.
#[derive(Clone)]
pub struct Channels {
    config: ClientConfig,
    connector: Connector,
    pool: Live<PoolConfig>,
    observe: Arc<dyn Observe<PoolEvent> + Send + Sync>,
    pools: Pools,
}

/// The pools of all channels that were made. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Pools(Arc<Mutex<Vec<PoolHandle>>>);

impl Pools {
    fn add(&self, channel: Channel) -> Channel {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are no more are as many as endpoints have come and gone.
        pools.retain(|pool| !matches!(pool.state(), PoolState::Closed));
        pools.push(channel.pool());
        channel
    }

    /// Each in numbers.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) fn stats(&self) -> Vec<PoolStats> {
        let pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().map(PoolHandle::stats).collect()
    }
}

/// A connector keeps its own time, and says more about it: the pool's is for one that does not.
const LATE: Duration = Duration::from_secs(1);

/// The pool of a channel, unless told otherwise: what bounds the wait for a connection is the call's deadline.
pub(crate) fn default_pool() -> PoolConfig {
    let options = PoolOptions { acquire_timeout: PoolConfig::MAX_TIME, ..PoolOptions::default() };
    PoolConfig::try_new(options).unwrap_or_default()
}

impl Channels {
    pub(crate) fn of(config: ClientConfig, pool: PoolConfig, connector: Connector) -> Result<Self, Error> {
        config.validate().map_err(|error| Error::new(ErrorKind::ConnectFailed).because(error.to_string()))?;
        let pool = pool.with_connect_timeout(config.connect_timeout.saturating_add(LATE));
        Ok(Channels { config, connector, pool: pool.into(), observe: Arc::new(()), pools: Pools::default() })
    }

    /// Reports what the pools of its channels do.
    #[must_use]
    pub fn observe(mut self, observe: impl Observe<PoolEvent> + Send + Sync + 'static) -> Self {
        self.observe = Arc::new(observe);
        self
    }

    /// Counts what goes over its connections.
    #[cfg(feature = "metrics")]
    pub(crate) fn with_traffic(mut self, traffic: &towpath_transport::Traffic) -> Self {
        self.connector = self.connector.with_traffic(traffic);
        self
    }

    /// The config of the pools of all its channels.
    pub fn pool_config(&self) -> &Live<PoolConfig> {
        &self.pool
    }

    /// A channel of its own to an address: always ready, its calls wait.
    pub(crate) fn to(&self, address: Address) -> Channel {
        self.pools.add(Channel { pool: self.pool(Ok(address)).shared() })
    }

    /// The pools of all its channels.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    /// A connection of its own, beside those of its channels.
    pub(crate) async fn connect(&self, address: &Address) -> Result<Connection, Error> {
        self.connector.connect(address, &self.config).await
    }

    fn pool(&self, address: Result<Address, Error>) -> PoolBuilder<Pipe> {
        let (connector, config) = (self.connector.clone(), self.config.clone());
        let name = address.as_ref().map(Address::to_string).unwrap_or_default();
        let connect = move || {
            let (connector, config, address) = (connector.clone(), config.clone(), address.clone());
            async move { connector.connect(&address?, &config).await.map(Pipe) }
        };
        PoolBuilder::new(connect).name(name).config(self.pool.clone()).observe(self.observe.clone())
    }
}

impl NewService<Endpoint> for Channels {
    type Service = Channel;

    fn new_service(&self, endpoint: Endpoint) -> Channel {
        let address = endpoint.address().parse::<Address>().map_err(|error| {
            Error::new(ErrorKind::ConnectFailed).at(endpoint.address().clone()).because(error.to_string())
        });
        self.pools.add(Channel { pool: self.pool(address).endpoint(endpoint).waits_in_ready().shared() })
    }
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels")
            .field("config", &self.config)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
