//! Functions as handlers.

use super::{
    extract::{FromParts, FromRequest},
    future::HandlerFuture,
    listing::About,
    reply::{IntoResponse, ReplyTo},
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use towpath_core::{Acceptance, Request, Response};

/// An `async fn` (or a closure that returns a future) of up to six arguments, each a
/// [`FromParts`], the last one a [`FromRequest`]; its result is an [`IntoResponse`].
///
/// Arguments are read from left to right, the body last. When all are there, the call is accepted (an
/// asynchronous caller hears of it then), and the handler runs.
///
/// `T` is the list of arguments; it is found by the compiler, and need never be named.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler for a router with the state `{S}`",
    note = "a handler is an `async fn` of up to six arguments: all implement `FromParts<{S}>`, the last one \
            may be `FromRequest<{S}>`; its result is an `IntoResponse`, and its future is `Send`"
)]
pub trait Handler<T, S>: Sized + Send + Sync + 'static {
    /// The handler at work.
    type Future: Future<Output = Response> + Send + 'static;

    /// What a server says of it.
    const ABOUT: About = About::new(None);

    /// Reads the arguments, accepts the call, and calls.
    ///
    /// # Errors
    /// The answer to a call whose arguments could not be read; the handler was not called.
    fn call(&self, request: Request, state: &S) -> Result<Self::Future, Response>;

    /// Has each call moved to a task of its own before it begins, its body decoded there: for a handler
    /// that computes, and would otherwise hold up its connection during its first poll.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use towpath_transport::router::{Handler, Router};
    ///
    /// async fn resize(image: Bytes) -> Bytes {
    ///     image
    /// }
    ///
    /// let router: Router = Router::new().route("Image.Resize", resize.spawned());
    /// # assert_eq!(router.methods(), ["Image.Resize"]);
    /// ```
    fn spawned(self) -> Spawned<Self, T, S> {
        Spawned { handler: Arc::new(self), args: PhantomData }
    }

    /// Says that calling it twice does no harm. A server [lists](super::METHODS) it as idempotent; nothing
    /// else changes.
    fn idempotent(self) -> Idempotent<Self, T, S> {
        Idempotent { handler: self, args: PhantomData }
    }
}

impl<F, Fut, S> Handler<(), S> for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoResponse> + Send + 'static,
{
    type Future = HandlerFuture<Fut>;

    fn call(&self, request: Request, _: &S) -> Result<Self::Future, Response> {
        let to = ReplyTo::new(&request);
        request.accept();
        Ok(HandlerFuture::new(to, self()))
    }
}

macro_rules! handlers {
    ($([$($part:ident)*] $last:ident;)*) => {$(
        #[allow(non_snake_case)]
        impl<F, Fut, S, M, $($part,)* $last> Handler<(M, $($part,)* $last,), S> for F
        where
            F: Fn($($part,)* $last) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoResponse> + Send + 'static,
            $($part: FromParts<S>,)*
            $last: FromRequest<S, M>,
        {
            type Future = HandlerFuture<Fut>;

            const ABOUT: About = About::new($last::CODECS);

            fn call(&self, request: Request, state: &S) -> Result<Self::Future, Response> {
                let to = ReplyTo::new(&request);
                $(
                    let $part = match $part::from_parts(&request, state) {
                        Ok(part) => part,
                        Err(fault) => return Err(to.fault(fault)),
                    };
                )*
                // The last argument takes the request, and with it what accepts it.
                let acceptance = request.extensions().get::<Acceptance>().cloned();
                let $last = match $last::from_request(request, state) {
                    Ok(last) => last,
                    Err(fault) => return Err(to.fault(fault)),
                };
                if let Some(acceptance) = acceptance {
                    acceptance.accept();
                }
                Ok(HandlerFuture::new(to, self($($part,)* $last)))
            }
        }
    )*};
}

handlers! {
    [] A;
    [A] B;
    [A B] C;
    [A B C] D;
    [A B C D] E;
    [A B C D E] G;
}

/// A handler whose calls each get a task of their own: see [`Handler::spawned`].
pub struct Spawned<H, T, S> {
    handler: Arc<H>,
    args: PhantomData<fn() -> (T, S)>,
}

impl<H, T, S> Handler<T, S> for Spawned<H, T, S>
where
    T: 'static,
    S: Clone + Send + Sync + 'static,
    H: Handler<T, S>,
{
    type Future = SpawnedFuture<H, T, S>;

    const ABOUT: About = About { spawned: true, ..H::ABOUT };

    fn call(&self, request: Request, state: &S) -> Result<Self::Future, Response> {
        let call = Waiting { handler: self.handler.clone(), request, state: state.clone() };
        Ok(SpawnedFuture { state: State::Waiting { call: Some(call), moved: false } })
    }
}

struct Waiting<H, S> {
    handler: Arc<H>,
    request: Request,
    state: S,
}

pin_project! {
    /// A call that begins at its second poll.
    #[must_use = "futures do nothing unless polled"]
    pub struct SpawnedFuture<H: Handler<T, S>, T, S> {
        #[pin]
        state: State<H, T, S>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<H: Handler<T, S>, T, S> {
        /// The first poll is pending, and leads to the second; the second begins the call: Running.
        Waiting { call: Option<Waiting<H, S>>, moved: bool },
        /// Ends with the handler.
        Running { #[pin] future: H::Future },
    }
}

impl<H: Handler<T, S>, T, S> Future for SpawnedFuture<H, T, S> {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let mut state = self.project().state;
        loop {
            let future = match state.as_mut().project() {
                StateProj::Running { future } => return future.poll(cx),
                StateProj::Waiting { moved: moved @ false, .. } => {
                    *moved = true;
                    // Whoever does not move it to a task polls it again in place.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                StateProj::Waiting { call, .. } => match call.take() {
                    Some(Waiting { handler, request, state }) => match handler.call(request, &state) {
                        Ok(future) => future,
                        Err(refusal) => return Poll::Ready(refusal),
                    },
                    // Refused before, and polled again after the end.
                    None => return Poll::Pending,
                },
            };
            state.set(State::Running { future });
        }
    }
}

/// A handler that may be called twice: see [`Handler::idempotent`].
pub struct Idempotent<H, T, S> {
    handler: H,
    args: PhantomData<fn() -> (T, S)>,
}

impl<H: Handler<T, S>, T: 'static, S: 'static> Handler<T, S> for Idempotent<H, T, S> {
    type Future = H::Future;

    const ABOUT: About = About { idempotent: true, ..H::ABOUT };

    #[inline]
    fn call(&self, request: Request, state: &S) -> Result<Self::Future, Response> {
        self.handler.call(request, state)
    }
}

impl<H: Clone, T, S> Clone for Idempotent<H, T, S> {
    fn clone(&self) -> Self {
        Idempotent { handler: self.handler.clone(), args: PhantomData }
    }
}

impl<H, T, S> fmt::Debug for Idempotent<H, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Idempotent")
    }
}

impl<H, T, S> Clone for Spawned<H, T, S> {
    fn clone(&self) -> Self {
        Spawned { handler: self.handler.clone(), args: PhantomData }
    }
}

impl<H, T, S> fmt::Debug for Spawned<H, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawned")
    }
}

impl<H: Handler<T, S>, T, S> fmt::Debug for SpawnedFuture<H, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpawnedFuture")
    }
}
