//! Whether a stack is ready, for who has no call to make.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

/// Polls a stack's readiness: whether it is ready, or has failed.
pub(crate) type Look<S> = fn(&mut S, &mut Context<'_>) -> Poll<bool>;

/// Polls a stack's readiness. One that panics has failed; the others are looked at all the same.
pub(crate) fn caught<S>(look: Look<S>, stack: &mut S, cx: &mut Context<'_>) -> Poll<bool> {
    catch_unwind(AssertUnwindSafe(|| look(stack, cx))).unwrap_or(Poll::Ready(false))
}
