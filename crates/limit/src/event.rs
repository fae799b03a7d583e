//! What the layers of this crate report.

use std::time::Duration;

/// What a limit decided; reported through [`Observe`](towpath_core::Observe).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LimitEvent {
    /// A call was refused.
    Refused {
        /// Why.
        why: Refusal,
        /// How long it had waited.
        waited: Duration,
        /// When the caller was told to come again.
        retry_after: Option<Duration>,
    },
    /// A call has to wait: for room, or for its time.
    Queued {
        /// How many wait, this one included; 0 where that is not counted.
        waiting: u32,
    },
    /// An adaptive limit changed.
    LimitChanged {
        /// What it was.
        from: u32,
        /// What it is.
        to: u32,
    },
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// There was no room, and none to wait in.
    Full,
    /// It waited for room as long as it may.
    TimedOut,
    /// It waited for room until its deadline, or would have.
    Late,
    /// It waited for room, and had to make room for a call with a better claim.
    Evicted,
    /// The rate is used up.
    Rate,
    /// The service refused so many calls that this one was not sent.
    Throttled,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 6] = [
        Refusal::Full,
        Refusal::TimedOut,
        Refusal::Late,
        Refusal::Evicted,
        Refusal::Rate,
        Refusal::Throttled,
    ];

    /// A word for it, to count it under.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::Full => "full",
            Refusal::TimedOut => "timed_out",
            Refusal::Late => "late",
            Refusal::Evicted => "evicted",
            Refusal::Rate => "rate",
            Refusal::Throttled => "throttled",
        }
    }
}
