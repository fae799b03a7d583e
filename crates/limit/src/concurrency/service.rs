//! What the layer makes of the inner service.

use super::{
    ResponseFuture,
    state::{RANK, State},
};
use crate::{
    LimitEvent, Refusal,
    gate::{Entry, Line, Order, Place},
    refuse::Patience,
};
use std::{
    fmt,
    task::{Context, Poll, ready},
    time::Duration,
};
use tower_service::Service;
use towpath_core::{CallInfo, Clock, Observe, OnReject, Shared};

/// A service of whose calls so many are in flight at a time; [`ConcurrencyLimitLayer`](super::ConcurrencyLimitLayer)
/// makes it.
///
/// It is ready when the inner service is, and takes room when it is called; under
/// [backpressure](super::WhenFull::Backpressure) it is ready when it has room and the inner service is ready. A call
/// is in flight until it is answered or dropped. Room that a clone took in `poll_ready` belongs to that clone: it is
/// for its next call, goes back if the clone is dropped, and is not cloned.
///
/// A call that waits has no hold on the inner service: a clone of that one is readied when its turn has come.
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
pub struct ConcurrencyLimit<S, I = (), R = (), O = ()> {
    inner: S,
    info: I,
    /// What this clone holds; and by it the state that all share.
    place: Place<Shared<State<R, O>>>,
}

impl<S, I, R, O> ConcurrencyLimit<S, I, R, O> {
    pub(super) fn new(inner: S, info: I, shared: Shared<State<R, O>>) -> Self {
        ConcurrencyLimit { inner, info, place: Place::new(shared) }
    }
}

/// What `poll_ready` reserved stays with the clone that was readied.
impl<S: Clone, I: Clone, R, O> Clone for ConcurrencyLimit<S, I, R, O> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.info.clone(), self.place.owner().clone())
    }
}

impl<S, I, R, O, Request> Service<Request> for ConcurrencyLimit<S, I, R, O>
where
    S: Service<Request> + Clone,
    I: CallInfo<Request, S::Response>,
    R: OnReject<S::Response, S::Error>,
    O: Observe<LimitEvent>,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S, Request, R, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.place.owner().core.has_backpressure() && !self.place.has_room() || self.place.is_waiting() {
            ready!(self.poll_room(cx));
        }
        self.inner.poll_ready(cx).map_err(|error| {
            self.place.give_back();
            self.place.owner().reject.pass(error)
        })
    }

    // Not inlined: the inner call's future is then written where it is to be, and not moved there.
    #[inline(never)]
    fn call(&mut self, request: Request) -> Self::Future {
        if !self.place.has_room() {
            if self.place.owner().core.gate().try_take(RANK).is_none() {
                return self.call_without_room(request);
            }
            // For as long as there may be a panic it is this service's, and then its next call's.
            self.place.put_room();
        }
        ResponseFuture::called(self.inner.call(request), self.place.lend_room())
    }
}

impl<S, I, R, O> ConcurrencyLimit<S, I, R, O> {
    #[cold]
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()>
    where
        O: Observe<LimitEvent>,
    {
        loop {
            if !self.place.is_waiting() {
                let state = self.place.owner().clone();
                if state.core.gate().try_take(RANK).is_some() {
                    self.place = Place::with_room(state);
                    return Poll::Ready(());
                }
                // There is always room in this queue: whoever is in it holds a clone of the service.
                let line = Line { most: u32::MAX, order: Order::OldestFirst };
                if self.place.join(RANK, line).is_ok() && self.place.poll(cx).is_pending() {
                    let waiting = state.core.gate().waiting();
                    state.observe.observe(&LimitEvent::Queued { waiting });
                    return Poll::Pending;
                }
            }
            // One that was pushed out, by those of a queue that had been here before, tries anew.
            if ready!(self.place.poll(cx)).is_ok() && self.place.has_room() {
                return Poll::Ready(());
            }
        }
    }

    #[cold]
    fn call_without_room<Request>(&mut self, mut request: Request) -> ResponseFuture<S, Request, R, O>
    where
        S: Service<Request> + Clone,
        I: CallInfo<Request, S::Response>,
        R: OnReject<S::Response, S::Error>,
        O: Observe<LimitEvent>,
    {
        // The inner service was readied for this call, and will not be called now: what it reserved goes back.
        self.inner = self.inner.clone();
        let loan = self.place.owner().lend();
        let Some((line, most)) = loan.core.line() else {
            return ResponseFuture::refused(Refusal::Full, Duration::ZERO, loan);
        };
        let now = Clock::now();
        let deadline = self.info.context(&request).and_then(|context| context.deadline());
        let Some(patience) = Patience::new(now, most, deadline) else {
            return ResponseFuture::refused(Refusal::Late, Duration::ZERO, loan);
        };
        // A reading of the clock that was left in the request is old by the time it is passed on.
        if let Some(context) = self.info.context_mut(&mut request) {
            context.set_stamp(None);
        }
        let (owner, until) = (self.place.owner().lend(), patience.until);
        let Ok(entry) = Entry::join(self.inner.clone(), request, owner, RANK, line, now, until) else {
            return ResponseFuture::refused(Refusal::Full, Duration::ZERO, loan);
        };
        loan.observe.observe(&LimitEvent::Queued { waiting: loan.core.gate().waiting() });
        ResponseFuture::waiting(entry, patience)
    }
}

impl<S: fmt::Debug, I, R, O> fmt::Debug for ConcurrencyLimit<S, I, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimit")
            .field("inner", &self.inner)
            .field("has_room", &self.place.has_room())
            .finish_non_exhaustive()
    }
}
