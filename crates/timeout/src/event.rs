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
}

/// How far a call had come when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its deadline had passed when it came; nothing was done.
    Late,
    /// It waited for the inner service to be ready, which was not called.
    Waiting,
    /// The inner service had been called and had not answered.
    Called,
}

impl TimedOut {
    pub(crate) fn late() -> Self {
        TimedOut { phase: Phase::Late, allowed: Duration::ZERO }
    }

    /// What the caller is told. Only a call that went to the inner service may have been processed.
    pub(crate) fn error(self) -> Error {
        let error = Error::new(ErrorKind::DeadlineExceeded);
        match self.phase {
            Phase::Late => error
                .with_processed(Processed::No)
                .because("the deadline had passed before the call was started"),
            Phase::Waiting => error
                .with_processed(Processed::No)
                .because(format!("the service was not ready within {:?}", self.allowed)),
            Phase::Called => error
                .with_processed(Processed::Unknown)
                .because(format!("no answer within {:?}", self.allowed)),
        }
    }
}
