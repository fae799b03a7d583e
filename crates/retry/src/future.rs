//! One call with all its attempts.

use crate::{
    GaveUp,
    attempt::{Meta, Outcome},
    hooks::Fit,
    judge::{Judgement, Kept, judge},
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
use towpath_core::{Class, EndpointId, Loan, Processed, context::Listen};

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
        // Within the future itself: most calls have no other attempt.
        #[pin]
        stage: Stage<S::Future>,
        kept: Kept<Req>,
        shared: Loan<State<S, H>>,
        first: First,
        // Made when something is waited for beside the attempts.
        timer: Option<Pin<Box<Timer>>>,
        // Made when the first attempt has failed, or its time or that of a hedge has come.
        rest: Option<Box<Rest<S, Req>>>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F> {
        // The deadline had passed when the call came.
        Late,
        // The first attempt: the inner service was called.
        First { #[pin] future: F },
        // The first attempt has ended.
        Over,
    }
}

/// What is known of the first attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    pub(crate) start: Instant,
    /// When it is given up.
    pub(crate) limit: Option<Instant>,
    /// When it is given up or gets company, whichever is first.
    pub(crate) due: Option<Instant>,
    /// Whether it is to be known how long it takes.
    pub(crate) measures: bool,
    /// Whether it was not answered at its first poll.
    pub(crate) polled: bool,
    pub(crate) endpoint: Option<EndpointId>,
}

pin_project! {
    struct Timer {
        at: Instant,
        // The budget of tokio's tasks does not apply to it: an inner future that uses all of the budget in every
        // poll would otherwise keep its own timeout from being seen.
        #[pin]
        sleep: Unconstrained<Sleep>,
    }
}

/// Ready when it is `at`.
fn poll_timer(timer: &mut Option<Pin<Box<Timer>>>, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let timer = match timer {
        Some(timer) if timer.at == at => timer,
        _ => timer.insert(Box::pin(Timer { at, sleep: unconstrained(sleep_until(at)) })),
    };
    timer.as_mut().project().sleep.poll(cx)
}

impl First {
    fn meta(&self) -> Meta {
        let First { start, limit, endpoint, .. } = *self;
        Meta { number: 0, hedge: false, start, limit, endpoint }
    }
}

impl<S, Req, H> ResponseFuture<S, Req, H>
where
    S: Service<Req>,
{
    /// The inner service was called.
    #[inline]
    pub(crate) fn new(
        future: S::Future,
        copy: Option<Req>,
        why_not: GaveUp,
        shared: Loan<State<S, H>>,
        first: First,
    ) -> Self {
        let kept = Kept { copy, why_not };
        ResponseFuture { stage: Stage::First { future }, kept, shared, first, timer: None, rest: None }
    }

    /// The deadline had passed when the call came.
    #[cold]
    pub(crate) fn late(shared: Loan<State<S, H>>, start: Instant) -> Self {
        let first = First { start, limit: None, due: None, measures: false, polled: false, endpoint: None };
        ResponseFuture {
            stage: Stage::Late,
            kept: Kept { copy: None, why_not: GaveUp::Deadline },
            shared,
            first,
            timer: None,
            rest: None,
        }
    }
}

impl<S, Req, H> Future for ResponseFuture<S, Req, H>
where
    S: Service<Req> + Clone,
    H: Fit<Req, S::Response, S::Error>,
{
    type Output = Result<S::Response, <H as Fit<Req, S::Response, S::Error>>::Error>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        if this.rest.is_some() {
            return self.poll_rest(cx);
        }
        // First -> Over, when it has failed; what follows is in `poll_rest`
        let StageProj::First { future } = this.stage.project() else { return self.poll_late() };
        let listen = Listen::new();
        let polled = future.poll(cx);
        if let Some(endpoint) = listen.heard() {
            this.first.endpoint = Some(endpoint);
        }
        drop(listen);
        match polled {
            Poll::Ready(Ok(mut response)) => {
                let hooks = &this.shared.hooks;
                let class = hooks.classify(Ok(&response));
                if class.is_success() {
                    if this.first.measures {
                        // What was answered at the first poll took no time.
                        let start = this.first.start;
                        let end = if this.first.polled { hooks.end(&mut response) } else { start };
                        this.shared.core.record(end, end.saturating_duration_since(start));
                    }
                    return Poll::Ready(Ok(response));
                }
                self.first_failed(Outcome::Ok(response), class, cx)
            }
            Poll::Ready(Err(error)) => {
                let class = this.shared.hooks.classify(Err(&error));
                self.first_failed(Outcome::Err(error), class, cx)
            }
            Poll::Pending => {
                this.first.polled = true;
                if this.first.due.is_none() { Poll::Pending } else { self.first_waits(cx) }
            }
        }
    }
}

