//! To look at a balancer, and to change its config.

use crate::{BalanceConfig, Counts, fleet::Fleet, pick::Pick};
use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::{sync::futures::OwnedNotified, time::Instant};
use towpath_core::{Clock, Endpoint, EndpointId, EndpointStatus, Live};

/// A balancer, to look at and to configure. Clones are the same. It keeps neither the balancer's task alive
/// nor its stacks: when the balancer is gone there are no endpoints.
#[derive(Clone)]
pub struct BalanceHandle(Arc<dyn Inspect>);

/// One endpoint at this moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointView {
    /// Which one: address, weight, zone, priority, labels, state.
    pub endpoint: Endpoint,
    /// What is known of it.
    pub status: EndpointStatus,
    /// Whether picks see it as one that takes calls.
    pub takes_calls: bool,
    /// Calls of this balancer that are under way there.
    pub in_flight: u32,
    /// All calls of this balancer that went there.
    pub picks: u64,
    /// How long it takes to answer; `None`: it has not answered yet.
    pub latency: Option<Duration>,
    /// Which share of its calls fails: from 0 to 1, or above it where it asked to be left alone for a while.
    pub failures: f32,
    /// How many calls it had in work, as it said itself last.
    pub reported: Option<u32>,
}

/// What a handle asks, whatever the types are.
trait Inspect: Send + Sync {
    fn endpoints(&self) -> Vec<EndpointView>;
    fn endpoint(&self, id: EndpointId) -> Option<Endpoint>;
    fn counts(&self) -> Counts;
    fn changed(&self) -> Pin<Box<OwnedNotified>>;
    fn unready_since(&self) -> Option<Instant>;
    fn is_settled(&self) -> bool;
    fn is_panicking(&self) -> bool;
    fn config(&self) -> &Live<BalanceConfig>;
}

impl BalanceHandle {
    pub(crate) fn new<S: Send + 'static, P: Pick>(fleet: Arc<Fleet<S, P>>) -> Self {
        BalanceHandle(fleet)
    }

    /// All endpoints, in no particular order.
    pub fn endpoints(&self) -> Vec<EndpointView> {
        self.0.endpoints()
    }

    /// The endpoint of an id, while it is there.
    pub fn endpoint(&self, id: EndpointId) -> Option<Endpoint> {
        self.0.endpoint(id)
    }

    /// How many there are, by what is known of them.
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }

    /// Ends when something of what is shown here may have changed: since this was called, not since it was polled first. So who
    /// waits for something calls this, looks, and awaits it if it is not so; then no change is missed.
    ///
    /// Cancel safety: nothing is lost but the place in line.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.0.changed()
    }

    /// Since when no endpoint is [ready](Counts::ready): at first, since the balancer was made. `None` while one is.
    pub fn unready_since(&self) -> Option<Instant> {
        self.0.unready_since()
    }

    /// Whether discovery has said which endpoints there are.
    pub fn is_settled(&self) -> bool {
        self.0.is_settled()
    }

    /// Whether so few are well that all of them get calls.
    pub fn is_panicking(&self) -> bool {
        self.0.is_panicking()
    }

    /// The config, to be replaced while the balancer runs.
    pub fn config(&self) -> &Live<BalanceConfig> {
        self.0.config()
    }
}

impl<S: Send, P: Pick> Inspect for Fleet<S, P> {
    fn endpoints(&self) -> Vec<EndpointView> {
        self.tend_if_rung();
        let now = self.tick(Clock::now());
        let roster = self.roster();
        let view = |member: &crate::fleet::Member<S>| {
            let gauge = self.arena.at(member.key.slot);
            let latency = gauge.latency(self.usual(), now, self.per_tick());
            EndpointView {
                endpoint: (*member.endpoint).clone(),
                status: member.endpoint.state().status(),
                takes_calls: gauge.flags() & crate::gauge::USABLE != 0,
                in_flight: gauge.in_flight(),
                picks: gauge.picks(),
                latency: gauge.has_answered().then(|| Duration::from_nanos(latency as u64)),
                failures: gauge.failures(now, self.per_tick()),
                reported: gauge.report(now).map(|(calls, _)| calls),
            }
        };
        roster.members().iter().map(view).collect()
    }

    fn endpoint(&self, id: EndpointId) -> Option<Endpoint> {
        self.roster().find(id).map(|member| (*member.endpoint).clone())
    }

    fn counts(&self) -> Counts {
        self.tend_if_rung();
        Fleet::counts(self)
    }

    fn changed(&self) -> Pin<Box<OwnedNotified>> {
        self.bell.line()
    }

    fn unready_since(&self) -> Option<Instant> {
        self.tend_if_rung();
        self.roster().unready()
    }

    fn is_settled(&self) -> bool {
        self.roster().is_settled()
    }

    fn is_panicking(&self) -> bool {
        self.roster().is_panicking()
    }

    fn config(&self) -> &Live<BalanceConfig> {
        &self.config
    }
}

impl fmt::Debug for BalanceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BalanceHandle").field("endpoints", &self.counts()).finish_non_exhaustive()
    }
}
