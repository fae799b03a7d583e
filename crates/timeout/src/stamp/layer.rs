//! What is put into a stack.

use super::Deadline;
use crate::{TimeoutConfig, own::Own};
use tower_layer::Layer;
use towpath_core::Live;

/// Gives every call a deadline, in its context; others keep it. Refuses calls that come too late.
///
/// The deadline is the earlier of the one that the call came with and this layer's own. Nothing is timed
/// here: a stack of layers that wait for no longer than the deadline, over a transport that keeps it, needs
/// no timer. Around anything else, use [`TimeoutLayer`](crate::TimeoutLayer).
#[derive(Clone, Debug)]
pub struct DeadlineLayer<R = (), O = ()> {
    config: Option<Live<TimeoutConfig>>,
    reject: R,
    observe: O,
}

impl DeadlineLayer {
    /// Each call has this long, or less if it came with an earlier deadline. A [`Live`] config can be
    /// replaced while it is used: calls that start then have the new limit.
    ///
    /// Below a retry it is each attempt that has this long: the retry hands down a request for each, and
    /// keeps the deadline of the whole call itself.
    pub fn new(config: impl Into<Live<TimeoutConfig>>) -> Self {
        DeadlineLayer { config: Some(config.into()), reject: (), observe: () }
    }

    /// Sets no deadline of its own: a call without one stays without one. For a server that leaves the
    /// bound to its callers and only refuses what is already late.
    pub const fn inherited() -> Self {
        DeadlineLayer { config: None, reject: (), observe: () }
    }
}

impl<R, O> DeadlineLayer<R, O> {
    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject). It is cloned for each call.
    pub fn on_reject<R2>(self, reject: R2) -> DeadlineLayer<R2, O> {
        DeadlineLayer { config: self.config, reject, observe: self.observe }
    }

    /// The config, to read it or to replace it while the layer's services are used; `None` if this layer sets
    /// no deadline of its own.
    pub fn config(&self) -> Option<&Live<TimeoutConfig>> {
        self.config.as_ref()
    }

    /// Tells `observe` about each call that came too late.
    pub fn observe<O2>(self, observe: O2) -> DeadlineLayer<R, O2> {
        DeadlineLayer { config: self.config, reject: self.reject, observe }
    }
}

impl<S, R, O> Layer<S> for DeadlineLayer<R, O>
where
    R: Clone,
    O: Clone,
{
    type Service = Deadline<S, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { config, reject, observe } = self.clone();
        Deadline { inner, own: config.map(Own::new), reject, observe }
    }
}
