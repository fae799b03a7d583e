//! One call with all its attempts.

use crate::{
    attempt::{Meta, Outcome},
    hooks::Fit,
    judge::{Judgement, Kept, class_of, judge},
    rest::{Rest, timed_out},
    service::State,
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    task::coop::{Unconstrained, unconstrained},
    time::{Instant, Sleep, sleep_until},
};
use tower_service::Service;
use towpath_core::{EndpointId, Loan, Processed, context};

pin_project! {
    /// A call of a [`Retry`](crate::Retry): the answer to one of its attempts, or how the last one failed.
    ///
    /// Dropping it drops all attempts that are under way.
    ///
    /// # Panics
    /// If it has to wait outside a tokio runtime with a timer.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, H>
    where
        S: Service<Req>,
    {
        #[pin]
        first: First<S::Future>,
        shared: Loan<State<S, H>>,
        kept: Kept<Req>,
        meta: Meta,
        hedge_after: Option<Duration>,
        // For the first attempt, if answers are to be measured.
        percentile: Option<f64>,
        polled: bool,
        timer: Option<Timer>,
        // Made when the first attempt has failed, or its time or that of a hedge has come.
        rest: Option<Box<Rest<S, Req>>>,
    }
}

pin_project! {
    /// The first attempt, within the future itself: most calls have no other.
    #[project = FirstProj]
    pub(crate) enum First<F> {
        // The deadline had passed when the call came.
        Late,
        // The inner service was called.
        Called { #[pin] future: F },
        // It has ended.
        Over,
    }
}

/// Made only when something waits.
struct Timer {
    at: Instant,
    // The budget of tokio's tasks does not apply to it: an inner future that uses all of the budget in every poll
    // would otherwise keep its own timeout from being seen.
    sleep: Pin<Box<Unconstrained<Sleep>>>,
}

impl Timer {
    /// Ready when it is `at`.
    fn poll(timer: &mut Option<Timer>, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = match timer {
            Some(timer) if timer.at == at => timer,
            _ => timer.insert(Timer { at, sleep: Box::pin(unconstrained(sleep_until(at))) }),
        };
        timer.sleep.as_mut().poll(cx)
    }
}

impl<S, Req, H> ResponseFuture<S, Req, H>
where
    S: Service<Req>,
{
    #[inline]
    pub(crate) fn new(
        first: First<S::Future>,
        shared: Loan<State<S, H>>,
        kept: Kept<Req>,
        start: Instant,
    ) -> Self {
        let meta = Meta { number: 0, hedge: false, start, limit: None, endpoint: None };
        ResponseFuture {
            first,
            shared,
            kept,
            meta,
            hedge_after: None,
            percentile: None,
            polled: false,
            timer: None,
            rest: None,
        }
    }

    /// When the first attempt is given up, when it gets company, where it goes, and whether it is measured.
    #[inline]
    pub(crate) fn first_attempt(
        &mut self,
        limit: Option<Instant>,
        hedge_after: Option<Duration>,
        endpoint: Option<EndpointId>,
        percentile: Option<f64>,
    ) {
        (self.meta.limit, self.meta.endpoint) = (limit, endpoint);
        (self.hedge_after, self.percentile) = (hedge_after, percentile);
    }
}

impl<S, Req, H> Future for ResponseFuture<S, Req, H>
where
    S: Service<Req> + Clone,
    H: Fit<Req, S::Response, S::Error>,
{
    type Output = Result<S::Response, <H as Fit<Req, S::Response, S::Error>>::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        if this.rest.is_some() {
            return self.poll_rest(cx);
        }
        let hooks = &this.shared.hooks;
        let polled = match this.first.as_mut().project() {
            // Called -> Over, when it is answered; and the rest begins, when it has failed or a moment has come
            FirstProj::Called { future } => {
                let (polled, endpoint) = context::picked(|| future.poll(cx));
                if endpoint.is_some() {
                    this.meta.endpoint = endpoint;
                }
                polled
            }
            // Late -> Over
            FirstProj::Late => {
                this.first.set(First::Over);
                let error = timed_out(false, Duration::ZERO).with_processed(Processed::No);
                return Poll::Ready(hooks.reject(error));
            }
            FirstProj::Over => return Poll::Pending,
        };
        let outcome = match polled {
            Poll::Ready(Ok(response)) => Outcome::Ok(response),
            Poll::Ready(Err(error)) => Outcome::Err(error),
            Poll::Pending => {
                *this.polled = true;
                let hedge = this.hedge_after.map(|after| this.meta.start + after);
                let Some(due) = this.meta.limit.into_iter().chain(hedge).min() else { return Poll::Pending };
                ready!(Timer::poll(this.timer, due, cx));
                *this.rest = Some(Box::new(Rest::new(this.shared, this.kept, *this.meta, *this.hedge_after)));
                return self.poll_rest(cx);
            }
        };
        let class = class_of(hooks, &outcome);
        let judgement = judge(hooks, this.kept, &class, &outcome, 0);
        match (judgement, outcome) {
            (Judgement::Answer, Outcome::Ok(mut response)) => {
                if let Some(percentile) = *this.percentile {
                    // What was answered at the first poll took no time.
                    let start = this.meta.start;
                    let end = if *this.polled { hooks.end(&mut response) } else { start };
                    this.shared.core.record(end, end.saturating_duration_since(start), percentile);
                }
                Poll::Ready(Ok(response))
            }
            (Judgement::Answer, Outcome::Err(error)) => Poll::Ready(Err(hooks.pass(error))),
            (judgement, outcome) => {
                this.first.set(First::Over);
                let mut rest = Box::new(Rest::new(this.shared, this.kept, *this.meta, *this.hedge_after));
                if let Some(end) = rest.ended(this.shared, this.kept, *this.meta, outcome, class, judgement) {
                    return Poll::Ready(end);
                }
                *this.rest = Some(rest);
                self.poll_rest(cx)
            }
        }
    }
}

