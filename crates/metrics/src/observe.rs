//! What the layers decide, counted.

use crate::{Metrics, acquire::Waited, names::*, watch::state};
use std::{borrow::Cow, fmt, sync::Arc, time::Duration};
use towpath_auth::{AttachEvent, Refusal, RenewEvent, VerifyEvent};
use towpath_balance::BalanceEvent;
use towpath_breaker::BreakerEvent;
use towpath_core::{Class, Endpoint, Observe};
use towpath_dedupe::DedupeEvent;
use towpath_discover::{DiscoverEvent, What};
use towpath_fallback::{End, FellBack, Source};
use towpath_limit::LimitEvent;
use towpath_pool::PoolEvent;
use towpath_retry::{GaveUp, RetryEvent};
use towpath_timeout::{Limit, Phase, TimedOut, TooLittleLeft};

/// Counts what the layers of one client or server decide: give a clone of it to each layer's `observe`.
///
/// Metrics that are about one of several limits want to know which: see [`limit`](Self::limit).
#[derive(Clone)]
pub struct Observer {
    metrics: Metrics,
    target: Arc<str>,
    limit: &'static str,
    waited: Arc<Waited>,
}

impl Observer {
    pub(crate) fn new(metrics: Metrics, target: Arc<str>) -> Self {
        let waited = metrics.0.waits.of(&target);
        Observer { metrics, target, limit: "", waited }
    }

    /// The same, for the limit of this name: `admission`, `concurrency`, `rate`.
    #[must_use]
    pub fn limit(&self, limit: &'static str) -> Self {
        Observer { limit, ..self.clone() }
    }

    /// Where it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// An endpoint was checked. (Whoever checks stands beside this crate: a client's builder passes it on.)
    pub fn probed(&self, took: Duration, failed: bool) {
        if !self.is_off() {
            self.count(&HEALTH_PROBES, &[if failed { "failed" } else { "ok" }]);
            self.time(&HEALTH_PROBE, &[], took);
        }
    }

    /// An endpoint is healthy or unhealthy by its checks, and was not before.
    pub fn checked(&self, endpoint: &Endpoint, healthy: bool) {
        if !self.is_off() {
            let to = if healthy { "healthy" } else { "unhealthy" };
            self.count(&HEALTH_CHANGES, &[endpoint.address(), to]);
        }
    }

    /// Something happened to an instance in a registry, where there are so many now. (A registry stands beside this crate, as
    /// do registrations: `towpath` passes it on.)
    pub fn registry(&self, what: &str, instances: u64) {
        if !self.is_off() {
            self.count(&REGISTRY_EVENTS, &[what]);
            self.set(&REGISTRY_INSTANCES, &[], instances as f64);
        }
    }

    /// Something became of a server's registration.
    pub fn registration(&self, what: &str) {
        if !self.is_off() {
            self.count(&REGISTRATION_EVENTS, &[what]);
        }
    }

    fn is_off(&self) -> bool {
        !self.metrics.0.on()
    }

    fn count(&self, metric: &Metric, more: &[&str]) {
        self.add(metric, more, 1);
    }

    fn add(&self, metric: &Metric, more: &[&str], n: usize) {
        self.labelled(more, |labels| self.metrics.0.count(metric, labels, n as u64));
    }

    fn time(&self, metric: &Metric, more: &[&str], took: Duration) {
        self.labelled(more, |labels| self.metrics.0.record(metric, labels, took.as_secs_f64()));
    }

    fn set(&self, metric: &Metric, more: &[&str], value: f64) {
        self.labelled(more, |labels| self.metrics.0.set(metric, labels, value));
    }

    fn labelled(&self, more: &[&str], tell: impl FnOnce(&[&str])) {
        let mut labels = [""; 8];
        let all = [&*self.target].into_iter().chain(more.iter().copied());
        let count = labels.iter_mut().zip(all).map(|(label, value)| *label = value).count();
        tell(&labels[..count]);
    }
}

/// What an attempt failed with, to count it under.
fn reason(class: &Class, timed_out: bool) -> Cow<'static, str> {
    match &class.code {
        _ if timed_out => "timed_out".into(),
        Some(code) => code.as_str().to_owned().into(),
        None => "_OTHER".into(),
    }
}

