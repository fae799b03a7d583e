//! What can be told to the layer: what is worth another attempt, and what a request is.

use std::time::Duration;
use towpath_core::{CallInfo, Class, FromContext, HasCompleted, HasContext, Mode};

/// Says whether a failed attempt is followed by another one.
///
/// `()` goes by the [`Class`] of the outcome: another attempt if it is [useful and
/// safe](Class::is_retryable). A closure `Fn(&Failed<'_, Res, Err>) -> Decision` is a policy too.
///
/// Whatever it says, the number of attempts, the budget and the deadline are kept, what the callee said about
/// waiting is obeyed, and a call that is a retry further up is not retried here.
pub trait Policy<Res, Err: ?Sized> {
    /// Whether there is to be another attempt.
    fn decide(&self, failed: &Failed<'_, Res, Err>) -> Decision;
}

/// An attempt that failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failed<'a, Res, Err: ?Sized> {
    /// What it ended with; `None` if it was given up, as its time was up.
    pub outcome: Option<Result<&'a Res, &'a Err>>,
    /// What that means.
    pub class: Class,
    /// Which attempt it was, from 0.
    pub attempt: u16,
    /// Whether the call may be made again although the callee may have acted.
    pub idempotent: bool,
}

impl<Res, Err: ?Sized> Failed<'_, Res, Err> {
    /// What `()` decides.
    pub fn usual(&self) -> Decision {
        match self.class.is_retryable(self.idempotent) {
            true => Decision::Retry,
            false => Decision::Stop,
        }
    }
}

/// Whether there is to be another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No.
    Stop,
    /// Yes, after the backoff.
    Retry,
    /// Yes, after this time and no backoff.
    RetryAfter(Duration),
}

impl<Res, Err: ?Sized> Policy<Res, Err> for () {
    fn decide(&self, failed: &Failed<'_, Res, Err>) -> Decision {
        failed.usual()
    }
}

impl<F, Res, Err: ?Sized> Policy<Res, Err> for F
where
    F: Fn(&Failed<'_, Res, Err>) -> Decision,
{
    fn decide(&self, failed: &Failed<'_, Res, Err>) -> Decision {
        self(failed)
    }
}

/// Copies a request before it is sent, so that it can be sent again.
///
/// [`ByClone`] clones; a closure `Fn(&Req) -> Option<Req>` can say that a request cannot be copied, as one whose
/// body is a stream. The call is then attempted once, and this is said: see
/// [`RetryEvent::CannotCopy`](crate::RetryEvent::CannotCopy).
pub trait CopyRequest<Req> {
    /// The copy, if there can be one.
    fn copy(&self, request: &Req) -> Option<Req>;
}

/// Copies requests that are `Clone`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByClone;

impl<Req: Clone> CopyRequest<Req> for ByClone {
    #[inline(always)]
    fn copy(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

impl<F, Req> CopyRequest<Req> for F
where
    F: Fn(&Req) -> Option<Req>,
{
    #[inline]
    fn copy(&self, request: &Req) -> Option<Req> {
        self(request)
    }
}

/// What a retry has to know of a call beside what every layer [knows](CallInfo).
///
/// `()` knows nothing: no call is idempotent (unless [all
/// are](crate::RetryLayer::assume_idempotent)), and nothing is left in a response. [`FromContext`] asks a
/// request that [has a context](HasContext), and leaves word in towpath's and in `http`'s responses.
pub trait Repeat<Req, Res>: CallInfo<Req, Res> {
    /// Whether the call may be made twice without harm.
    fn is_idempotent(&self, _request: &Req) -> bool {
        false
    }

    /// What the caller wants to hear, and when. What is [one-way](Mode::OneWay) is never sent again once it may
    /// have been written, and only what is answered at once is hedged.
    fn mode(&self, _request: &Req) -> Mode {
        Mode::Unary
    }

    /// Leaves in a response what was done: the attempts, if there was more than one; and whether there is to be
    /// no attempt further up either.
    fn report(&self, _response: &mut Res, _attempts: crate::Attempts, _stop: bool) {}

    /// A response that may be returned if nothing better comes, while another attempt is waited for. `None`
    /// drops it: one whose body is still to come would hold its connection.
    fn keep(&self, _response: Res) -> Option<Res> {
        None
    }
}

impl<Req, Res> Repeat<Req, Res> for () {}

impl<Req: HasContext, Res: HasCompleted> Repeat<Req, Res> for FromContext {
    #[inline]
    fn is_idempotent(&self, request: &Req) -> bool {
        request.is_idempotent()
    }

    #[inline]
    fn mode(&self, request: &Req) -> Mode {
        request.mode()
    }

    fn report(&self, response: &mut Res, attempts: crate::Attempts, stop: bool) {
        if attempts.made() > 1 {
            response.leave(attempts);
        }
        if stop {
            response.stop_retries();
        }
    }

    fn keep(&self, response: Res) -> Option<Res> {
        Res::IS_WHOLE.then_some(response)
    }
}
