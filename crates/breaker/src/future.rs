//! One call through a breaker.

use crate::ticket::Ticket;
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{CallInfo, Class, Classify, Clock, Error, OnReject};

pin_project! {
    /// A call of a [`Breaker`](crate::Breaker): its answer, or what stands for it when it was turned away.
    ///
    /// # Cancel safety
    /// Dropped before the answer is there, it counts as nothing, and a probe gives its place to another call.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, K, C, I, R>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S::Future>,
        ticket: Option<Ticket<K, C, I, R>>,
        start: Instant,
        polled: bool,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // The inner service was called.
        Called { #[pin] future: F },
        // It was not.
        TurnedAway { error: Option<Error> },
    }
}

impl<S, Req, K, C, I, R> ResponseFuture<S, Req, K, C, I, R>
where
    S: Service<Req>,
{
    #[inline]
    pub(crate) fn called(future: S::Future, ticket: Ticket<K, C, I, R>, start: Instant) -> Self {
        ResponseFuture { state: State::Called { future }, ticket: Some(ticket), start, polled: false }
    }

    #[cold]
    pub(crate) fn turned_away(error: Error, ticket: Ticket<K, C, I, R>, start: Instant) -> Self {
        let state = State::TurnedAway { error: Some(error) };
        ResponseFuture { state, ticket: Some(ticket), start, polled: false }
    }
}

impl<S, Req, K, C, I, R> Future for ResponseFuture<S, Req, K, C, I, R>
where
    S: Service<Req>,
    C: Classify<S::Response, S::Error>,
    I: CallInfo<Req, S::Response>,
    R: OnReject<S::Response, S::Error>,
{
    type Output = Result<S::Response, R::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.state.project() {
            StateProj::Called { future } => {
                let Poll::Ready(outcome) = future.poll(cx) else {
                    *this.polled = true;
                    return Poll::Pending;
                };
                // What is answered at the first poll took no time.
                let (start, waited) = (*this.start, *this.polled);
                let Some(ticket) = &this.ticket else { return Poll::Pending };
                let class = ticket.common.classify.unless_success(outcome.as_ref());
                if !waited && class.is_none() && ticket.finish_at_once() {
                    let reject = &ticket.common.reject;
                    let outcome = outcome.map_err(|error| reject.pass(error));
                    // It has ended: there is nothing to be given back.
                    *this.ticket = None;
                    return Poll::Ready(outcome);
                }
                let Some(ticket) = this.ticket.take() else { return Poll::Pending };
                let class = class.as_ref().unwrap_or(&Class::SUCCESS);
                match outcome {
                    Ok(mut response) => {
                        let end = if waited { ticket.common.info.end(&mut response) } else { start };
                        ticket.finish(class, start, end);
                        Poll::Ready(Ok(response))
                    }
                    Err(error) => {
                        let end = if waited { Clock::now() } else { start };
                        let error = ticket.common.reject.pass(error);
                        ticket.finish(class, start, end);
                        Poll::Ready(Err(error))
                    }
                }
            }
            StateProj::TurnedAway { error } => match (error.take(), this.ticket.take()) {
                (Some(error), Some(ticket)) => Poll::Ready(ticket.common.reject.reject(error)),
                _ => Poll::Pending,
            },
        }
    }
}

impl<S, Req, K, C, I, R> fmt::Debug for ResponseFuture<S, Req, K, C, I, R>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("start", &self.start).finish_non_exhaustive()
    }
}
