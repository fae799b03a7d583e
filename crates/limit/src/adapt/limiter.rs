//! Two rules for a limit.

use super::{
    Adapt, AdaptiveConfig, Window,
    baseline::{Baseline, Next},
};

/// The limit follows the ratio of how long calls should take to how long they do, with some room to grow: the gradient
/// of Netflix' concurrency-limits ("Performance Under Load", 2018) and of Envoy's adaptive concurrency filter. How long
/// they should take is found out by asking for less now and then; see [`AdaptiveConfig`].
///
/// Where it settles, a fifth more calls (the tolerance) are in flight than the service works on at a time, and a few
/// more: enough to keep it busy, little enough to wait in line for.
#[derive(Clone, Debug)]
pub struct Gradient(Limiter);

/// The limit grows by a step while calls are fast enough and more are wanted, and shrinks by a tenth when they are too
/// slow or dropped (by four where they are more than twice as slow as that): additive increase, multiplicative decrease (Chiu and Jain, 1989). What is too slow is found out as
/// for [`Gradient`].
#[derive(Clone, Debug)]
pub struct Aimd(Limiter);

#[derive(Clone, Debug)]
struct Limiter {
    config: AdaptiveConfig,
    limit: f64,
    baseline: Baseline,
    /// Calls were never too slow yet: the limit is still far from where it settles.
    is_starting: bool,
}

impl Gradient {
    /// Starts where the config says.
    pub fn new(config: AdaptiveConfig) -> Self {
        Gradient(Limiter::new(config))
    }
}

impl Adapt for Gradient {
    fn adapt(&mut self, window: &Window) -> u32 {
        let tolerance = self.0.config.tolerance();
        self.0.after(window, |limit, base, window| {
            let latency = window.latency.as_secs_f64();
            if latency > base * tolerance || window.dropped > 0 {
                let used = used(limit, window);
                let gradient = (tolerance * base / latency).max(0.5);
                let gradient = if window.dropped > 0 { gradient.min(0.9) } else { gradient.min(1.0) };
                return (used * gradient + headroom(used)).min(limit);
            }
            if !window.saturated {
                return limit;
            }
            let gradient = (tolerance * base / latency).clamp(1.0, tolerance);
            limit + ((limit * gradient + headroom(limit)) - limit) / 2.0
        })
    }
}

impl Aimd {
    /// Starts where the config says.
    pub fn new(config: AdaptiveConfig) -> Self {
        Aimd(Limiter::new(config))
    }
}

impl Adapt for Aimd {
    fn adapt(&mut self, window: &Window) -> u32 {
        let tolerance = self.0.config.tolerance();
        self.0.after(window, |limit, base, window| {
            let slow = window.latency.as_secs_f64() / (base * (tolerance + 0.1));
            if window.dropped > 0 || slow > 1.0 {
                // A tenth at a time takes for ever where there is far to go.
                return used(limit, window).max(limit * 0.5) * if slow > 2.0 { 0.6 } else { 0.9 };
            }
            if window.saturated { limit + headroom(limit) } else { limit }
        })
    }
}

/// How much of a limit was used. What was not, proves nothing; but where nobody found it full, calls that took longer
/// for once are no reason to come near to those that there are.
fn used(limit: f64, window: &Window) -> f64 {
    let spare = if window.saturated { 1.0 } else { 2.5 };
    limit.min(window.in_flight() * spare + 1.0)
}

/// Room to grow: without it a limit that has become too small would never learn of it.
fn headroom(limit: f64) -> f64 {
    (limit.sqrt() / 2.0).max(0.5)
}

impl Limiter {
    fn new(config: AdaptiveConfig) -> Self {
        Limiter { config, limit: f64::from(config.initial()), baseline: Baseline::new(), is_starting: true }
    }

    fn after(&mut self, window: &Window, rule: impl Fn(f64, f64, &Window) -> f64) -> u32 {
        if window.calls > 0 {
            let (min, tolerance) = (f64::from(self.config.min()), self.config.tolerance());
            let limit = match self.baseline.after(window, self.limit, min, tolerance) {
                Next::Go => {
                    let latency = window.latency.as_secs_f64();
                    let base = self.baseline.or(latency);
                    self.is_starting &= latency <= base * tolerance && window.dropped == 0;
                    let limit = rule(self.limit, base, window);
                    if self.is_starting && window.saturated { limit.max(self.limit * 1.5) } else { limit }
                }
                Next::Try(limit) | Next::Return(limit) => limit,
                Next::Found { throughput, latency } => {
                    let busy = throughput * latency;
                    busy * tolerance + headroom(busy)
                }
            };
            self.limit = self.config.clamp(limit);
        }
        // At least `min`, so at least 1.
        self.limit.round() as u32
    }
}
