//! What is put into a stack.

use super::{
    ConcurrencyConfig, ConcurrencyHandle, ConcurrencyLimit,
    state::{Core, State},
};
use std::{fmt, sync::Arc};
use tower_layer::Layer;
use towpath_core::{FromContext, Live, Shared};

/// Lets so many calls be in flight at a time. Around any service.
///
/// The limit is one for all services that this layer and its clones make, and for their clones: for a limit of its
/// own, a service needs a layer of its own. See the [crate] for where it stands, [`ConcurrencyConfig`] for what calls
/// do that find no room, and [`ConcurrencyLimit`] for what the service promises.
#[derive(Clone)]
pub struct ConcurrencyLimitLayer<I = (), R = (), O = ()> {
    core: Arc<Core>,
    info: I,
    reject: R,
    observe: O,
}

impl ConcurrencyLimitLayer {
    /// A limit as the config says: a [`ConcurrencyConfig`], or a [`Live`] one that is replaced elsewhere.
    pub fn new(config: impl Into<Live<ConcurrencyConfig>>) -> Self {
        ConcurrencyLimitLayer { core: Core::new(config.into()), info: (), reject: (), observe: () }
    }
}

impl<I, R, O> ConcurrencyLimitLayer<I, R, O> {
    /// Keeps the deadline in the request's context: a call waits for room no longer than that. The request must be
    /// one that [has a context](towpath_core::HasContext).
    pub fn honour_context(self) -> ConcurrencyLimitLayer<FromContext, R, O> {
        self.info(FromContext)
    }

    /// Asks `info` for the context of a request: see [`CallInfo`](towpath_core::CallInfo).
    pub fn info<I2>(self, info: I2) -> ConcurrencyLimitLayer<I2, R, O> {
        ConcurrencyLimitLayer { core: self.core, info, reject: self.reject, observe: self.observe }
    }

    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject).
    pub fn on_reject<R2>(self, reject: R2) -> ConcurrencyLimitLayer<I, R2, O> {
        ConcurrencyLimitLayer { core: self.core, info: self.info, reject, observe: self.observe }
    }

    /// Tells `observe` about each call that is refused or has to wait: a [`LimitEvent`](crate::LimitEvent).
    pub fn observe<O2>(self, observe: O2) -> ConcurrencyLimitLayer<I, R, O2> {
        ConcurrencyLimitLayer { core: self.core, info: self.info, reject: self.reject, observe }
    }

    /// The limit, seen from outside.
    pub fn handle(&self) -> ConcurrencyHandle {
        ConcurrencyHandle(self.core.clone())
    }
}

impl<S, I, R, O> Layer<S> for ConcurrencyLimitLayer<I, R, O>
where
    I: Clone,
    R: Clone,
    O: Clone,
{
    type Service = ConcurrencyLimit<S, I, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { core, info, reject, observe } = self.clone();
        ConcurrencyLimit::new(inner, info, Shared::new(State { core, reject, observe }))
    }
}

impl<I, R, O> fmt::Debug for ConcurrencyLimitLayer<I, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConcurrencyLimitLayer").field(&self.handle()).finish()
    }
}
