//! What a call is once its first attempt was not simply answered: its plan, and its further attempts.

use crate::{
    Attempt, Attempts, Ended, GaveUp, RetryEvent,
    attempt::{Further, Meta, Outcome},
    handle::{HEDGES, HEDGES_WON, RETRIES},
    hooks::Fit,
    judge::{Judgement, Kept, class_of, judge},
    plan::{Kind, Next, Plan, Rules},
    service::State,
};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{Class, Clock, Context as Known, Error, ErrorKind, Processed, Spent};

/// The end of a call.
type Outcoming<S, Req, H> = Result<
    <S as Service<Req>>::Response,
    <H as Fit<Req, <S as Service<Req>>::Response, <S as Service<Req>>::Error>>::Error,
>;

pub(crate) struct Rest<S, Req>
where
    S: Service<Req>,
{
    plan: Plan,
    attempt_timeout: Option<Duration>,
    /// The first attempt, while it is under way.
    first: Option<Meta>,
    start: Instant,
    further: Vec<Pin<Box<Further<S, Req>>>>,
    retries: u16,
    ended: Vec<Attempt>,
    /// The last failure.
    last: Option<Outcome<S::Response, S::Error>>,
    /// Whether the callee may have acted on any of the attempts.
    processed: Processed,
}

impl<S, Req> Rest<S, Req>
where
    S: Service<Req> + Clone,
{
    pub(crate) fn new<H>(state: &State<S, H>, kept: &Kept<Req>, first: Meta) -> Self
    where
        H: Fit<Req, S::Response, S::Error>,
    {
        let config = state.core.config.get();
        let (deadline, hedged) = match &kept.copy {
            Some(request) => (deadline(&state.hooks, request), state.hooks.may_repeat(request).1),
            None => (None, false),
        };
        let hedge = config.hedge().filter(|_| hedged);
        let rules = Rules {
            attempts: config.max_attempts(),
            hedges: hedge.map_or(0, |hedge| hedge.max()),
            hedge_after: hedge.and_then(|hedge| state.core.hedge_after(hedge)),
            floor: config.min_attempt(),
            deadline,
        };
        Rest {
            plan: Plan::new(rules, first.start),
            attempt_timeout: config.attempt_timeout(),
            first: Some(first),
            start: first.start,
            further: Vec::new(),
            retries: 0,
            ended: Vec::new(),
            last: None,
            processed: Processed::No,
        }
    }

    /// The next moment at which something is to be done, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        let limits = self.further.iter().filter_map(|attempt| attempt.meta.limit);
        let first = self.first.and_then(|first| first.limit);
        self.plan.due().into_iter().chain(first).chain(limits).min()
    }

    /// The first attempt, if it is under way.
    pub(crate) fn first(&mut self) -> Option<&mut Meta> {
        self.first.as_mut()
    }

    /// Polls the further attempts.
    pub(crate) fn poll<H>(
        &mut self,
        state: &State<S, H>,
        kept: &Kept<Req>,
        cx: &mut Context<'_>,
    ) -> Option<Outcoming<S, Req, H>>
    where
        H: Fit<Req, S::Response, S::Error>,
    {
        let mut at = 0;
        while let Some(attempt) = self.further.get_mut(at) {
            match attempt.as_mut().poll(&state.hooks, cx) {
                Poll::Pending => at += 1,
                Poll::Ready(outcome) => {
                    let meta = self.further.remove(at).meta;
                    // What begins in place of it is polled in this same round.
                    if let Some(end) = self.settle(state, kept, meta, outcome) {
                        return Some(end);
                    }
                }
            }
        }
        None
    }

    /// A moment has come: attempts whose time is up are given up, and what is due is begun.
    pub(crate) fn tick<H>(&mut self, state: &State<S, H>, kept: &Kept<Req>) -> Option<Outcoming<S, Req, H>>
    where
        H: Fit<Req, S::Response, S::Error>,
    {
        let now = Clock::now();
        let is_up = |meta: &Meta| meta.limit.is_some_and(|limit| limit <= now);
        if let Some(first) = self.first.filter(is_up) {
            let outcome = Outcome::TimedOut { called: true, after: now - first.start };
            if let Some(end) = self.settle(state, kept, first, outcome) {
                return Some(end);
            }
        }
        while let Some(at) = self.further.iter().position(|attempt| is_up(&attempt.meta)) {
            let attempt = self.further.remove(at);
            let (meta, called) = (attempt.meta, attempt.is_called());
            // Here, not when the whole call is over: it gives back what it holds.
            drop(attempt);
            let outcome = Outcome::TimedOut { called, after: now - meta.start };
            if let Some(end) = self.settle(state, kept, meta, outcome) {
                return Some(end);
            }
        }
        let next = self.plan.at(now, |kind| pay(state, kind, now));
        self.follow(state, kept, next, now)
    }

    /// An attempt has ended.
    pub(crate) fn settle<H>(
        &mut self,
        state: &State<S, H>,
        kept: &Kept<Req>,
        meta: Meta,
        outcome: Outcome<S::Response, S::Error>,
    ) -> Option<Outcoming<S, Req, H>>
    where
        H: Fit<Req, S::Response, S::Error>,
    {
        let class = class_of(&state.hooks, &outcome);
        let judgement = judge(&state.hooks, kept, &class, &outcome, meta.number);
        self.ended(state, kept, meta, outcome, class, judgement)
    }

    /// An attempt has ended, and this is what it is to its call.
    pub(crate) fn ended<H>(
        &mut self,
        state: &State<S, H>,
        kept: &Kept<Req>,
        meta: Meta,
        outcome: Outcome<S::Response, S::Error>,
        class: Class,
        judgement: Judgement,
    ) -> Option<Outcoming<S, Req, H>>
    where
        H: Fit<Req, S::Response, S::Error>,
    {
        if meta.number == 0 {
            self.first = None;
        }
        let now = Clock::now();
        if judgement == Judgement::Answer {
            return Some(self.answer(state, meta, outcome, now));
        }
        let timed_out = matches!(outcome, Outcome::TimedOut { .. });
        self.note(meta, if timed_out { Ended::TimedOut } else { Ended::Failed(class.code) }, now);
        self.processed = match (self.processed, class.processed) {
            (Processed::Yes, _) | (_, Processed::Yes) => Processed::Yes,
            (Processed::No, Processed::No) => Processed::No,
            _ => Processed::Unknown,
        };
        let Meta { number: attempt, hedge, endpoint, start, .. } = meta;
        let took = now.saturating_duration_since(start);
        state.hooks.observe(RetryEvent::AttemptFailed { attempt, hedge, class, timed_out, took, endpoint });
        self.keep(outcome);
        let judged = judgement.with_backoff(&class, &state.core.config.get(), self.retries);
        let next = self.plan.failed(now, judged, |kind| pay(state, kind, now));
        let wait = match next {
            Next::Start(_) => Some(Duration::ZERO),
            _ => self.plan.waits_until().map(|at| at.saturating_duration_since(now)),
        };
        if let Some(after) = wait {
            state.hooks.observe(RetryEvent::Planned { attempt: self.ended.len() as u16, after });
            // What may hold something of its connection is not kept meanwhile.
            if let Some(Outcome::Ok(response)) = self.last.take_if(|last| matches!(last, Outcome::Ok(_))) {
                self.last = state.hooks.keep(response).map(Outcome::Ok);
            }
        }
        self.follow(state, kept, next, now)
    }

    /// What comes last is what the caller is told; but that there was no time to be called says less than how the
    /// attempt before failed.
    fn keep(&mut self, outcome: Outcome<S::Response, S::Error>) {
        if self.last.is_none() || !matches!(outcome, Outcome::TimedOut { called: false, .. }) {
            self.last = Some(outcome);
        }
    }

    fn follow<H>(
        &mut self,
        state: &State<S, H>,
        kept: &Kept<Req>,
        mut next: Next,
        now: Instant,
    ) -> Option<Outcoming<S, Req, H>>
    where
        H: Fit<Req, S::Response, S::Error>,
    {
        if let Next::Start(kind) = next {
            next = self.begin(state, kept, kind, now);
        }
        match next {
            Next::GiveUp(why) => Some(self.give_up(state, kept, why)),
            Next::Start(_) | Next::Wait => None,
        }
    }

    fn begin<H>(&mut self, state: &State<S, H>, kept: &Kept<Req>, kind: Kind, now: Instant) -> Next
    where
        H: Fit<Req, S::Response, S::Error>,
    {
        let hooks = &state.hooks;
        let kept = kept.copy.as_ref();
        let copy = kept.and_then(|request| Some((state.copy(request)?, deadline(hooks, request))));
        let Some((mut request, deadline)) = copy else {
            return self.plan.not_started(GaveUp::CannotCopy);
        };
        let number = self.plan.made() - 1;
        let limit = self.attempt_timeout.map(|timeout| now + timeout).into_iter().chain(deadline).min();
        if let Some(context) = hooks.context_mut(&mut request) {
            context.set_attempt(number);
            context.set_stamp(Some(now));
            if let Some(limit) = limit {
                context.tighten_deadline(limit);
            }
            let under_way = self.first.iter().chain(self.further.iter().map(|attempt| &attempt.meta));
            let tried = self.ended.iter().map(|attempt| attempt.endpoint);
            for endpoint in tried.chain(under_way.map(|meta| meta.endpoint)).flatten() {
                context.add_tried(endpoint);
            }
        }
        let hedge = kind == Kind::Hedge;
        if hedge {
            state.core.counts.add(HEDGES, 1);
            hooks.observe(RetryEvent::Hedged { attempt: number, after: now - self.start });
        } else {
            self.retries += 1;
            state.core.counts.add(RETRIES, 1);
        }
        let meta = Meta { number, hedge, start: now, limit, endpoint: None };
        self.further.push(Box::pin(Further::new(meta, state.fresh(), request)));
        Next::Start(kind)
    }

    fn answer<H>(
        &mut self,
        state: &State<S, H>,
        meta: Meta,
        outcome: Outcome<S::Response, S::Error>,
        now: Instant,
    ) -> Outcoming<S, Req, H>
    where
        H: Fit<Req, S::Response, S::Error>,
    {
        if meta.hedge {
            state.core.counts.add(HEDGES_WON, 1);
            state.hooks.observe(RetryEvent::HedgeWon { attempt: meta.number });
        }
        self.measure(state, meta, now);
        self.drop_others(now);
        self.note(meta, Ended::Answered, now);
        let spent = Spent { attempts: self.plan.made(), processed: self.processed, stop: false };
        self.tell(state, outcome, spent)
    }

    fn give_up<H>(&mut self, state: &State<S, H>, kept: &Kept<Req>, why: GaveUp) -> Outcoming<S, Req, H>
    where
        H: Fit<Req, S::Response, S::Error>,
    {
        self.drop_others(Clock::now());
        let attempts = self.plan.made();
        state.core.gave_up();
        state.hooks.observe(RetryEvent::GaveUp { why, attempts });
        let stop = why.is_spent() && kept.copy.is_some();
        let spent = Spent { attempts, processed: self.processed, stop };
        let last = self.last.take();
        self.tell(state, last.unwrap_or(Outcome::TimedOut { called: false, after: Duration::ZERO }), spent)
    }

    fn tell<H>(
        &mut self,
        state: &State<S, H>,
        outcome: Outcome<S::Response, S::Error>,
        spent: Spent,
    ) -> Outcoming<S, Req, H>
    where
        H: Fit<Req, S::Response, S::Error>,
    {
        let attempts = std::mem::take(&mut self.ended);
        match outcome {
            Outcome::Ok(mut response) => {
                state.hooks.report(&mut response, Attempts(attempts), spent.stop);
                Ok(response)
            }
            Outcome::Err(error) => Err(state.hooks.pass_spent(error, spent)),
            Outcome::TimedOut { called, after } => state.hooks.reject(spent.on(timed_out(called, after))),
        }
    }

    /// An answer says how long answers take; so does, in part, the wait for the first attempt that it ended.
    fn measure<H>(&self, state: &State<S, H>, meta: Meta, now: Instant) {
        if state.core.config.get().percentile().is_some() {
            for start in self.first.iter().map(|first| first.start).chain([meta.start]) {
                state.core.record(now, now.saturating_duration_since(start));
            }
        }
    }

    /// The attempts that are still under way are of no use any more: they are cancelled on the wire.
    fn drop_others(&mut self, now: Instant) {
        let further = std::mem::take(&mut self.further);
        let metas: Vec<Meta> =
            self.first.take().into_iter().chain(further.iter().map(|attempt| attempt.meta)).collect();
        drop(further);
        for meta in metas {
            self.note(meta, Ended::Dropped, now);
        }
    }

    fn note(&mut self, meta: Meta, ended: Ended, now: Instant) {
        let Meta { number, hedge, endpoint, start, .. } = meta;
        let took = now.saturating_duration_since(start);
        self.ended.push(Attempt { number, hedge, ended, took, endpoint });
    }
}

fn deadline<Req, Res, Err, H: Fit<Req, Res, Err>>(hooks: &H, request: &Req) -> Option<Instant> {
    hooks.context(request).and_then(Known::deadline)
}

fn pay<S, Req, H>(state: &State<S, H>, kind: Kind, now: Instant) -> bool
where
    S: Service<Req>,
    H: Fit<Req, S::Response, S::Error>,
{
    let paid = state.core.pay(kind, now);
    if !paid {
        state.hooks.observe(RetryEvent::BudgetExhausted { hedge: kind == Kind::Hedge });
    }
    paid
}

/// What the caller is told of an attempt that was given up here.
pub(crate) fn timed_out(called: bool, after: Duration) -> Error {
    let error = Error::new(ErrorKind::DeadlineExceeded);
    match called {
        true => error.because(format!("no answer to the last attempt within {after:?}")),
        false => error.with_processed(Processed::No).because("no attempt could be made in time"),
    }
}
