//! What is called: a stack of any type around a service that answers at once.

use crate::{Failure, service::METHOD};
use bytes::Bytes;
use std::{
    future::{Future, Ready, poll_fn, ready},
    hint::black_box,
    marker::PhantomData,
    pin::{Pin, pin},
    task::{Context, Poll},
};
use tokio::runtime::Runtime;
use tower_service::Service;
use towpath_core::{BoxError, Request, Response};

/// The baseline, and what all others stand around: answers at once with the body that it was sent. `E` is what a
/// stack wants of the error type; no call fails.
#[derive(Debug)]
pub(super) struct Immediate<E = BoxError>(PhantomData<fn() -> E>);

impl<E> Immediate<E> {
    pub(super) const fn new() -> Self {
        Immediate(PhantomData)
    }
}

impl<E> Clone for Immediate<E> {
    fn clone(&self) -> Self {
        Immediate::new()
    }
}

impl<E> Service<Request> for Immediate<E> {
    type Response = Response;
    type Error = E;
    type Future = Ready<Result<Response, E>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn call(&mut self, mut request: Request) -> Self::Future {
        // Whoever sends it looks at all of it: without this, a request that nobody reads is not even made.
        black_box(&mut request);
        ready(Ok(Response::new(std::mem::take(request.body_mut()))))
    }
}

/// The future of many calls, one after another.
pub(super) type Calls<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// Who calls: its stack is of a concrete type, and nothing is boxed within the loop.
pub(super) trait Caller: Send {
    /// On this thread.
    fn block_on(&mut self, runtime: &Runtime, calls: u64) -> Result<(), Failure>;

    /// In a task.
    fn call(&mut self, calls: u64) -> Calls<'_>;
}

/// The callers of one stack: one, and a second one where the stack can be cloned.
pub(super) type Callers = Vec<Box<dyn Caller>>;

struct Loop<S> {
    service: S,
    body: Bytes,
}

/// Two callers, clones of each other: what a layer shares, they share.
pub(super) fn clones<S>(service: S) -> Callers
where
    S: Service<Request, Response = Response, Error: Into<BoxError> + Send, Future: Send>,
    S: Clone + Send + 'static,
{
    clones_with(service, Bytes::new())
}

/// As [`clones`], and every request has this body.
pub(super) fn clones_with<S>(service: S, body: Bytes) -> Callers
where
    S: Service<Request, Response = Response, Error: Into<BoxError> + Send, Future: Send>,
    S: Clone + Send + 'static,
{
    vec![Box::new(Loop { service: service.clone(), body: body.clone() }), Box::new(Loop { service, body })]
}

/// One caller: of a stack that cannot be cloned.
#[cfg_attr(not(feature = "peers"), allow(dead_code))]
pub(super) fn alone<S>(service: S) -> Callers
where
    S: Service<Request, Response = Response, Error: Into<BoxError> + Send, Future: Send>,
    S: Send + 'static,
{
    vec![Box::new(Loop { service, body: Bytes::new() })]
}

impl<S> Loop<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>>,
{
    async fn run(&mut self, calls: u64) -> Result<(), Failure> {
        for _ in 0..calls {
            poll_fn(|cx| self.service.poll_ready(cx)).await.map_err(Into::into)?;
            let request = Request::new(METHOD, self.body.clone());
            // Where it is made: to await it would move it, as a whole.
            let mut call = pin!(self.service.call(request));
            let response = poll_fn(|cx| call.as_mut().poll(cx)).await.map_err(Into::into)?;
            black_box(&response);
        }
        Ok(())
    }
}

impl<S> Caller for Loop<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError> + Send, Future: Send> + Send,
{
    fn block_on(&mut self, runtime: &Runtime, calls: u64) -> Result<(), Failure> {
        runtime.block_on(self.run(calls))
    }

    fn call(&mut self, calls: u64) -> Calls<'_> {
        Box::pin(self.run(calls))
    }
}
