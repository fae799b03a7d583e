//! What is put into a stack.

use super::Timeout;
use crate::{FromContext, TimeoutConfig};
use tower_layer::Layer;

/// Gives every call a time limit, and answers with an error when it is up. Around any service.
///
/// Made with [`new`](Self::new), it asks nothing of the request; [`honour_context`](Self::honour_context)
/// and [`deadline_from`](Self::deadline_from) let it keep the deadline that a call came with, too. See the
/// [crate](crate) for where it stands in a stack, and [`Timeout`] for what the service promises.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer<D = (), R = (), O = ()> {
    config: TimeoutConfig,
    find: D,
    reject: R,
    observe: O,
}

impl TimeoutLayer {
    /// The same limit for every call.
    pub const fn new(config: TimeoutConfig) -> Self {
        TimeoutLayer { config, find: (), reject: (), observe: () }
    }
}

impl<D, R, O> TimeoutLayer<D, R, O> {
    /// Keeps the deadline in the request's context, too, and tightens it to this layer's limit, for those
    /// below. The request must be one that [has a context](towpath_core::HasContext).
    pub fn honour_context(self) -> TimeoutLayer<FromContext, R, O> {
        self.deadline_from(FromContext)
    }

    /// Keeps the deadline that `find` finds in the request, too: a closure `Fn(&Request) ->
    /// Option<Instant>`, or a [`FindDeadline`](crate::FindDeadline). It is cloned for each call.
    pub fn deadline_from<D2>(self, find: D2) -> TimeoutLayer<D2, R, O> {
        TimeoutLayer { config: self.config, find, reject: self.reject, observe: self.observe }
    }

    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject). It is cloned for each call.
    pub fn on_reject<R2>(self, reject: R2) -> TimeoutLayer<D, R2, O> {
        TimeoutLayer { config: self.config, find: self.find, reject, observe: self.observe }
    }

    /// Tells `observe` about each [`TimedOut`](crate::TimedOut) call. It is cloned for each call.
    pub fn observe<O2>(self, observe: O2) -> TimeoutLayer<D, R, O2> {
        TimeoutLayer { config: self.config, find: self.find, reject: self.reject, observe }
    }
}

impl<S, D, R, O> Layer<S> for TimeoutLayer<D, R, O>
where
    D: Clone,
    R: Clone,
    O: Clone,
{
    type Service = Timeout<S, D, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { config, find, reject, observe } = self.clone();
        Timeout { inner, config, find, reject, observe }
    }
}
