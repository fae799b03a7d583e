//! What is put into a server's stack.

use super::{config::VerifyConfig, handle::VerifyHandle, service::Verified, state::State};
use std::fmt;
use tower_layer::Layer;
use towpath_core::{Cached, Live, Shared};

/// Lets calls pass whose credential is good, and says in their extensions whose it is ([`Identity`]); turns all
/// others away.
///
/// It stands behind what sheds load, and in front of everything that asks who calls. See the [crate](crate) for the
/// pair of layers, [`Verify`](crate::Verify) for how a credential is judged, and [`Verified`] for what the service
/// promises.
///
/// [`Identity`]: towpath_core::Identity
#[derive(Clone)]
pub struct VerifyLayer<V, P = (), R = (), O = ()> {
    state: Shared<State>,
    verifier: Shared<V>,
    permit: P,
    reject: R,
    observe: O,
}

impl<V> VerifyLayer<V> {
    /// Asks `verifier` about the credential of every call, as the [default](VerifyConfig::default) config has it.
    pub fn new(verifier: V) -> Self {
        Self::with_config(verifier, VerifyConfig::default())
    }

    /// Asks `verifier` about the credentials that this config wants to see.
    pub fn with_config(verifier: V, config: impl Into<Live<VerifyConfig>>) -> Self {
        let state = Shared::new(State::new(config.into()));
        VerifyLayer { state, verifier: Shared::new(verifier), permit: (), reject: (), observe: () }
    }
}

impl<V, P, R, O> VerifyLayer<V, P, R, O> {
    /// Asks `permit`, too, whether a caller may call a method: a closure `Fn(&Identity, &str) -> bool`, or a
    /// [`Permit`](crate::Permit). It is cloned for each call whose credential is verified.
    pub fn permit<P2>(self, permit: P2) -> VerifyLayer<V, P2, R, O> {
        let Self { state, verifier, reject, observe, .. } = self;
        VerifyLayer { state, verifier, permit, reject, observe }
    }

    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject). It is cloned for each call.
    pub fn on_reject<R2>(self, reject: R2) -> VerifyLayer<V, P, R2, O> {
        let Self { state, verifier, permit, observe, .. } = self;
        VerifyLayer { state, verifier, permit, reject, observe }
    }

    /// Tells `observe` about each [verified credential and each refusal](crate::VerifyEvent). It is cloned for
    /// each call whose credential is verified.
    pub fn observe<O2>(self, observe: O2) -> VerifyLayer<V, P, R, O2> {
        let Self { state, verifier, permit, reject, .. } = self;
        VerifyLayer { state, verifier, permit, reject, observe }
    }

    /// A look at all services of this layer.
    pub fn handle(&self) -> VerifyHandle {
        VerifyHandle(self.state.clone())
    }
}

impl<S, V, P, R, O> Layer<S> for VerifyLayer<V, P, R, O>
where
    P: Clone,
    R: Clone,
    O: Clone,
{
    type Service = Verified<S, V, P, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let (state, verifier) = (self.state.clone(), self.verifier.clone());
        let (permit, reject, observe) = (self.permit.clone(), self.reject.clone(), self.observe.clone());
        let config = Cached::new(&state.config);
        Verified { inner, state, config, verifier, permit, reject, observe, slot: None }
    }
}

impl<V, P, R, O> fmt::Debug for VerifyLayer<V, P, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyLayer").field("state", &self.handle()).finish_non_exhaustive()
    }
}
