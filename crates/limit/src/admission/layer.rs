//! What is put into a stack.

use super::{
    Admission, AdmissionConfig, AdmissionHandle, AnyAnswer,
    state::{Core, State},
};
use crate::Adapt;
use std::{fmt, sync::Arc};
use tower_layer::Layer;
use towpath_core::{FromContext, Live, Shared};

/// Lets in as many calls as the service below can take, and sheds the others: those with the lowest priority first, and
/// those that would wait for long. Around any service.
///
/// What is found out is one for all services that this layer and its clones make, and for their clones. See the
/// [crate] for where it stands, [`AdmissionConfig`] for what there is to choose, and [`Admission`] for what the service
/// promises.
#[derive(Clone)]
pub struct AdmissionLayer<I = (), C = AnyAnswer, R = (), O = ()> {
    core: Arc<Core>,
    info: I,
    classify: C,
    reject: R,
    observe: O,
}

impl AdmissionLayer {
    /// An admission as the config says: an [`AdmissionConfig`], or a [`Live`] one that is replaced elsewhere. All calls
    /// have the default priority, unless [`honour_context`](Self::honour_context) says otherwise.
    pub fn new(config: impl Into<Live<AdmissionConfig>>) -> Self {
        let core = Core::new(config.into());
        AdmissionLayer { core, info: (), classify: AnyAnswer, reject: (), observe: () }
    }
}

impl<I, C, R, O> AdmissionLayer<I, C, R, O> {
    /// Takes priority, deadline and the readings of the clock from the request's context and from the response. The
    /// request must be one that [has a context](towpath_core::HasContext).
    pub fn honour_context(self) -> AdmissionLayer<FromContext, C, R, O> {
        self.info(FromContext)
    }

    /// Asks `info` for the time and the context of a call: see [`CallInfo`](towpath_core::CallInfo).
    pub fn info<I2>(self, info: I2) -> AdmissionLayer<I2, C, R, O> {
        let Self { core, classify, reject, observe, .. } = self;
        AdmissionLayer { core, info, classify, reject, observe }
    }

    /// Asks `classify` which calls failed because there was too much to do, and which answers tell how long calls
    /// take: see [`AnyAnswer`], which is asked otherwise, and [`Classify`](towpath_core::Classify).
    pub fn classify<C2>(self, classify: C2) -> AdmissionLayer<I, C2, R, O> {
        let Self { core, info, reject, observe, .. } = self;
        AdmissionLayer { core, info, classify, reject, observe }
    }

    /// Has the limit found out by a rule of one's own, an [`Adapt`] or a closure, in place of the config's. It begins
    /// with the limit with which the config's would.
    #[must_use]
    pub fn adapt_by(self, adapt: impl Adapt + 'static) -> Self {
        self.core.adapt_by(Box::new(adapt));
        self
    }

    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject).
    pub fn on_reject<R2>(self, reject: R2) -> AdmissionLayer<I, C, R2, O> {
        let Self { core, info, classify, observe, .. } = self;
        AdmissionLayer { core, info, classify, reject, observe }
    }

    /// Tells `observe` about each call that is refused or has to wait, and about each change of the limit: a
    /// [`LimitEvent`](crate::LimitEvent).
    pub fn observe<O2>(self, observe: O2) -> AdmissionLayer<I, C, R, O2> {
        let Self { core, info, classify, reject, .. } = self;
        AdmissionLayer { core, info, classify, reject, observe }
    }

    /// The admission, seen from outside.
    pub fn handle(&self) -> AdmissionHandle {
        AdmissionHandle(self.core.clone())
    }
}

impl<S, I, C, R, O> Layer<S> for AdmissionLayer<I, C, R, O>
where
    I: Clone,
    C: Clone,
    R: Clone,
    O: Clone,
{
    type Service = Admission<S, I, C, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { core, info, classify, reject, observe } = self.clone();
        Admission::new(inner, Shared::new(State { core, info, classify, reject, observe }))
    }
}

impl<I, C, R, O> fmt::Debug for AdmissionLayer<I, C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AdmissionLayer").field(&self.handle()).finish()
    }
}
