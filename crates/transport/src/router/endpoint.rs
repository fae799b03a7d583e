//! What stands behind a name.

use super::{
    future::{Answered, Oneshot, ResponseFuture},
    handler::Handler,
    listing::About,
    reject,
    reply::ReplyTo,
};
use std::{marker::PhantomData, sync::Arc};
use tower_service::Service;
use towpath_core::{BoxError, Request, Response};

/// Something that answers calls, given the state.
pub(super) trait Endpoint<S>: Send + Sync {
    fn call(&self, request: Request, state: &S) -> ResponseFuture;

    /// What is known of it.
    fn about(&self) -> About {
        About::default()
    }
}

/// Shared by all clones of a router.
pub(super) type BoxEndpoint<S> = Arc<dyn Endpoint<S>>;

/// A handler.
pub(super) struct Handled<H, T> {
    handler: H,
    args: PhantomData<fn() -> T>,
}

impl<H, T> Handled<H, T> {
    pub(super) fn new(handler: H) -> Self {
        Handled { handler, args: PhantomData }
    }
}

impl<S, T, H: Handler<T, S>> Endpoint<S> for Handled<H, T> {
    fn call(&self, request: Request, state: &S) -> ResponseFuture {
        match self.handler.call(request, state) {
            Ok(future) => ResponseFuture::running(Answered { future }),
            Err(response) => ResponseFuture::refused(response),
        }
    }

    fn about(&self) -> About {
        H::ABOUT
    }
}

/// A service: each call readies a clone of its own.
pub(super) struct Served<T>(pub(super) T);

impl<S, T> Endpoint<S> for Served<T>
where
    T: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send + 'static,
{
    fn call(&self, request: Request, _: &S) -> ResponseFuture {
        ResponseFuture::running(Oneshot::new(self.0.clone(), request))
    }
}

/// An endpoint that has got its state.
pub(super) struct Stated<S> {
    pub(super) inner: BoxEndpoint<S>,
    pub(super) state: Arc<S>,
}

impl<S: Send + Sync, Any> Endpoint<Any> for Stated<S> {
    fn call(&self, request: Request, _: &Any) -> ResponseFuture {
        self.inner.call(request, &self.state)
    }

    fn about(&self) -> About {
        self.inner.about()
    }
}

/// A name that two wanted: neither has it.
pub(super) struct Contested;

impl<S> Endpoint<S> for Contested {
    fn call(&self, request: Request, _: &S) -> ResponseFuture {
        let fault = reject::misconfigured(request.method(), "it is registered twice");
        ResponseFuture::refused(ReplyTo::new(&request).fault(fault))
    }
}
