//! How a pool is put together.

use crate::{Connect, Connection, ExclusivePool, PoolConfig, PoolEvent, SharedPool, state::Target};
use std::{fmt, sync::Arc};
use towpath_core::{Endpoint, Live, Observe};

/// What a pool is made of: who makes its connections, and what else is to differ. Nothing happens before the pool is used.
#[must_use = "a builder does nothing until a pool is made"]
pub struct PoolBuilder<C> {
    target: Target<C>,
    waits_in_ready: bool,
}

impl<C: Connection> PoolBuilder<C> {
    /// Connections that `connect` makes.
    pub fn new(connect: impl Connect<Connection = C>) -> Self {
        let connect = Target::connects(connect);
        let (config, observe) = (Live::default(), Arc::new(()));
        let target = Target { connect, name: "".into(), endpoint: None, config, observe };
        PoolBuilder { target, waits_in_ready: false }
    }

    /// With this config, or one that is replaced while the pool runs.
    pub fn config(mut self, config: impl Into<Live<PoolConfig>>) -> Self {
        self.target.config = config.into();
        self
    }

    /// Names the place where the connections lead to, for errors.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.target.name = name.into();
        self
    }

    /// The connections lead to this endpoint: its address is the name, and the pool writes into its state whether it is
    /// connected and when the next connect is made. When discovery says that it is gone, the pool is closed.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.target.name = endpoint.address().clone();
        self.target.endpoint = Some(endpoint);
        self
    }

    /// Reports what the pool does.
    pub fn observe(mut self, observe: impl Observe<PoolEvent> + Send + Sync + 'static) -> Self {
        self.target.observe = Arc::new(observe);
        self
    }

    /// Makes a service that is ready when there is a connection for a call (in an exclusive pool: when it has one for itself),
    /// instead of one that is always ready and whose calls wait. For who stands above and would rather go elsewhere; who
    /// waits there waits without a limit, in time and in number.
    pub fn waits_in_ready(mut self) -> Self {
        self.waits_in_ready = true;
        self
    }

    /// A pool with many calls on each connection.
    pub fn shared(self) -> SharedPool<C>
    where
        C: Sync,
    {
        SharedPool::new(self.target, self.waits_in_ready)
    }

    /// A pool with one call at a time on each connection.
    pub fn exclusive(self) -> ExclusivePool<C> {
        ExclusivePool::new(self.target, self.waits_in_ready)
    }
}

impl<C> fmt::Debug for PoolBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("name", &self.target.name)
            .field("config", &self.target.config)
            .field("waits_in_ready", &self.waits_in_ready)
            .finish_non_exhaustive()
    }
}
