//! What is put into a stack.

use super::{
    RateConfig, RateHandle, RateLimit,
    state::{Core, State},
    table::Table,
};
use std::{fmt, sync::Arc};
use tower_layer::Layer;
use towpath_core::{FromContext, Live, Shared};

/// Lets so many calls through in so much time; or so many of each key. Around any service.
///
/// The rate is one for all services that this layer and its clones make, and for their clones. See the [crate] for
/// where it stands, and [`RateLimit`] for what the service promises.
#[derive(Clone)]
pub struct RateLimitLayer<K = (), I = (), R = (), O = ()> {
    core: Arc<Core>,
    key: K,
    info: I,
    reject: R,
    observe: O,
}

impl RateLimitLayer {
    /// One rate for all calls: a [`RateConfig`], or a [`Live`] one that is replaced elsewhere.
    pub fn new(config: impl Into<Live<RateConfig>>) -> Self {
        let core = Core::new(config.into(), None);
        RateLimitLayer { core, key: (), info: (), reject: (), observe: () }
    }
}

impl<K> RateLimitLayer<K> {
    /// A rate for each key: see [`RateKey`](super::RateKey). So many keys as [the config](RateConfig::max_keys) says are
    /// told apart at a time. A key whose burst is whole again is forgotten when room is needed, which nobody notices.
    /// If there are more keys than that in use, those that found no room share one rate among each other.
    pub fn keyed(config: impl Into<Live<RateConfig>>, key: K) -> Self {
        let core = Core::new(config.into(), Some(Table::new()));
        RateLimitLayer { core, key, info: (), reject: (), observe: () }
    }
}

impl<K, I, R, O> RateLimitLayer<K, I, R, O> {
    /// Takes the reading of the clock and the deadline from the request's context. The request must be one that
    /// [has a context](towpath_core::HasContext).
    pub fn honour_context(self) -> RateLimitLayer<K, FromContext, R, O> {
        self.info(FromContext)
    }

    /// Asks `info` for the time and the context of a request: see [`CallInfo`](towpath_core::CallInfo).
    pub fn info<I2>(self, info: I2) -> RateLimitLayer<K, I2, R, O> {
        RateLimitLayer { core: self.core, key: self.key, info, reject: self.reject, observe: self.observe }
    }

    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject).
    pub fn on_reject<R2>(self, reject: R2) -> RateLimitLayer<K, I, R2, O> {
        RateLimitLayer { core: self.core, key: self.key, info: self.info, reject, observe: self.observe }
    }

    /// Tells `observe` about each call that is refused or has to wait: a [`LimitEvent`](crate::LimitEvent).
    pub fn observe<O2>(self, observe: O2) -> RateLimitLayer<K, I, R, O2> {
        RateLimitLayer { core: self.core, key: self.key, info: self.info, reject: self.reject, observe }
    }

    /// The limit, seen from outside.
    pub fn handle(&self) -> RateHandle {
        RateHandle(self.core.clone())
    }
}

impl<S, K, I, R, O> Layer<S> for RateLimitLayer<K, I, R, O>
where
    K: Clone,
    I: Clone,
    R: Clone,
    O: Clone,
{
    type Service = RateLimit<S, K, I, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { core, key, info, reject, observe } = self.clone();
        RateLimit::new(inner, key, info, Shared::new(State { core, reject, observe }))
    }
}

impl<K, I, R, O> fmt::Debug for RateLimitLayer<K, I, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RateLimitLayer").field(&self.handle()).finish()
    }
}
