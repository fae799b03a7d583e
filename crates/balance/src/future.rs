//! One call through a balancer.

use crate::{
    pick::Pick,
    ticket::Ticket,
    wait::{Outcome, Wait},
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;
use towpath_core::{CallInfo, Classify, Clock, OnReject};

pin_project! {
    /// A call of a [`Balance`](crate::Balance): its answer, or what stands for it when there was no endpoint.
    ///
    /// # Cancel safety
    /// Dropping it drops the call that is under way, or the stacks that it waits for, and ends its count at the
    /// endpoint. One that was dropped before it was answered is taken to have lasted longer than that.
    ///
    /// # Panics
    /// If it has to wait for an endpoint outside a tokio runtime with a timer.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, P, C, I, R>
    where
        S: Service<Req>,
        P: Pick,
    {
        #[pin]
        state: State<S::Future>,
        // Where it was called.
        ticket: Option<Ticket<S, P, C, I, R>>,
        // A box: most calls do not wait, and their futures stay small.
        wait: Option<Box<Wait<S, Req, P, C, I, R>>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // No endpoint was ready.
        Waiting,
        // The stack of an endpoint was called.
        Called { #[pin] future: F },
        // It was answered.
        Over,
    }
}

impl<S, Req, P, C, I, R> ResponseFuture<S, Req, P, C, I, R>
where
    S: Service<Req>,
    P: Pick,
{
    #[inline]
    pub(crate) fn called(future: S::Future, ticket: Ticket<S, P, C, I, R>) -> Self {
        ResponseFuture { state: State::Called { future }, ticket: Some(ticket), wait: None }
    }

    #[cold]
    pub(crate) fn waiting(wait: Wait<S, Req, P, C, I, R>) -> Self {
        ResponseFuture { state: State::Waiting, ticket: None, wait: Some(Box::new(wait)) }
    }
}

impl<S, Req, P, C, I, R> Future for ResponseFuture<S, Req, P, C, I, R>
where
    S: Service<Req> + Clone,
    P: Pick,
    C: Classify<S::Response, S::Error>,
    I: CallInfo<Req, S::Response>,
    R: OnReject<S::Response, S::Error>,
{
    type Output = Result<S::Response, R::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Called -> Over
                StateProj::Called { future } => {
                    let Poll::Ready(outcome) = future.poll(cx) else {
                        if let Some(ticket) = this.ticket {
                            ticket.waits = true;
                        }
                        return Poll::Pending;
                    };
                    this.state.set(State::Over);
                    let Some(ticket) = this.ticket.take() else { return Poll::Pending };
                    let (start, waited) = (ticket.start, ticket.waits);
                    // What is answered at the first poll took no time.
                    return Poll::Ready(match outcome {
                        Ok(mut response) => {
                            let common = &*ticket.common;
                            let end = if waited { common.info.end(&mut response) } else { start };
                            let class = common.classify.classify(Ok(&response));
                            let report = common.info.load_report(&response);
                            ticket.finish(&class, end, report);
                            Ok(response)
                        }
                        Err(error) => {
                            let end = if waited { Clock::now() } else { start };
                            let class = ticket.common.classify.classify(Err(&error));
                            let error = ticket.common.reject.pass(error);
                            ticket.finish(&class, end, None);
                            Err(error)
                        }
                    });
                }
                // Waiting -> Called, when a stack is ready; Over, when there is none in time
                StateProj::Waiting => {
                    let Some(wait) = this.wait else { return Poll::Pending };
                    let outcome = ready!(wait.poll(cx));
                    let Some(wait) = this.wait.take() else { return Poll::Pending };
                    let reject = &wait.common().reject;
                    let answer = match outcome {
                        Outcome::Go { mut stack, request, ticket } => {
                            // Other stacks are not waited for any more.
                            drop(wait);
                            let future = stack.call(request);
                            *this.ticket = Some(ticket);
                            this.state.set(State::Called { future });
                            continue;
                        }
                        Outcome::Refused(error) => reject.reject(error),
                        Outcome::Failed(error) => Err(reject.pass(error)),
                    };
                    this.state.set(State::Over);
                    return Poll::Ready(answer);
                }
                StateProj::Over => return Poll::Pending,
            }
        }
    }
}

impl<S, Req, P, C, I, R> fmt::Debug for ResponseFuture<S, Req, P, C, I, R>
where
    S: Service<Req>,
    P: Pick,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Waiting => "waiting",
            State::Called { .. } => "called",
            State::Over => "over",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
