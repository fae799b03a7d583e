//! Bodies of `http` that have to end in time.

use crate::{Reach, Rest, TimedOut, WholeCall};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    task::coop::{Unconstrained, unconstrained},
    time::{Sleep, sleep_until},
};
use towpath_core::{BoxError, Observe};

impl<B: Body, O> Reach<http::Response<B>, O> for WholeCall {
    type Response = http::Response<TimedBody<B, O>>;

    fn answered(
        &self,
        response: http::Response<B>,
        rest: impl FnOnce() -> Option<Rest<O>>,
    ) -> Self::Response {
        response.map(|body| {
            let rest = if body.is_end_stream() { None } else { rest() };
            TimedBody { body: Some(body), timer: None, rest }
        })
    }
}

pin_project! {
    /// A body whose last byte has to be there by the call's deadline.
    ///
    /// When time is up, the inner body is dropped (its connection learns that nobody reads any more), and the
    /// next frame is an error: [`ErrorKind::DeadlineExceeded`](towpath_core::ErrorKind::DeadlineExceeded).
    /// The time for which the reader does not poll counts, too. A body that is there in one piece costs no
    /// timer.
    ///
    /// # Panics
    /// If it has to wait outside a tokio runtime with a timer.
    pub struct TimedBody<B, O = ()> {
        // Gone when time is up.
        #[pin]
        body: Option<B>,
        // Boxed: answers are moved about, and most never have one.
        timer: Option<Pin<Box<Unconstrained<Sleep>>>>,
        // `None` where there is no limit, or no more.
        rest: Option<Rest<O>>,
    }
}

impl<B, O> Body for TimedBody<B, O>
where
    B: Body,
    B::Error: Into<BoxError>,
    O: Observe<TimedOut>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(rest) = &*this.rest else {
            // Nothing to keep; or time was up, and nothing more to come.
            let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
            return body.poll_frame(cx).map_err(Into::into);
        };
        // From the second frame on, also where frames come without a wait.
        let mut over = this.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if !over {
            let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            let polled = body.poll_frame(cx).map_err(Into::into);
            let ended = match &polled {
                Poll::Ready(Some(Ok(_))) => {
                    this.body.as_ref().as_pin_ref().is_none_or(|body| body.is_end_stream())
                }
                Poll::Ready(_) => true,
                Poll::Pending => false,
            };
            if ended {
                *this.rest = None;
                *this.timer = None;
                return polled;
            }
            let armed = this.timer.is_some();
            let timer = this.timer.get_or_insert_with(|| Box::pin(unconstrained(sleep_until(rest.deadline))));
            match polled {
                Poll::Pending if armed => return Poll::Pending,
                Poll::Pending => over = timer.as_mut().poll(cx).is_ready(),
                ready => return ready,
            }
        }
        if !over {
            return Poll::Pending;
        }
        rest.observe.observe(&rest.event);
        let error = rest.event.error();
        this.body.set(None);
        *this.rest = None;
        *this.timer = None;
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::new, Body::size_hint)
    }
}

impl<B: fmt::Debug, O> fmt::Debug for TimedBody<B, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadline = self.rest.as_ref().map(|rest| rest.deadline);
        f.debug_struct("TimedBody").field("body", &self.body).field("deadline", &deadline).finish()
    }
}
