//! The router's future.

use super::reply::{IntoResponse, ReplyTo};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;
use towpath_core::{BoxError, Request, Response};

type Boxed = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

/// The answer of a [`Router`](super::Router).
///
/// A call that is refused (unknown method, codec, body) is answered without an allocation for the future;
/// a handler's future is boxed, once. Dropping it drops the handler where it stands.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(State);

enum State {
    /// Refused: the answer is there at once.
    Refused(Option<Response>),
    /// A handler or a service is at work.
    Running(Boxed),
}

impl ResponseFuture {
    pub(super) fn refused(response: Response) -> Self {
        ResponseFuture(State::Refused(Some(response)))
    }

    pub(super) fn running(future: impl Future<Output = Result<Response, BoxError>> + Send + 'static) -> Self {
        ResponseFuture(State::Running(Box::pin(future)))
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Running(future) => future.as_mut().poll(cx),
            // Polled again after the end, which the contract of futures leaves open.
            State::Refused(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => Poll::Pending,
            },
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

pin_project! {
    /// A handler at work; its result becomes the answer.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct HandlerFuture<F> {
        to: ReplyTo,
        #[pin]
        future: F,
    }
}

impl<F> HandlerFuture<F> {
    pub(super) fn new(to: ReplyTo, future: F) -> Self {
        HandlerFuture { to, future }
    }
}

impl<F> Future for HandlerFuture<F>
where
    F: Future,
    F::Output: IntoResponse,
{
    type Output = Response;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        Poll::Ready(result.into_response(this.to))
    }
}

pin_project! {
    /// A handler as a service sees it: it answers always.
    pub(super) struct Answered<F> {
        #[pin]
        pub(super) future: F,
    }
}

impl<F: Future<Output = Response>> Future for Answered<F> {
    type Output = Result<Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(Ok)
    }
}

pin_project! {
    /// Readies a clone of a service and calls that clone.
    #[project = OneshotProj]
    pub(super) enum Oneshot<T: Service<Request>> {
        /// Waits for room; the request leaves with the call.
        Readying { service: T, request: Option<Request> },
        /// Called.
        Called { #[pin] future: T::Future },
    }
}

impl<T: Service<Request>> Oneshot<T> {
    pub(super) fn new(service: T, request: Request) -> Self {
        Oneshot::Readying { service, request: Some(request) }
    }
}

impl<T> Future for Oneshot<T>
where
    T: Service<Request, Response = Response>,
    T::Error: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                OneshotProj::Called { future } => return future.poll(cx).map_err(Into::into),
                OneshotProj::Readying { service, request } => {
                    if let Err(error) = ready!(service.poll_ready(cx)) {
                        return Poll::Ready(Err(error.into()));
                    }
                    match request.take() {
                        Some(request) => service.call(request),
                        None => return Poll::Pending,
                    }
                }
            };
            self.set(Oneshot::Called { future });
        }
    }
}
