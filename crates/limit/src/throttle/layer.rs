//! What is put into a stack.

use super::{Throttle, ThrottleConfig, ThrottleHandle, lanes::Lanes, state::State};
use std::{fmt, sync::Arc};
use tower_layer::Layer;
use towpath_core::{DefaultClassify, FromContext, Live, Shared};

/// Holds calls back when the service refuses many of them, so that it need not spend its time on refusing. Around any
/// client.
///
/// What is counted is one for all services that this layer and its clones make, and for their clones: a layer for each
/// service that is called. See the [crate] for where it stands, [`ThrottleConfig`] for when calls are held back, and
/// [`Throttle`] for what the service promises.
#[derive(Clone)]
pub struct ThrottleLayer<I = (), C = DefaultClassify, R = (), O = ()> {
    lanes: Arc<Lanes>,
    info: I,
    classify: C,
    reject: R,
    observe: O,
}

impl ThrottleLayer {
    /// A throttle as the config says: a [`ThrottleConfig`], or a [`Live`] one that is replaced elsewhere.
    pub fn new(config: impl Into<Live<ThrottleConfig>>) -> Self {
        let (lanes, classify) = (Arc::new(Lanes::new(config.into())), DefaultClassify::new());
        ThrottleLayer { lanes, info: (), classify, reject: (), observe: () }
    }
}

impl<I, C, R, O> ThrottleLayer<I, C, R, O> {
    /// Takes priority and the reading of the clock from the request's context. The request must be one that [has a
    /// context](towpath_core::HasContext).
    pub fn honour_context(self) -> ThrottleLayer<FromContext, C, R, O> {
        self.info(FromContext)
    }

    /// Asks `info` for the time and the context of a call, in which its priority is: see [`CallInfo`](towpath_core::CallInfo).
    pub fn info<I2>(self, info: I2) -> ThrottleLayer<I2, C, R, O> {
        let Self { lanes, classify, reject, observe, .. } = self;
        ThrottleLayer { lanes, info, classify, reject, observe }
    }

    /// Asks `classify` whether a call was refused (`soft`), accepted (a success, an answer, or the caller's own fault),
    /// or neither. See [`Classify`](towpath_core::Classify).
    pub fn classify<C2>(self, classify: C2) -> ThrottleLayer<I, C2, R, O> {
        let Self { lanes, info, reject, observe, .. } = self;
        ThrottleLayer { lanes, info, classify, reject, observe }
    }

    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject).
    pub fn on_reject<R2>(self, reject: R2) -> ThrottleLayer<I, C, R2, O> {
        let Self { lanes, info, classify, observe, .. } = self;
        ThrottleLayer { lanes, info, classify, reject, observe }
    }

    /// Tells `observe` about each call that is held back: a [`LimitEvent`](crate::LimitEvent).
    pub fn observe<O2>(self, observe: O2) -> ThrottleLayer<I, C, R, O2> {
        let Self { lanes, info, classify, reject, .. } = self;
        ThrottleLayer { lanes, info, classify, reject, observe }
    }

    /// The throttle, seen from outside.
    pub fn handle(&self) -> ThrottleHandle {
        ThrottleHandle(self.lanes.clone())
    }
}

impl<S, I, C, R, O> Layer<S> for ThrottleLayer<I, C, R, O>
where
    I: Clone,
    C: Clone,
    R: Clone,
    O: Clone,
{
    type Service = Throttle<S, I, C, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { lanes, info, classify, reject, observe } = self.clone();
        Throttle { inner, info, shared: Shared::new(State { lanes, classify, reject, observe }) }
    }
}

impl<I, C, R, O> fmt::Debug for ThrottleLayer<I, C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThrottleLayer").field(&self.handle()).finish()
    }
}
