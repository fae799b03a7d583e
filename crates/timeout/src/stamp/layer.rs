//! What is put into a stack.

use super::Deadline;
use crate::TimeoutConfig;
use tower_layer::Layer;

/// Gives every call a deadline, in its context; others keep it. Refuses calls that come too late.
///
/// The deadline is the earlier of the one that the call came with and this layer's own. Nothing is timed
/// here: a stack of layers that wait for no longer than the deadline, over a transport that keeps it, needs
/// no timer. Around anything else, use [`TimeoutLayer`](crate::TimeoutLayer).
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer<R = (), O = ()> {
    config: Option<TimeoutConfig>,
    reject: R,
    observe: O,
}

impl DeadlineLayer {
    /// Each call has this long, or less if it came with an earlier deadline.
    pub const fn new(config: TimeoutConfig) -> Self {
        DeadlineLayer { config: Some(config), reject: (), observe: () }
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
        Deadline { inner, timeout: config.map(|config| config.timeout()), reject, observe }
    }
}
