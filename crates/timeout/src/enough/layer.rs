//! What is put into a stack.

use super::{EnoughTime, config::EnoughTimeConfig, handle::EnoughTimeHandle, state::State};
use tower_layer::Layer;
use towpath_core::{Live, Shared};

/// Refuses calls that cannot be finished in the time that is left of their deadline, so that a server does not
/// work for callers who will be gone. At most a share of the calls is refused.
///
/// For servers, below a [`DeadlineLayer`](crate::DeadlineLayer) and above the router. A call has too little
/// left if it is less than a configured minimum, or less than what calls of its kind have taken lately
/// ([`EnoughTimeConfig::with_quantile`]). Calls without a deadline pass.
///
/// - **What is observed**: successful calls from their start (the reading of the clock in their context) to
///   their answer, and calls that were given up at their deadline, as a quarter longer than that. All calls of a
///   quiet group, one in 8 of a busy one; with fewer than 20 in memory (below about 4 calls a second) nothing is
///   said.
/// - **The cap**: of any n calls in a row, at most `max_share * n + 10` are refused. When everything turns slow at
///   once, four of five calls still go through; they are what shows that it is over.
///
/// All services of one layer, and their clones, know the same.
#[derive(Clone, Debug)]
pub struct EnoughTimeLayer<G = (), R = (), O = ()> {
    state: Shared<State>,
    group: G,
    reject: R,
    observe: O,
}

impl EnoughTimeLayer {
    /// All calls are judged together.
    pub fn new(config: impl Into<Live<EnoughTimeConfig>>) -> Self {
        let state = Shared::new(State::new(config.into(), false));
        EnoughTimeLayer { state, group: (), reject: (), observe: () }
    }
}

impl<G, R, O> EnoughTimeLayer<G, R, O> {
    /// Calls are judged by what others of their [`Group`](crate::Group) have taken: for MCP by
    /// [`ByMethod`](crate::ByMethod), else by a closure `Fn(&Request) -> u64`. What was counted so far is
    /// forgotten: set it before the [`handle`](Self::handle) is taken.
    pub fn group_by<G2>(self, group: G2) -> EnoughTimeLayer<G2, R, O> {
        let state = Shared::new(State::new(self.state.config.clone(), true));
        EnoughTimeLayer { state, group, reject: self.reject, observe: self.observe }
    }

    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject). It is cloned for each call.
    pub fn on_reject<R2>(self, reject: R2) -> EnoughTimeLayer<G, R2, O> {
        EnoughTimeLayer { state: self.state, group: self.group, reject, observe: self.observe }
    }

    /// Tells `observe` about each call that had [too little left](crate::TooLittleLeft).
    pub fn observe<O2>(self, observe: O2) -> EnoughTimeLayer<G, R, O2> {
        EnoughTimeLayer { state: self.state, group: self.group, reject: self.reject, observe }
    }

    /// Reads counts, and replaces the config.
    pub fn handle(&self) -> EnoughTimeHandle {
        EnoughTimeHandle(self.state.clone())
    }
}

impl<S, G, R, O> Layer<S> for EnoughTimeLayer<G, R, O>
where
    G: Clone,
    R: Clone,
    O: Clone,
{
    type Service = EnoughTime<S, G, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { state, group, reject, observe } = self.clone();
        EnoughTime::new(inner, state, group, reject, observe)
    }
}
