//! What is put into a server's stack.

use crate::{
    config::DedupeConfig,
    drive::{Detached, Inline},
    handle::DedupeHandle,
    lead::State,
    service::Dedupe,
};
use std::{fmt, sync::Arc};
use tower_layer::Layer;
use towpath_core::{Cached, DefaultClassify, Live};

/// Makes calls of one idempotency key once, and answers repetitions with the first answer.
///
/// It stands behind what finds out who calls and in front of the router. See the [crate](crate) for what counts as a
/// repetition and what is kept, and [`Dedupe`] for what the service promises.
///
/// `Res` is the response, which is known as soon as there is a service.
pub struct DedupeLayer<Res, D = Inline, W = (), C = DefaultClassify, R = (), O = ()> {
    state: Arc<State<Res>>,
    drive: D,
    owner: W,
    worth: C,
    reject: R,
    observe: O,
}

impl<Res: Clone> DedupeLayer<Res> {
    /// Keeps as much as this config says. All services of the layer share what is kept.
    pub fn new(config: impl Into<Live<DedupeConfig>>) -> Self {
        let state = Arc::new(State::new(config.into()));
        let worth = DefaultClassify::new();
        DedupeLayer { state, drive: Inline, owner: (), worth, reject: (), observe: () }
    }
}

impl<Res, D, W, C, R, O> DedupeLayer<Res, D, W, C, R, O> {
    /// Makes the first call of each key in a task of its own, which goes on when its caller gives up: see the
    /// [crate](crate#a-caller-that-gives-up). It needs a future that is `Send + 'static`, and a runtime.
    pub fn detached(self) -> DedupeLayer<Res, Detached, W, C, R, O> {
        let Self { state, owner, worth, reject, observe, .. } = self;
        DedupeLayer { state, drive: Detached, owner, worth, reject, observe }
    }

    /// Says whose a key is: a closure `Fn(&Request) -> Option<Bytes>`, or an [`OwnerOf`](crate::OwnerOf). It is cloned
    /// for each service.
    pub fn owner<W2>(self, owner: W2) -> DedupeLayer<Res, D, W2, C, R, O> {
        let Self { state, drive, worth, reject, observe, .. } = self;
        DedupeLayer { state, drive, owner, worth, reject, observe }
    }

    /// Says which answers are kept: a closure `Fn(&Response) -> bool`, a `DefaultClassify` that knows the service's codes,
    /// or a [`Worth`](crate::Worth). It is cloned for each call with a key.
    pub fn worth<C2>(self, worth: C2) -> DedupeLayer<Res, D, W, C2, R, O> {
        let Self { state, drive, owner, reject, observe, .. } = self;
        DedupeLayer { state, drive, owner, worth, reject, observe }
    }

    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject). It is cloned for each call.
    pub fn on_reject<R2>(self, reject: R2) -> DedupeLayer<Res, D, W, C, R2, O> {
        let Self { state, drive, owner, worth, observe, .. } = self;
        DedupeLayer { state, drive, owner, worth, reject, observe }
    }

    /// Tells `observe` about each [call](crate::DedupeEvent) with a key that is not simply made. It is cloned for each
    /// call with a key.
    pub fn observe<O2>(self, observe: O2) -> DedupeLayer<Res, D, W, C, R, O2> {
        let Self { state, drive, owner, worth, reject, .. } = self;
        DedupeLayer { state, drive, owner, worth, reject, observe }
    }

    /// A look at all services of this layer.
    pub fn handle(&self) -> DedupeHandle<Res> {
        DedupeHandle(self.state.clone())
    }
}

impl<S, Res, D, W, C, R, O> Layer<S> for DedupeLayer<Res, D, W, C, R, O>
where
    D: Clone,
    W: Clone,
    C: Clone,
    R: Clone,
    O: Clone,
{
    type Service = Dedupe<S, Res, D, W, C, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { state, drive, owner, worth, reject, observe } = self.clone();
        let config = Cached::new(&state.config);
        Dedupe { inner, state, config, drive, owner, worth, reject, observe }
    }
}

/// Of the same state; `Res` need not be `Clone` for that.
impl<Res, D: Clone, W: Clone, C: Clone, R: Clone, O: Clone> Clone for DedupeLayer<Res, D, W, C, R, O> {
    fn clone(&self) -> Self {
        DedupeLayer {
            state: self.state.clone(),
            drive: self.drive.clone(),
            owner: self.owner.clone(),
            worth: self.worth.clone(),
            reject: self.reject.clone(),
            observe: self.observe.clone(),
        }
    }
}

impl<Res, D, W, C, R, O> fmt::Debug for DedupeLayer<Res, D, W, C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupeLayer").field("config", &self.state.config).finish_non_exhaustive()
    }
}
