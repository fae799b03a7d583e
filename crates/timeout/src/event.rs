//! What the layers of this crate report.

use std::time::Duration;
use towpath_core::{Error, ErrorKind, Processed};

/// A call was given up because its time was up; reported through [`Observe`](towpath_core::Observe).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimedOut {
    /// How far the call had come.
    pub phase: Phase,
    /// How long it had when it came to this layer: own timeout or inherited deadline, whichever was less.
    /// Zero for a call that came too late.
    pub allowed: Duration,
    /// Whose limit that was.
    pub limit: Limit,
}

/// How far a call had come when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Its deadline had passed when it came; nothing was done.
    Late,
    /// It waited for the inner service to be ready, which was not called.
    Waiting,
    /// The inner service had been called and had not answered.
    Called,
    /// The answer had begun, and its last byte was not there. Only where a limit covers the
    /// [whole call](crate::TimeoutLayer::whole_call).
    Answering,
}

/// Whose limit a call ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The layer's own, for the call as a whole.
    Total,
    /// The layer's own, for one of perhaps several attempts.
    Attempt,
    /// The deadline that the call came with, which was the earlier one.
    Inherited,
}

impl TimedOut {
    pub(crate) fn late() -> Self {
        TimedOut { phase: Phase::Late, allowed: Duration::ZERO, limit: Limit::Inherited }
    }

    /// What the caller is told. Only a call that went to the inner service may have been processed.
    pub(crate) fn error(self) -> Error {
        let TimedOut { phase, allowed, limit } = self;
        let of = if limit == Limit::Attempt { " of this attempt" } else { "" };
        let (processed, detail) = match phase {
            Phase::Late => (Processed::No, "the deadline had passed before the call was started".into()),
            Phase::Waiting => (Processed::No, format!("the service was not ready within {allowed:?}{of}")),
            Phase::Called => (Processed::Unknown, format!("no answer within {allowed:?}{of}")),
            Phase::Answering => (Processed::Unknown, format!("the answer had no end within {allowed:?}{of}")),
        };
        Error::new(ErrorKind::DeadlineExceeded).with_processed(processed).because(detail)
    }
}

/// A call came with less time than it most likely takes; reported through
/// [`Observe`](towpath_core::Observe) by an [`EnoughTimeLayer`](crate::EnoughTimeLayer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooLittleLeft {
    /// What was left of its deadline.
    pub left: Duration,
    /// What was wanted: the configured minimum or what calls have taken lately, whichever is more.
    pub wanted: Duration,
    /// Whether it was refused. If not, as many were refused as may be, and this one was let through.
    pub refused: bool,
}

impl TooLittleLeft {
    /// What the caller is told.
    pub(crate) fn error(self) -> Error {
        let TooLittleLeft { left, wanted, .. } = self;
        Error::new(ErrorKind::DeadlineExceeded)
            .with_processed(Processed::No)
            .because(format!("{left:?} of the deadline left, and it takes about {wanted:?}"))
    }
}
