//! What the layer makes of the inner service.

use super::{ResponseFuture, state::State};
use crate::{
    LimitEvent, Refusal,
    gate::{Entry, Place},
    refuse::Patience,
};
use std::{
    fmt,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{CallInfo, Class, Classify, Clock, Observe, OnReject, Priority, Shared};

/// Takes any answer for one that tells how long calls take, and no error.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyAnswer;

impl<Res, Err: ?Sized> Classify<Res, Err> for AnyAnswer {
    #[inline]
    fn classify(&self, outcome: Result<&Res, &Err>) -> Class {
        if outcome.is_ok() { Class::SUCCESS } else { Class::FAILURE }
    }
}

/// A service that lets in as many calls as it can take; [`AdmissionLayer`](super::AdmissionLayer) makes it.
///
/// It is ready when the inner service is. A call that finds no room waits in its own future, or is refused at once
/// where too many wait. One that waits has no hold on the inner service: a clone of that one is readied when its turn
/// has come. The highest priority goes first; in a full queue one of a lower priority makes room for one of a higher.
///
/// What is measured is the time from when a call is let in until it is answered. Calls that are answered at the first
/// poll are not measured: they waited for nothing. Neither are those that fail.
///
/// Response and error: those of the inner service, the error boxed unless an [`OnReject`] says otherwise.
///
/// # Errors
/// [`ErrorKind::Overloaded`](towpath_core::ErrorKind::Overloaded) (MCP-W-103) if there is no room, or none came free in
/// time; [`ErrorKind::DeadlineExceeded`](towpath_core::ErrorKind::DeadlineExceeded) if the call's deadline ended the
/// wait. Both say [not processed](towpath_core::Processed::No), and when to come again. As a
/// [`BoxError`](towpath_core::BoxError), unless an [`OnReject`] answers in its place.
///
/// # Cancel safety
/// A call that is dropped gives its room back; one that waits leaves the queue, and if its turn had come, that goes to
/// the next one.
pub struct Admission<S, I = (), C = AnyAnswer, R = (), O = ()> {
    inner: S,
    /// What this clone holds: room, while it calls the inner service. And by it the state that all share.
    place: Place<Shared<State<I, C, R, O>>>,
}

impl<S, I, C, R, O> Admission<S, I, C, R, O> {
    pub(super) fn new(inner: S, shared: Shared<State<I, C, R, O>>) -> Self {
        Admission { inner, place: Place::new(shared) }
    }
}

impl<S: Clone, I, C, R, O> Clone for Admission<S, I, C, R, O> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.place.owner().clone())
    }
}

impl<S, I, C, R, O, Request> Service<Request> for Admission<S, I, C, R, O>
where
    S: Service<Request> + Clone,
    I: CallInfo<Request, S::Response>,
    C: Classify<S::Response, S::Error>,
    R: OnReject<S::Response, S::Error>,
    O: Observe<LimitEvent>,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S, Request, I, C, R, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.place.owner().reject.pass(error))
    }

    // Not inlined: the inner call's future is then written where it is to be, and not moved there.
    #[inline(never)]
    fn call(&mut self, mut request: Request) -> Self::Future {
        let state = &**self.place.owner();
        let priority = state.info.context(&request).map_or(Priority::default(), |context| context.priority());
        if !self.place.has_room() {
            if state.core.gate().try_take(priority.level()).is_none() {
                return self.call_without_room(request, priority.level());
            }
            // For as long as there may be a panic it is this service's, and then its next call's.
            self.place.put_room();
        }
        let start = self.place.owner().info.start(&mut request);
        ResponseFuture::called(self.inner.call(request), self.place.lend_room(), start)
    }
}

impl<S, I, C, R, O> Admission<S, I, C, R, O> {
    #[cold]
    fn call_without_room<Request>(
        &mut self,
        request: Request,
        priority: u8,
    ) -> ResponseFuture<S, Request, I, C, R, O>
    where
        S: Service<Request> + Clone,
        I: CallInfo<Request, S::Response>,
        R: OnReject<S::Response, S::Error>,
        O: Observe<LimitEvent>,
    {
        // The inner service was readied for this call, and will not be called now: what it reserved goes back.
        self.inner = self.inner.clone();
        let (loan, now) = (self.place.owner().lend(), Clock::now());
        let Some((line, most)) = loan.core.line(now) else {
            return ResponseFuture::refused(Refusal::Full, priority, now, loan);
        };
        let deadline = loan.info.context(&request).and_then(|context| context.deadline());
        let Some(patience) = Patience::new(now, most, deadline) else {
            return ResponseFuture::refused(Refusal::Late, priority, now, loan);
        };
        let (inner, owner, until) = (self.inner.clone(), self.place.owner().lend(), patience.until);
        let Ok(entry) = Entry::join(inner, request, owner, priority, line, now, until) else {
            return ResponseFuture::refused(Refusal::Full, priority, now, loan);
        };
        let waiting = loan.core.gate().waiting();
        // A higher priority may have found room at once.
        if waiting > 0 {
            loan.observe.observe(&LimitEvent::Queued { waiting });
        }
        ResponseFuture::waiting(entry, patience, priority)
    }
}

impl<S: fmt::Debug, I, C, R, O> fmt::Debug for Admission<S, I, C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("inner", &self.inner).finish_non_exhaustive()
    }
}