impl Observe<RetryEvent> for Observer {
    fn observe(&self, event: &RetryEvent) {
        if self.is_off() {
            return;
        }
        match event {
            RetryEvent::AttemptFailed { attempt, hedge, class, timed_out, .. } => {
                let kind = match (hedge, attempt) {
                    (true, _) => "hedge",
                    (false, 0) => "first",
                    (false, _) => "retry",
                };
                self.count(&FAILED_ATTEMPTS, &[kind, &reason(class, *timed_out)]);
            }
            RetryEvent::Planned { .. } => self.count(&RETRIES, &["retry"]),
            RetryEvent::Hedged { .. } => self.count(&RETRIES, &["hedge"]),
            RetryEvent::HedgeWon { .. } => self.count(&HEDGES_WON, &[]),
            RetryEvent::BudgetExhausted { hedge } => {
                self.count(&BUDGET_EXHAUSTED, &[if *hedge { "hedge" } else { "retry" }]);
            }
            RetryEvent::GaveUp { why, .. } => {
                let why = match why {
                    GaveUp::AttemptsSpent => "attempts_spent",
                    GaveUp::BudgetSpent => "budget_spent",
                    GaveUp::Deadline => "deadline",
                    GaveUp::NotUseful => "not_useful",
                    GaveUp::Unsafe => "unsafe",
                    GaveUp::Policy => "policy",
                    GaveUp::Upstream => "upstream",
                    GaveUp::CannotCopy => "cannot_copy",
                    _ => "_OTHER",
                };
                self.count(&GAVE_UP, &[why]);
            }
            _ => {}
        }
    }
}

impl Observe<BreakerEvent> for Observer {
    fn observe(&self, event: &BreakerEvent) {
        if self.is_off() {
            return;
        }
        match event {
            BreakerEvent::Changed(change) => {
                let (to, why) = (change.to.as_str(), change.reason.as_str());
                self.count(&BREAKER_CHANGES, &[&change.name, to, why]);
                self.set(&BREAKER_STATE, &[&change.name], state(change.to));
            }
            BreakerEvent::Rejected { name, .. } => self.count(&BREAKER_REJECTED, &[name]),
            _ => {}
        }
    }
}

impl Observe<LimitEvent> for Observer {
    fn observe(&self, event: &LimitEvent) {
        if self.is_off() {
            return;
        }
        match event {
            LimitEvent::Refused { why, .. } => self.count(&LIMIT_REFUSED, &[self.limit, why.as_str()]),
            LimitEvent::Queued { .. } => self.count(&LIMIT_QUEUED, &[self.limit]),
            _ => {}
        }
    }
}

impl Observe<FellBack> for Observer {
    fn observe(&self, event: &FellBack) {
        if self.is_off() {
            return;
        }
        let source = match event.source {
            Source::Value => "value",
            Source::Function => "function",
            Source::Service => "service",
            Source::LastGood => "last_good",
            Source::Other(name) => name,
            _ => "_OTHER",
        };
        let end = match event.end {
            End::Answered => "answered",
            End::Nothing => "nothing",
            End::Failed => "failed",
            End::OutOfTime => "out_of_time",
            _ => "_OTHER",
        };
        self.count(&FALLBACKS, &[source, end]);
    }
}

impl Observe<TimedOut> for Observer {
    fn observe(&self, event: &TimedOut) {
        if self.is_off() {
            return;
        }
        let phase = match event.phase {
            Phase::Late => "late",
            Phase::Waiting => "waiting",
            Phase::Called => "called",
            Phase::Answering => "answering",
            _ => "_OTHER",
        };
        let limit = match event.limit {
            Limit::Total => "total",
            Limit::Attempt => "attempt",
            Limit::Inherited => "inherited",
        };
        self.count(&TIMED_OUT, &[phase, limit]);
    }
}

impl Observe<TooLittleLeft> for Observer {
    fn observe(&self, event: &TooLittleLeft) {
        if self.is_off() {
            return;
        }
        self.count(&TOO_LITTLE_LEFT, &[if event.refused { "yes" } else { "no" }]);
    }
}

impl Observe<VerifyEvent> for Observer {
    fn observe(&self, event: &VerifyEvent) {
        if self.is_off() {
            return;
        }
        match event {
            VerifyEvent::Verified(_) => self.count(&AUTH_VERIFIED, &[]),
            VerifyEvent::Refused(why, _) => {
                let why = match why {
                    Refusal::Missing => "missing",
                    Refusal::Malformed => "malformed",
                    Refusal::Invalid => "invalid",
                    Refusal::Expired => "expired",
                    Refusal::Forbidden => "forbidden",
                    Refusal::Late => "late",
                    _ => "_OTHER",
                };
                self.count(&AUTH_REFUSED, &[why]);
            }
            _ => {}
        }
    }
}