impl<S, Req, H> ResponseFuture<S, Req, H>
where
    S: Service<Req> + Clone,
    H: Fit<Req, S::Response, S::Error>,
{
    /// A poll of a call of which there is a [`Rest`].
    #[cold]
    fn poll_rest(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        let mut this = self.project();
        let Some(rest) = this.rest else { return Poll::Pending };
        let state = &**this.shared;
        let end = loop {
            if let FirstProj::Called { future } = this.first.as_mut().project()
                && let Some(meta) = rest.first()
            {
                let (polled, endpoint) = context::picked(|| future.poll(cx));
                if endpoint.is_some() {
                    meta.endpoint = endpoint;
                }
                let meta = *meta;
                let outcome = match polled {
                    Poll::Ready(Ok(response)) => Some(Outcome::Ok(response)),
                    Poll::Ready(Err(error)) => Some(Outcome::Err(error)),
                    Poll::Pending => None,
                };
                if let Some(outcome) = outcome {
                    this.first.set(First::Over);
                    if let Some(end) = rest.settle(state, this.kept, meta, outcome) {
                        break end;
                    }
                }
            }
            if let Some(end) = rest.poll(state, this.kept, cx) {
                break end;
            }
            let Some(due) = rest.due() else { return Poll::Pending };
            ready!(Timer::poll(this.timer, due, cx));
            let end = rest.tick(state, this.kept);
            if rest.first().is_none() {
                // Given up: it gives back what it holds now, and not when the whole call is over.
                this.first.set(First::Over);
            }
            if let Some(end) = end {
                break end;
            }
        };
        // The other attempts are dropped before the caller hears of this one.
        this.first.set(First::Over);
        *this.rest = None;
        Poll::Ready(end)
    }
}

impl<S, Req, H> fmt::Debug for ResponseFuture<S, Req, H>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("meta", &self.meta).finish_non_exhaustive()
    }
}
