//! What a breaker tells: its state, its counts, what it did and why.

use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Lets them through (after closing perhaps only a share: see
    /// [`BreakerOptions::ramp`](crate::BreakerOptions::ramp)).
    Closed,
    /// Turns them away.
    Open,
    /// Lets the probes through, and turns all others away.
    HalfOpen,
}

/// Who decides about the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The outcomes of calls.
    Automatic,
    /// Somebody had it opened, and it stays so.
    ForcedOpen,
    /// Somebody had it closed, and it stays so. It counts on.
    ForcedClosed,
}

/// Why a state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Too large a share of the calls failed.
    FailureRate,
    /// Too many failed in a row.
    Consecutive,
    /// Too large a share of the calls was slow.
    SlowRate,
    /// A [`TripPolicy`](crate::TripPolicy) of one's own said so.
    Policy,
    /// The open time was over, and a call came.
    ProbeTime,
    /// A probe failed, or was slow.
    ProbeFailed,
    /// A probe had no answer in time.
    ProbeUnanswered,
    /// All probes succeeded.
    Recovered,
    /// Somebody said so.
    Forced,
}

/// Calls, counted. Those that said nothing (cancelled, the caller's own mistake) are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// All of them.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those of them that failed softly: rate limited, overloaded.
    pub soft: u64,
    /// Those that were slow, whether they failed or not.
    pub slow: u64,
}

/// A change of state.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// The key or the endpoint; empty for a breaker that has neither.
    pub name: Arc<str>,
    /// From which state.
    pub from: State,
    /// To which state. The same where only the [`Mode`] changed.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Instant,
    /// What was in the window when a closed breaker opened; since then the same.
    pub counts: Counts,
    /// For how long an open breaker turns all calls away; `None`: it did not open, or was opened by hand.
    pub open_for: Option<Duration>,
    /// How many changes this breaker has had. Two threads may report theirs in another order than they were
    /// made in.
    pub number: u64,
}

/// What a breaker reports through [`Observe`](towpath_core::Observe).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BreakerEvent {
    /// A state changed.
    Changed(Change),
    /// A call was turned away. Also counted in [`BreakerHandle::rejected`](crate::BreakerHandle::rejected).
    Rejected {
        /// The key or the endpoint; empty for a breaker that has neither.
        name: Arc<str>,
        /// The state that turned it away.
        state: State,
    },
    /// There are as many keys as there may be: all others share one breaker from now on. Reported once.
    KeysExhausted {
        /// The bound.
        limit: usize,
    },
}

impl State {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half-open",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Reason {
    /// In a few words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::FailureRate => "failure rate",
            Reason::Consecutive => "failures in a row",
            Reason::SlowRate => "slow calls",
            Reason::Policy => "policy",
            Reason::ProbeTime => "time to probe",
            Reason::ProbeFailed => "probe failed",
            Reason::ProbeUnanswered => "probe unanswered",
            Reason::Recovered => "probes succeeded",
            Reason::Forced => "by hand",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Counts {
    /// The share that failed; 0 if there are no calls.
    pub fn failure_rate(&self) -> f64 {
        self.failures as f64 / self.calls.max(1) as f64
    }

    /// The share that was slow; 0 if there are no calls.
    pub fn slow_rate(&self) -> f64 {
        self.slow as f64 / self.calls.max(1) as f64
    }

    /// What was added since `mark`.
    pub(crate) fn since(&self, mark: Counts) -> Counts {
        Counts {
            calls: self.calls - mark.calls,
            failures: self.failures - mark.failures,
            soft: self.soft - mark.soft,
            slow: self.slow - mark.slow,
        }
    }

    /// Adds a call.
    pub(crate) fn count(&mut self, call: Ended) {
        self.calls += 1;
        self.failures += u64::from(call.failed);
        self.soft += u64::from(call.soft);
        self.slow += u64::from(call.slow);
    }
}

/// How a call ended that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) failed: bool,
    pub(crate) soft: bool,
    pub(crate) slow: bool,
}