impl Observe<AttachEvent> for Observer {
    fn observe(&self, event: &AttachEvent) {
        if self.is_off() {
            return;
        }
        match event {
            AttachEvent::Waits => self.count(&AUTH_WAITS, &[]),
            AttachEvent::NoToken(_) => self.count(&AUTH_NO_TOKEN, &[]),
            _ => {}
        }
    }
}

impl Observe<RenewEvent> for Observer {
    fn observe(&self, event: &RenewEvent) {
        if self.is_off() {
            return;
        }
        match event {
            RenewEvent::Renewed(_) => self.count(&AUTH_RENEWALS, &["ok"]),
            RenewEvent::Failed(_) => self.count(&AUTH_RENEWALS, &["failed"]),
            _ => {}
        }
    }
}

impl Observe<DedupeEvent> for Observer {
    fn observe(&self, event: &DedupeEvent) {
        if self.is_off() {
            return;
        }
        let what = match event {
            DedupeEvent::Replayed => "replayed",
            DedupeEvent::Joined => "joined",
            DedupeEvent::TookOver => "took_over",
            DedupeEvent::Mismatch => "mismatch",
            DedupeEvent::BadKey => "bad_key",
            DedupeEvent::Full => "full",
            DedupeEvent::Evicted(_) => "evicted",
            DedupeEvent::TooLarge => "too_large",
            _ => "_OTHER",
        };
        self.count(&DEDUPED, &[what]);
    }
}

impl Observe<BalanceEvent> for Observer {
    fn observe(&self, event: &BalanceEvent) {
        if self.is_off() {
            return;
        }
        match event {
            // Its breaker is no more, and open no more.
            BalanceEvent::Left(endpoint) => self.set(&BREAKER_STATE, &[endpoint.address()], 0.0),
            BalanceEvent::Ejected { endpoint, .. } => self.count(&EJECTIONS, &[endpoint.address()]),
            BalanceEvent::EjectionRefused { .. } => self.count(&EJECTIONS_REFUSED, &[]),
            BalanceEvent::Returned(_) => self.count(&RETURNS, &[]),
            BalanceEvent::PanicBegan(_) => self.count(&PANICS, &[]),
            BalanceEvent::NoEndpoint(_) => self.count(&NO_ENDPOINT, &[]),
            _ => {}
        }
    }
}

impl Observe<PoolEvent> for Observer {
    fn observe(&self, event: &PoolEvent) {
        if self.is_off() {
            return;
        }
        match event {
            PoolEvent::Connected { took, .. } => {
                self.count(&POOL_CONNECTS, &["ok"]);
                self.time(&POOL_CONNECT, &[], *took);
            }
            PoolEvent::ConnectFailed { .. } => self.count(&POOL_CONNECTS, &["failed"]),
            PoolEvent::Lost { .. } => self.count(&POOL_CLOSED, &["lost"]),
            PoolEvent::Retired { why, .. } => self.count(&POOL_CLOSED, &[why.as_str()]),
            PoolEvent::Acquired { waited } => self.waited.add(*waited),
            PoolEvent::Refused { why, waited } => {
                self.count(&POOL_REFUSED, &[why.as_str()]);
                self.time(&POOL_REFUSED_WAIT, &[], *waited);
            }
            _ => {}
        }
    }
}

impl Observe<DiscoverEvent> for Observer {
    /// It is counted under the name that is watched, whatever the target is.
    fn observe(&self, event: &DiscoverEvent) {
        if self.is_off() {
            return;
        }
        let name = &*event.name;
        match &event.what {
            What::Changed(changes) => {
                let changes =
                    [("new", changes.inserted), ("gone", changes.removed), ("described", changes.described)];
                for (change, n) in changes.into_iter().filter(|(_, n)| *n > 0) {
                    self.metrics.0.count(&DISCOVERY_CHANGES, &[name, change], n as u64);
                }
            }
            What::Failed { .. } => self.metrics.0.count(&DISCOVERY_ERRORS, &[name], 1),
            What::Refused { count, .. } => self.metrics.0.count(&DISCOVERY_REFUSED, &[name], *count as u64),
            What::EmptyDoubted { .. } => self.metrics.0.count(&DISCOVERY_DOUBTED, &[name], 1),
            _ => {}
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer")
            .field("target", &self.target)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
