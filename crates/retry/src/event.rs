//! What the layer reports.

use std::time::Duration;
use towpath_core::{Class, EndpointId};

/// Something that a retry layer decided or saw; reported through [`Observe`](towpath_core::Observe). A call
/// that succeeds at its first attempt reports nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RetryEvent {
    /// An attempt failed.
    AttemptFailed {
        /// Which one, from 0.
        attempt: u16,
        /// Whether it was a hedge.
        hedge: bool,
        /// What its outcome means.
        class: Class,
        /// Whether it was given up by this layer, as its time was up.
        timed_out: bool,
        /// How long it took.
        took: Duration,
        /// Where it went, if whoever picks endpoints said so.
        endpoint: Option<EndpointId>,
    },
    /// There will be a retry.
    Planned {
        /// Which attempt that will be.
        attempt: u16,
        /// After how long.
        after: Duration,
    },
    /// A hedge was sent beside the attempts that are under way.
    Hedged {
        /// Which attempt that is.
        attempt: u16,
        /// How long the call has taken so far.
        after: Duration,
    },
    /// A hedge was answered first.
    HedgeWon {
        /// Which attempt that was.
        attempt: u16,
    },
    /// An attempt would have made sense, and the budget could not pay for it.
    BudgetExhausted {
        /// Whether it would have been a hedge.
        hedge: bool,
    },
    /// The call failed.
    GaveUp {
        /// Why there was no further attempt.
        why: GaveUp,
        /// How many there were.
        attempts: u16,
    },
    /// A request could not be copied, so that its call is attempted once only. Reported once, and logged.
    CannotCopy,
}

/// Why a call that failed was not attempted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GaveUp {
    /// It was attempted as often as it may be.
    AttemptsSpent,
    /// The budget could not pay.
    BudgetSpent,
    /// What is left of the deadline could not pay for a wait and an attempt.
    Deadline,
    /// Another attempt would end no better: see [`Class::useful`](towpath_core::Class::useful).
    NotUseful,
    /// The callee may have acted, and the call is not idempotent.
    Unsafe,
    /// The user's own policy said so.
    Policy,
    /// The call belongs to a retry further up; only that one retries.
    Upstream,
    /// The request could not be copied.
    CannotCopy,
}
