//! Answers in another order than the calls.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Sleep, sleep};
use tower_layer::Layer;
use tower_service::Service;

/// Holds answers back so that they come in reverse: of every `window` calls the last one answers first.
///
/// Of a window of 3, the answer to the first call is held back for two steps, the second for one, the third
/// not at all; it works on paused time, and never holds an answer for good. What takes longer than a step
/// by itself is not brought into order. An error is an answer.
///
/// ```
/// use std::time::Duration;
/// use towpath_testing::ReorderLayer;
/// use tower::{Service, ServiceBuilder, service_fn};
///
/// # towpath_testing::time::paused(async {
/// let echo = service_fn(|n: u32| async move { Ok::<_, std::convert::Infallible>(n) });
/// let mut service = ServiceBuilder::new().layer(ReorderLayer::new(2, Duration::from_millis(10))).service(echo);
/// let (first, second) = (service.call(1), service.call(2));
/// tokio::select! {
///     n = first => panic!("{n:?} came first"),
///     n = second => assert_eq!(n, Ok(2)),
/// }
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct ReorderLayer {
    window: u32,
    step: Duration,
    calls: Arc<AtomicU32>,
}

impl ReorderLayer {
    /// Reverses every `window` answers (at least 1), `step` apart.
    pub fn new(window: u32, step: Duration) -> Self {
        ReorderLayer { window: window.max(1), step, calls: Arc::default() }
    }
}

impl<S> Layer<S> for ReorderLayer {
    type Service = Reorder<S>;

    fn layer(&self, inner: S) -> Reorder<S> {
        Reorder { inner, layer: self.clone() }
    }
}

/// A service whose answers come in another order; [`ReorderLayer`] makes it. Clones count together.
#[derive(Clone, Debug)]
pub struct Reorder<S> {
    inner: S,
    layer: ReorderLayer,
}

impl<S: Service<Request>, Request> Service<Request> for Reorder<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = ReorderFuture<S::Future, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let ReorderLayer { window, step, calls } = &self.layer;
        let behind = window - 1 - calls.fetch_add(1, Relaxed) % window;
        let hold = *step * behind;
        ReorderFuture { future: self.inner.call(request), hold, held: None, answer: None }
    }
}

pin_project! {
    /// A call of a [`Reorder`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ReorderFuture<F, A> {
        #[pin]
        future: F,
        hold: Duration,
        #[pin]
        held: Option<Sleep>,
        answer: Option<A>,
    }
}

impl<F: Future<Output = A>, A> Future for ReorderFuture<F, A> {
    type Output = A;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A> {
        let mut this = self.project();
        // Asking -> held, with an answer that is not the last of its window -> over
        if this.held.is_none() {
            let answer = ready!(this.future.poll(cx));
            if this.hold.is_zero() {
                return Poll::Ready(answer);
            }
            *this.answer = Some(answer);
            this.held.set(Some(sleep(*this.hold)));
        }
        if let Some(held) = this.held.as_mut().as_pin_mut() {
            ready!(held.poll(cx));
        }
        this.answer.take().map_or(Poll::Pending, Poll::Ready)
    }
}
