//! How long calls take where nothing queues.

use super::Window;

/// How many windows at a limit that holds, until it is asked again whether less would do: at first, and at most. It
/// doubles whenever nothing new was found out.
const PROBE_AFTER: [u32; 2] = [8, 64];
/// How far the limit is lowered to find out; and how far where nothing is known yet.
const STEP: f64 = 0.7;
const FIRST_STEP: f64 = 0.5;
/// How far down a limit has to be until calls must have become faster, if there is a queue; those that came before
/// are still among them.
const FAR: f64 = 0.6;
/// A mean of calls that differ is a matter of luck: what is this close is the same.
const SAME: f64 = 0.15;

/// Learns how long calls take in the mean where nothing queues, which nobody can see from outside: the service may
/// have a queue of its own, and a long one looks like slow work.
///
/// While there is room for all calls the baseline follows what is seen. When there is not, and now and then after
/// that, the limit is lowered a little (to 0.7) for two windows: the first for the calls that are still there, the
/// second to measure. If calls are faster then, there was a queue, and the limit is lowered further, until they become
/// no faster, or fewer: a service that does fewer calls has no queue. That is the baseline. (Envoy's gradient controller asks by going down to 3 calls at a time, brpc's
/// automatic limiter and BBR by draining; small steps cost a busy service less, and find out as much.)
#[derive(Clone, Debug)]
pub(super) struct Baseline {
    /// In seconds.
    known: Option<f64>,
    probe: Option<Probe>,
    /// Windows since it was last measured under load, and after how many it is to be measured again.
    age: u32,
    measure_after: u32,
    /// Whether it was not known when it was begun to be measured.
    is_first: bool,
    slow: Option<Slow>,
    /// The most calls a second, of late.
    throughput: f64,
}

/// When calls became too slow.
#[derive(Clone, Copy, Debug)]
struct Slow {
    latency: f64,
    limit: f64,
    /// The limit is far below that by now.
    is_far: bool,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    /// Latency at the limit before.
    before: f64,
    /// The limit to return to, if nobody asks for room any more.
    from: f64,
    /// Calls from before it are still there.
    is_settling: bool,
}

/// What is to be done after a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// Nothing out of the way: the rule decides.
    Go,
    /// This limit, to find out.
    Try(f64),
    /// It was found out: the service does so many calls a second, each of which takes so many seconds.
    Found { throughput: f64, latency: f64 },
    /// It was found out, but there was not enough to do: this limit again.
    Return(f64),
}

impl Baseline {
    pub(super) fn new() -> Self {
        Baseline {
            known: None,
            probe: None,
            age: 0,
            measure_after: PROBE_AFTER[0],
            is_first: true,
            slow: None,
            throughput: 0.0,
        }
    }

    /// How long a call takes in the mean where nothing queues, in seconds; `latency` if nobody knows.
    pub(super) fn or(&self, latency: f64) -> f64 {
        self.known.unwrap_or(latency)
    }

    /// After a window at `limit`, which may go down to `min`; above `tolerance` times the baseline calls are too
    /// slow.
    pub(super) fn after(&mut self, window: &Window, limit: f64, min: f64, tolerance: f64) -> Next {
        let latency = window.latency.as_secs_f64();
        self.throughput = window.throughput().max(self.throughput * 0.95);
        if let Some(probe) = self.probe {
            return self.measure(probe, window, latency, limit, min);
        }
        let Some(known) = self.known else {
            self.age += 1;
            if !window.saturated {
                self.known = Some(latency);
                self.is_first = false;
                return Next::Go;
            }
            // Nothing is known, and there may be a queue already: find out at once. But not from the first window, in
            // which a queue was only about to grow.
            return if self.age < 2 { Next::Try(limit) } else { self.try_less(latency, limit, min) };
        };
        if latency > known * tolerance {
            // A queue that still grows says nothing yet.
            let new = Slow { latency, limit, is_far: false };
            let slow = self.slow.filter(|slow| latency <= slow.latency).unwrap_or(new);
            let is_far = limit <= slow.limit * FAR || limit <= min;
            self.slow = Some(Slow { is_far, ..slow });
            // Far enough down, also when the calls of this window began: if they are no faster, there is no queue, and the
            // service is slower now.
            if is_far && slow.is_far {
                self.slow = Some(new);
                if latency >= slow.latency * (1.0 - SAME) {
                    self.slow = None;
                    self.known = Some(latency);
                }
            }
        } else {
            self.slow = None;
            // Down fast and up slowly; up only where nobody waits.
            let part = if latency < known { 0.3 } else { 0.1 };
            if latency < known || !window.saturated {
                self.known = Some(known + (latency - known) * part);
            }
        }
        if !window.saturated {
            self.age = 0;
            return Next::Go;
        }
        self.age += 1;
        if self.age < self.measure_after { Next::Go } else { self.try_less(latency, limit, min) }
    }

    fn try_less(&mut self, latency: f64, limit: f64, min: f64) -> Next {
        self.age = 0;
        self.slow = None;
        let step = if self.is_first { FIRST_STEP } else { STEP };
        let less = (limit * step).round().max(min);
        if less >= limit {
            // There is no less.
            self.probe = None;
            self.known = Some(latency);
            return Next::Go;
        }
        let from = self.probe.map_or(limit, |probe| probe.from);
        self.probe = Some(Probe { before: latency, from, is_settling: true });
        Next::Try(less)
    }

    fn measure(&mut self, probe: Probe, window: &Window, latency: f64, limit: f64, min: f64) -> Next {
        if probe.is_settling {
            self.probe = Some(Probe { is_settling: false, ..probe });
            return Next::Try(limit);
        }
        let known = self.or(latency);
        // Below what is known by less than for others: a baseline that is too high settles where it is confirmed.
        let is_known =
            !self.is_first && latency > known * (1.0 - SAME / 2.0) && latency < known * (1.0 + SAME);
        let became_faster = latency < probe.before * (1.0 - SAME) || latency < known * (1.0 - SAME / 2.0);
        let as_many = window.throughput() > self.throughput * (1.0 - SAME);
        if became_faster && as_many && !is_known && window.saturated && limit > min {
            return self.try_less(latency, limit, min);
        }
        self.probe = None;
        let latency = if is_known { (known + latency) / 2.0 } else { latency };
        self.known = Some(latency);
        self.is_first = false;
        self.measure_after =
            if is_known { (self.measure_after * 2).min(PROBE_AFTER[1]) } else { PROBE_AFTER[0] };
        if window.saturated {
            Next::Found { throughput: self.throughput, latency }
        } else {
            Next::Return(probe.from)
        }
    }
}
