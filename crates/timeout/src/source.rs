//! Where the deadline of a call is found.

use std::time::Duration;
use tokio::time::Instant;
use towpath_core::{Clock, FromContext, HasContext};

/// When a call started, and when it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The reading of the clock for this call.
    pub start: Instant,
    /// When its answer is of no use any more; at or before `start` for a call that comes too late.
    pub deadline: Instant,
}

/// Finds the deadline of a call in its request, for [`TimeoutLayer`](crate::TimeoutLayer).
///
/// `()` looks for none and bounds the request by nothing; [`FromContext`] reads a [`HasContext`]; a
/// closure `Fn(&R) -> Option<Instant>` reads any request. Write an implementation by hand only if the
/// deadline is to be written back into a foreign request.
pub trait FindDeadline<R> {
    /// Reads the clock, and limits the call to `timeout` from now or to the deadline that it came with,
    /// whichever is earlier.
    fn begin(&self, request: &mut R, timeout: Duration) -> Span;

    /// The call had to wait before it was passed on: a reading of the clock left in the request by
    /// [`begin`](Self::begin) is old by now.
    fn waited(&self, _request: &mut R) {}
}

impl<R> FindDeadline<R> for () {
    #[inline]
    fn begin(&self, _request: &mut R, timeout: Duration) -> Span {
        let start = Clock::now();
        Span { start, deadline: start + timeout }
    }
}

/// Finds the deadline in the request's context, and writes the tighter one back, so that what is called
/// further down gets no more time than this call has.
impl<R: HasContext> FindDeadline<R> for FromContext {
    #[inline]
    fn begin(&self, request: &mut R, timeout: Duration) -> Span {
        let start = Clock::start(request);
        let own = start + timeout;
        let deadline = request.context_mut().map_or(own, |context| context.tighten_deadline(own));
        Span { start, deadline }
    }

    fn waited(&self, request: &mut R) {
        if let Some(context) = request.context_mut() {
            context.set_stamp(None);
        }
    }
}

impl<R, F> FindDeadline<R> for F
where
    F: Fn(&R) -> Option<Instant>,
{
    #[inline]
    fn begin(&self, request: &mut R, timeout: Duration) -> Span {
        let start = Clock::now();
        let own = start + timeout;
        Span { start, deadline: self(request).map_or(own, |theirs| theirs.min(own)) }
    }
}
