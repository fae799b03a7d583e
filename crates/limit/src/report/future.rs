//! One call that is in work.

use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use towpath_core::{LoadReport, Response};

pin_project! {
    /// A call of a [`ReportLoad`](super::ReportLoad): its answer, which says how much is in work.
    ///
    /// Cancel safety: a call that is dropped is not in work any more.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        waited: Duration,
        place: Option<Place>,
    }
}

/// Counts a call until it is dropped.
struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, waited: Duration, in_work: Arc<AtomicU32>) -> Self {
        in_work.fetch_add(1, Relaxed);
        ResponseFuture { inner, waited, place: Some(Place(in_work)) }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut outcome = ready!(this.inner.poll(cx));
        // The answer counts itself: it was in work until now.
        let in_flight = this.place.take().map_or(0, |place| place.0.load(Relaxed));
        if let Ok(response) = &mut outcome
            && response.metadata().get(LoadReport::KEY).is_none()
        {
            let report = LoadReport { queue: *this.waited, in_flight };
            // Where there is no room for it, it is left out.
            let _ = response.metadata_mut().insert(LoadReport::KEY, report.to_string());
        }
        Poll::Ready(outcome)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("waited", &self.waited).finish_non_exhaustive()
    }
}
