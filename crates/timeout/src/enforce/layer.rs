//! What is put into a stack.

use super::Timeout;
use crate::{FirstResponse, FromContext, Limit, TimeoutConfig, WholeCall, own::Own};
use tower_layer::Layer;
use towpath_core::Live;

/// Gives every call, or every attempt, a time limit, and answers with an error when it is up. Around any
/// service.
///
/// | | limits |
/// | --- | --- |
/// | [`new`](Self::new) | the call in total: above retry |
/// | [`per_attempt`](Self::per_attempt) | one attempt: below retry |
/// | as it is made | until the first response |
/// | [`whole_call`](Self::whole_call) | until the last byte of the body |
///
/// It asks nothing of the request; [`honour_context`](Self::honour_context) and
/// [`deadline_from`](Self::deadline_from) let it keep the deadline that a call came with, too. See the
/// [crate](crate) for where it stands in a stack, and [`Timeout`] for what the service promises.
#[derive(Clone, Debug)]
pub struct TimeoutLayer<D = (), R = (), O = (), W = FirstResponse> {
    config: Live<TimeoutConfig>,
    limit: Limit,
    find: D,
    reject: R,
    observe: O,
    reach: W,
}

impl TimeoutLayer {
    /// The same limit for every call, in total. A [`Live`] config can be replaced while it is used: calls
    /// that start then have the new limit.
    pub fn new(config: impl Into<Live<TimeoutConfig>>) -> Self {
        Self::with(config.into(), Limit::Total)
    }

    /// The same limit for each attempt: this layer stands below a retry, and another one (or a
    /// [`DeadlineLayer`](crate::DeadlineLayer)) above it limits the call as a whole. What is reported
    /// ([`Limit`]) and the error's text tell the two apart.
    ///
    /// With [`honour_context`](Self::honour_context) the attempt begins at the reading of the clock in its
    /// context: who makes a further attempt clears that of the one before.
    pub fn per_attempt(config: impl Into<Live<TimeoutConfig>>) -> Self {
        Self::with(config.into(), Limit::Attempt)
    }

    fn with(config: Live<TimeoutConfig>, limit: Limit) -> Self {
        TimeoutLayer { config, limit, find: (), reject: (), observe: (), reach: FirstResponse }
    }
}

impl<D, R, O, W> TimeoutLayer<D, R, O, W> {
    /// Keeps the deadline in the request's context, too, and tightens it to this layer's limit, for those
    /// below. The request must be one that [has a context](towpath_core::HasContext).
    pub fn honour_context(self) -> TimeoutLayer<FromContext, R, O, W> {
        self.deadline_from(FromContext)
    }

    /// Keeps the deadline that `find` finds in the request, too: a closure `Fn(&Request) ->
    /// Option<Instant>`, or a [`FindDeadline`](crate::FindDeadline). It is cloned for each call.
    pub fn deadline_from<D2>(self, find: D2) -> TimeoutLayer<D2, R, O, W> {
        let Self { config, limit, reject, observe, reach, .. } = self;
        TimeoutLayer { config, limit, find, reject, observe, reach }
    }

    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject). It is cloned for each call.
    pub fn on_reject<R2>(self, reject: R2) -> TimeoutLayer<D, R2, O, W> {
        let Self { config, limit, find, observe, reach, .. } = self;
        TimeoutLayer { config, limit, find, reject, observe, reach }
    }

    /// Tells `observe` about each [`TimedOut`](crate::TimedOut) call. It is cloned for each call.
    pub fn observe<O2>(self, observe: O2) -> TimeoutLayer<D, R, O2, W> {
        let Self { config, limit, find, reject, reach, .. } = self;
        TimeoutLayer { config, limit, find, reject, observe, reach }
    }

    /// Limits the whole call, not only the time to the first response: the body of the answer has to end by
    /// the deadline as well.
    ///
    /// For `http::Response` (feature `http`) the layer's service then answers with a body of type
    /// `TimedBody`, which fails when time is up. An MCP answer comes whole: there it is the same. To limit
    /// both apart, stack two layers: a shorter one to the first response within one for the whole call.
    pub fn whole_call(self) -> TimeoutLayer<D, R, O, WholeCall> {
        let Self { config, limit, find, reject, observe, .. } = self;
        TimeoutLayer { config, limit, find, reject, observe, reach: WholeCall }
    }

    /// The config, to read it or to replace it while the layer's services are used.
    pub fn config(&self) -> &Live<TimeoutConfig> {
        &self.config
    }
}

impl<S, D, R, O, W> Layer<S> for TimeoutLayer<D, R, O, W>
where
    D: Clone,
    R: Clone,
    O: Clone,
    W: Clone,
{
    type Service = Timeout<S, D, R, O, W>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { config, limit, find, reject, observe, reach } = self.clone();
        Timeout { inner, own: Own::new(config), limit, find, reject, observe, reach }
    }
}
