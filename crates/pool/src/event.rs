//! What a pool reports.

use std::time::Duration;
use tokio::time::Instant;
use towpath_core::Error;

/// What a pool did, or what happened to it; reported through [`Observe`](towpath_core::Observe).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PoolEvent {
    /// A connection was made.
    Connected {
        /// How long that took.
        took: Duration,
        /// How many there are now.
        open: u32,
    },
    /// A connect failed.
    ConnectFailed {
        /// Why.
        error: Error,
        /// When the next one is made, if one is wanted then.
        next_try: Instant,
    },
    /// A connection ended by itself, or its peer takes no more calls.
    Lost {
        /// Why.
        error: Error,
        /// How long there had been one.
        lived: Duration,
        /// How many are left.
        open: u32,
    },
    /// A connection was closed from this side.
    Retired {
        /// Why.
        why: Retirement,
        /// How long there had been one.
        lived: Duration,
        /// How many are left.
        open: u32,
    },
    /// A call got its connection after it had waited for one. (Those that find one at once are not reported.)
    Acquired {
        /// How long it had waited.
        waited: Duration,
    },
    /// A call was refused, or gave up waiting for a connection.
    Refused {
        /// Why.
        why: Refusal,
        /// How long it had waited.
        waited: Duration,
    },
}

/// Why a connection was closed from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retirement {
    /// Nobody used it.
    Idle,
    /// It was old, and another one has taken its place.
    Aged,
    /// There were more than the config allows, by now.
    Surplus,
    /// It gave no sign of life.
    Silent,
}

/// Why a call got no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// As many waited as may.
    Full,
    /// It waited as long as it may.
    TimedOut,
    /// It waited until its deadline.
    Late,
    /// It had no deadline, and no connection could be made.
    Unconnected,
    /// The pool is closed.
    Closed,
}

impl Retirement {
    /// All of them.
    pub const ALL: [Retirement; 4] =
        [Retirement::Idle, Retirement::Aged, Retirement::Surplus, Retirement::Silent];

    /// A word for it, to count it under.
    pub const fn as_str(self) -> &'static str {
        match self {
            Retirement::Idle => "idle",
            Retirement::Aged => "aged",
            Retirement::Surplus => "surplus",
            Retirement::Silent => "silent",
        }
    }
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 5] =
        [Refusal::Full, Refusal::TimedOut, Refusal::Late, Refusal::Unconnected, Refusal::Closed];

    /// A word for it, to count it under.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::Full => "full",
            Refusal::TimedOut => "timed_out",
            Refusal::Late => "late",
            Refusal::Unconnected => "unconnected",
            Refusal::Closed => "closed",
        }
    }
}