impl<S, Req, H> ResponseFuture<S, Req, H>
where
    S: Service<Req> + Clone,
    H: Fit<Req, S::Response, S::Error>,
{
    /// Late -> Over
    #[cold]
    fn poll_late(self: Pin<&mut Self>) -> Poll<<Self as Future>::Output> {
        let mut this = self.project();
        if !matches!(this.stage.as_mut().project(), StageProj::Late) {
            return Poll::Pending;
        }
        this.stage.set(Stage::Over);
        let error = timed_out(false, Duration::ZERO).with_processed(Processed::No);
        Poll::Ready(this.shared.hooks.reject(error))
    }

    /// The first attempt waits, and there is a moment from which on it is not to be waited for, or not alone.
    #[cold]
    fn first_waits(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        let mut this = self.as_mut().project();
        let Some(due) = this.first.due else { return Poll::Pending };
        ready!(poll_timer(this.timer, due, cx));
        let mut rest = Rest::new(this.shared, this.kept, this.first.meta());
        let end = rest.tick(this.shared, this.kept);
        if rest.first().is_none() {
            // Given up: it gives back what it holds now, and not when the whole call is over.
            this.stage.set(Stage::Over);
        }
        if let Some(end) = end {
            return Poll::Ready(end);
        }
        *this.rest = Some(Box::new(rest));
        self.poll_rest(cx)
    }

    #[cold]
    fn first_failed(
        mut self: Pin<&mut Self>,
        outcome: Outcome<S::Response, S::Error>,
        class: Class,
        cx: &mut Context<'_>,
    ) -> Poll<<Self as Future>::Output> {
        let mut this = self.as_mut().project();
        let hooks = &this.shared.hooks;
        let judgement = judge(hooks, this.kept, &class, &outcome, 0);
        let outcome = match (judgement, outcome) {
            (Judgement::Answer, Outcome::Ok(response)) => return Poll::Ready(Ok(response)),
            (Judgement::Answer, Outcome::Err(error)) => return Poll::Ready(Err(hooks.pass(error))),
            (_, outcome) => outcome,
        };
        // It gives back what it holds before anything is waited for.
        this.stage.set(Stage::Over);
        let first = this.first.meta();
        let mut rest = Rest::new(this.shared, this.kept, first);
        if let Some(end) = rest.ended(this.shared, this.kept, first, outcome, class, judgement) {
            return Poll::Ready(end);
        }
        *this.rest = Some(Box::new(rest));
        self.poll_rest(cx)
    }

    /// A poll of a call that has more than its first attempt.
    #[cold]
    fn poll_rest(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        let mut this = self.project();
        let Some(rest) = this.rest else { return Poll::Pending };
        let state = &**this.shared;
        let end = loop {
            if let StageProj::First { future } = this.stage.as_mut().project()
                && let Some(meta) = rest.first()
            {
                let listen = Listen::new();
                let polled = future.poll(cx);
                meta.endpoint = listen.heard().or(meta.endpoint);
                drop(listen);
                let meta = *meta;
                let outcome = match polled {
                    Poll::Ready(Ok(response)) => Some(Outcome::Ok(response)),
                    Poll::Ready(Err(error)) => Some(Outcome::Err(error)),
                    Poll::Pending => None,
                };
                if let Some(outcome) = outcome {
                    this.stage.set(Stage::Over);
                    if let Some(end) = rest.settle(state, this.kept, meta, outcome) {
                        break end;
                    }
                }
            }
            if let Some(end) = rest.poll(state, this.kept, cx) {
                break end;
            }
            let Some(due) = rest.due() else { return Poll::Pending };
            ready!(poll_timer(this.timer, due, cx));
            let end = rest.tick(state, this.kept);
            if rest.first().is_none() {
                // Given up: it gives back what it holds now, and not when the whole call is over.
                this.stage.set(Stage::Over);
            }
            if let Some(end) = end {
                break end;
            }
        };
        // The other attempts are dropped before the caller hears of this one.
        this.stage.set(Stage::Over);
        *this.rest = None;
        Poll::Ready(end)
    }
}

impl<S, Req, H> fmt::Debug for ResponseFuture<S, Req, H>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("first", &self.first).finish_non_exhaustive()
    }
}
