//! What the layer reports.

use std::time::Duration;

/// What became of a call with an idempotency key; reported through [`Observe`](towpath_core::Observe). Calls that are
/// the first of their key, and answered, are not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DedupeEvent {
    /// It got an answer that was given before.
    Replayed,
    /// It waits for a call of the same key that is being made.
    Joined,
    /// The call that it waited for came to nothing, and it is made in its place.
    TookOver,
    /// It is another call than the one that had its key, and was turned away.
    Mismatch,
    /// It has no key where one is asked for, or one that is none, and was turned away.
    BadKey,
    /// There is no room for another key, and it was turned away.
    Full,
    /// An answer was dropped before its time, of this age, to make room: a repetition of that call would be made.
    Evicted(Duration),
    /// An answer was too large to be kept: repetitions of that call fail.
    TooLarge,
}
