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
use towpath_core::{CallInfo, Class, Classify, Clock, OnReject};

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
        state: State<S, Req, S::Future, P, C, I, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, F, P, C, I, R>
    where
        S: Service<Req>,
        P: Pick,
    {
        // No endpoint was ready. A box: most calls do not wait, and their futures stay small.
        Waiting { wait: Box<Wait<S, Req, P, C, I, R>> },
        // The stack of an endpoint was called. There always is a ticket.
        Called { #[pin] future: F, ticket: Option<Ticket<S, P, C, I, R>> },
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
    pub(crate) fn called(future: S::Future, ticket: Option<Ticket<S, P, C, I, R>>) -> Self {
        ResponseFuture { state: State::Called { future, ticket } }
    }

    #[cold]
    pub(crate) fn waiting(wait: Wait<S, Req, P, C, I, R>) -> Self {
        ResponseFuture { state: State::Waiting { wait: Box::new(wait) } }
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
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                // Called -> Over: the inner call is dropped, then it is counted no more.
                StateProj::Called { future, ticket } => {
                    let polled = future.poll(cx);
                    let Some(ticket) = ticket else { return Poll::Pending };
                    let Poll::Ready(outcome) = polled else {
                        ticket.waits = true;
                        return Poll::Pending;
                    };
                    let outcome = ended(outcome, ticket);
                    state.set(State::Over);
                    return Poll::Ready(outcome);
                }
                // Waiting -> Called, when a stack is ready; Over, when there is none in time
                StateProj::Waiting { wait } => {
                    let outcome = match ready!(wait.poll(cx)) {
                        Outcome::Go { mut stack, request, ticket } => {
                            // Other stacks are not waited for any more.
                            state.set(State::Over);
                            let future = stack.call(request);
                            state.set(State::Called { future, ticket: Some(ticket) });
                            continue;
                        }
                        Outcome::Refused(error) => wait.common().reject.reject(error),
                        Outcome::Failed(error) => Err(wait.common().reject.pass(error)),
                    };
                    state.set(State::Over);
                    return Poll::Ready(outcome);
                }
                StateProj::Over => return Poll::Pending,
            }
        }
    }
}

/// What an outcome says of the endpoint.
#[inline]
fn ended<S, Req, P, C, I, R>(
    outcome: Result<S::Response, S::Error>,
    ticket: &mut Ticket<S, P, C, I, R>,
) -> Result<S::Response, R::Error>
where
    S: Service<Req>,
    P: Pick,
    C: Classify<S::Response, S::Error>,
    I: CallInfo<Req, S::Response>,
    R: OnReject<S::Response, S::Error>,
{
    // What is answered at the first poll took no time.
    let waited = std::mem::take(&mut ticket.waits);
    let (common, start) = (&*ticket.common, ticket.start);
    match outcome {
        Ok(mut response) => {
            let end = if waited { common.fleet.bell.nanos(common.info.end(&mut response)) } else { start };
            let class = common.classify.unless_success(Ok(&response));
            ticket.ended(class.as_ref().unwrap_or(&Class::SUCCESS), end);
            if let Some(report) = common.info.load_report(&response) {
                ticket.reported(report, end);
            }
            Ok(response)
        }
        Err(error) => {
            let end = if waited { common.fleet.bell.nanos(Clock::now()) } else { start };
            ticket.ended(&common.classify.classify(Err(&error)), end);
            Err(common.reject.pass(error))
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
            State::Waiting { .. } => "waiting",
            State::Called { .. } => "called",
            State::Over => "over",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
