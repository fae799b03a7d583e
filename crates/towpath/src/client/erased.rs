//! Any stack as one type: a call costs one allocation, its future.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;
use towpath_core::{BoxError, Request, Response};

/// The future of a call whose stack is not known any more.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

/// A stack behind a shared reference.
pub(super) trait Erased: Send + Sync {
    /// Nothing happens before the answer is polled.
    fn call(&self, request: Request) -> Answer;
}

/// Forgets the type of a stack.
pub(super) fn erase<S>(stack: S) -> Box<dyn Erased>
where
    S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    Box::new(Stack(stack))
}

struct Stack<S>(S);

impl<S> Erased for Stack<S>
where
    S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    fn call(&self, request: Request) -> Answer {
        // The clone lives in the future: what is readied is what is called, and its permit goes with it.
        let (stack, request) = (self.0.clone(), Some(request));
        Box::pin(Oneshot { state: State::NotReady { stack, request } })
    }
}

pin_project! {
    struct Oneshot<S: Service<Request>> {
        #[pin]
        state: State<S, S::Future>,
    }
}

pin_project! {
    // `NotReady` → `Called`.
    #[project = StateProj]
    enum State<S, F> {
        NotReady { stack: S, request: Option<Request> },
        Called { #[pin] answer: F },
    }
}

impl<S> Future for Oneshot<S>
where
    S: Service<Request, Response = Response>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::NotReady { stack, request } => {
                    ready!(stack.poll_ready(cx)).map_err(Into::into)?;
                    // Taken once: the state changes with it.
                    let Some(request) = request.take() else { return Poll::Pending };
                    let answer = stack.call(request);
                    state.set(State::Called { answer });
                }
                StateProj::Called { answer } => return answer.poll(cx).map_err(Into::into),
            }
        }
    }
}
