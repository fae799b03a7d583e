//! One call in work: polled once inline, moved to a task of its own if it is pending.

use super::{shared::Shared, unpack::Unpacking};
use pin_project_lite::pin_project;
use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_service::Service;
use towpath_core::{BoxError, Error, ErrorKind, Request, Response, context::InContext};

pin_project! {
    /// `Unready` → `Running`; a service that is ready at once begins with `Running`, and a call whose body is
    /// compressed with `Packed`.
    #[project = CallProj]
    pub(crate) enum CallFuture<S: Service<Request>> {
        Packed { service: Option<S>, unpacking: Unpacking },
        Unready { service: S, request: Option<Request> },
        Running { #[pin] future: S::Future },
    }
}

impl<S> Future for CallFuture<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>>,
{
    type Output = Result<Response, BoxError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project() {
                CallProj::Packed { service, unpacking } => {
                    let request = ready!(unpacking.poll(cx))?;
                    let Some(service) = service.take() else { return Poll::Pending };
                    self.set(CallFuture::Unready { service, request: Some(request) });
                }
                CallProj::Unready { service, request } => {
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let Some(request) = request.take() else { return Poll::Pending };
                    let future = service.call(request);
                    self.set(CallFuture::Running { future });
                }
                CallProj::Running { future } => return future.poll(cx).map_err(Into::into),
            }
        }
    }
}

/// A place for one call's future that can be used again: calls that are done at once allocate nothing.
pub(crate) struct Place<S: Service<Request>>(Pin<Box<Option<CallFuture<S>>>>);

impl<S: Service<Request>> Place<S> {
    pub(crate) fn new() -> Self {
        Place(Box::pin(None))
    }

    #[inline]
    pub(crate) fn set(&mut self, call: CallFuture<S>) {
        self.0.as_mut().set(Some(call));
    }

    /// A poll of a call that is running. Its error is left as it is: to make another of it would copy the
    /// answer.
    #[inline]
    pub(crate) fn poll_running(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response, S::Error>>
    where
        S: Service<Request, Response = Response>,
    {
        match self.0.as_mut().as_pin_mut().map(CallFuture::project) {
            Some(CallProj::Running { future }) => future.poll(cx),
            _ => Poll::Pending,
        }
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.0.as_mut().set(None);
    }
}

impl<S> Future for Place<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>>,
{
    type Output = Result<Response, BoxError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.as_mut().as_pin_mut() {
            Some(call) => call.poll(cx),
            None => Poll::Pending,
        }
    }
}

/// A call on a task of its own.
pub(crate) struct Aside<S: Service<Request>> {
    call: InContext<Place<S>>,
    shared: Arc<Shared>,
    id: u64,
}

impl<S: Service<Request>> Aside<S> {
    pub(crate) fn new(call: InContext<Place<S>>, shared: Arc<Shared>, id: u64) -> Self {
        Aside { call, shared, id }
    }
}

impl<S> Future for Aside<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // The place is a box: nothing in here is pinned to where this stands.
        let this = self.get_mut();
        let call = Pin::new(&mut this.call);
        let result = match catch_unwind(AssertUnwindSafe(|| call.poll(cx))) {
            Ok(polled) => ready!(polled),
            Err(panic) => Err(panicked(&*panic)),
        };
        this.shared.finish(this.id, result);
        Poll::Ready(())
    }
}

/// What the caller hears of a panic: that there was one. What it said is for the log.
#[cold]
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> BoxError {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "(no text)",
    };
    tracing::error!(panic = text, "a handler panicked; its caller gets MCP-E-009");
    Error::new(ErrorKind::HandlerFailed).because("the handler panicked").into()
}
