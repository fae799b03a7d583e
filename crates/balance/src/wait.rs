//! A call that finds no endpoint that is ready at once: what it waits for, and for how long.

use crate::{
    BalanceEvent,
    common::Common,
    fleet::{News, Snapshot},
    gauge::{Gauge, HOPEFUL, Key, USABLE},
    pick::Pick,
    ticket::Ticket,
};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    sync::futures::OwnedNotified,
    task::coop::{Unconstrained, unconstrained},
    time::{Instant, Sleep, sleep_until},
};
use tower_service::Service;
use towpath_core::{
    CallInfo, Classify, Clock, EndpointId, EndpointStatus, Error, ErrorKind, Loan, Processed, context,
};

/// So many stacks are waited for at a time; the first one that is ready is called.
const MOST: usize = 2;
/// Of endpoints that take calls so many are looked at, until one is found whose stack is ready.
const TRIES: u32 = 16;
/// Of so many that have no connection the best is waited for.
const LOOKED_AT: usize = 8;

/// A call that waits.
pub(crate) struct Wait<S, Req, P, C, I, R>
where
    S: Service<Req>,
    P: Pick,
{
    common: Loan<Common<S, P, C, I, R>>,
    /// Until it goes.
    request: Option<Req>,
    /// In the fleet's nanoseconds.
    since: u64,
    deadline: Option<Instant>,
    /// Stacks that are not ready yet.
    candidates: Vec<Candidate<S, P, C, I, R>>,
    /// Endpoints whose stacks were found not to be ready, or have failed, since something changed last.
    passed: Vec<EndpointId>,
    tries: u32,
    /// How the last stack failed that did.
    failed: Option<S::Error>,
    changed: Option<Pin<Box<OwnedNotified>>>,
    timer: Option<Timer>,
}

struct Timer {
    at: Instant,
    // The budget of tokio's tasks does not apply to it, as to no time-out.
    sleep: Pin<Box<Unconstrained<Sleep>>>,
}

struct Candidate<S, P: Pick, C, I, R> {
    id: EndpointId,
    stack: S,
    ticket: Ticket<S, P, C, I, R>,
}

/// How the wait has ended.
pub(crate) enum Outcome<S, Req, P: Pick, C, I, R>
where
    S: Service<Req>,
{
    /// There is a stack that is ready.
    Go { stack: S, request: Req, ticket: Ticket<S, P, C, I, R> },
    /// There is no endpoint, or time was up.
    Refused(Error),
    /// The stacks that there are have failed; so did the last one.
    Failed(S::Error),
}

impl<S, P: Pick, C, I, R> Candidate<S, P, C, I, R> {
    fn gauge(&self) -> &Gauge {
        self.ticket.common.fleet.arena.at(self.ticket.key.slot)
    }

    /// Whether its endpoint takes calls, so that it is worth to be waited for as long as the call may last.
    fn is_usable(&self) -> bool {
        self.ticket.probe || self.gauge().flags() & USABLE != 0
    }

    /// Whether its endpoint will not take this call any more.
    fn is_over(&self) -> bool {
        self.gauge().is_over(self.ticket.key.generation)
            || !(self.is_usable() || self.gauge().flags() & HOPEFUL != 0)
    }
}

impl<S, Req, P, C, I, R> Wait<S, Req, P, C, I, R>
where
    S: Service<Req> + Clone,
    P: Pick,
    C: Classify<S::Response, S::Error>,
    I: CallInfo<Req, S::Response>,
{
    pub(crate) fn new(common: Loan<Common<S, P, C, I, R>>, request: Req, since: u64) -> Self {
        let deadline = common.info.context(&request).and_then(towpath_core::Context::deadline);
        common.fleet.bell.wait(true);
        Wait {
            common,
            request: Some(request),
            since,
            deadline,
            candidates: Vec::new(),
            passed: Vec::new(),
            tries: 0,
            failed: None,
            changed: None,
            timer: None,
        }
    }

    /// With a stack that is not ready yet, or has failed.
    pub(crate) fn with(mut self, ticket: Ticket<S, P, C, I, R>, found: Result<S, S::Error>) -> Self {
        let id = self.common.fleet.arena.at(ticket.key.slot).id();
        match found {
            Ok(stack) => self.candidates.push(Candidate { id, stack, ticket }),
            Err(error) => self.fail(id, ticket, error),
        }
        self
    }

    fn fail(&mut self, id: EndpointId, ticket: Ticket<S, P, C, I, R>, error: S::Error) {
        ticket.ended(&self.common.classify.classify(Err(&error)), ticket.start);
        self.passed.push(id);
        self.failed = Some(error);
    }

    pub(crate) fn common(&self) -> &Loan<Common<S, P, C, I, R>> {
        &self.common
    }

    /// Waits for a stack that is ready. Everything that it waits for wakes it; nothing is polled by a timer.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<S, Req, P, C, I, R>> {
        loop {
            self.changed.get_or_insert_with(|| self.common.fleet.bell.line());
            let now = Clock::now();
            let nanos = self.common.fleet.bell.nanos(now);
            let due = self.common.fleet.bell.is_due(nanos);
            let probe = if due { self.common.tend(now) } else { None };
            let snapshot = self.common.fleet.live.get();
            if let Some(key) = probe {
                self.probe(&snapshot, key, nanos);
            }
            // What is waited for, then what else there is, until one is ready or there is no other.
            let ready = loop {
                match self.poll_candidates(cx) {
                    None if self.look_further(&snapshot, nanos) => {}
                    ready => break ready,
                }
            };
            if let Some(Candidate { stack, mut ticket, .. }) = ready {
                let Some(mut request) = self.request.take() else { return Poll::Pending };
                // It has waited: those below, and the latency of the endpoint, begin now.
                if let Some(context) = self.common.info.context_mut(&mut request) {
                    context.set_stamp(None);
                }
                ticket.start = self.common.fleet.bell.nanos(self.common.info.start(&mut request));
                return Poll::Ready(Outcome::Go { stack, request, ticket });
            }
            if self.candidates.is_empty() {
                if let Some(error) = self.failed.take() {
                    return Poll::Ready(Outcome::Failed(error));
                }
                if snapshot.settled && snapshot.keys.is_empty() {
                    return Poll::Ready(Outcome::Refused(self.refusal(now)));
                }
            }
            if let Some(changed) = &mut self.changed
                && changed.as_mut().poll(cx).is_pending()
            {
                return self.poll_timer(cx, now).map(Outcome::Refused);
            }
            self.changed = None;
            self.passed.clear();
            self.tries = 0;
        }
    }

    /// Polls the stacks; those of endpoints that take no calls any more are dropped, and of the others those that are too
    /// many.
    fn poll_candidates(&mut self, cx: &mut Context<'_>) -> Option<Candidate<S, P, C, I, R>> {
        let mut index = 0;
        while let Some(candidate) = self.candidates.get_mut(index) {
            if candidate.is_over() {
                self.candidates.remove(index);
                continue;
            }
            context::pick(candidate.id);
            match candidate.stack.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    let ready = self.candidates.remove(index);
                    if ready.gauge().flags() & HOPEFUL != 0 {
                        // It says nothing of itself.
                        self.common.fleet.tell([News::Answers(ready.ticket.key)]);
                    }
                    return Some(ready);
                }
                Poll::Ready(Err(error)) => {
                    let Candidate { id, ticket, .. } = self.candidates.remove(index);
                    self.fail(id, ticket, error);
                }
                Poll::Pending => index += 1,
            }
        }
        while self.candidates.len() > MOST {
            // Those with a connection stay, and of them the first.
            let worst = self.candidates.iter().position(|candidate| !candidate.is_usable());
            let worst = self.candidates.remove(worst.unwrap_or(MOST));
            self.passed.push(worst.id);
        }
        None
    }

    /// Finds another one: one that takes calls, or if there is none, one that has no connection. `false`: there is none
    /// that is to be polled.
    fn look_further(&mut self, snapshot: &Snapshot<S, P::Table>, nanos: u64) -> bool {
        let Some(request) = &self.request else { return false };
        let mut not: Vec<_> = self.passed.clone();
        not.extend(self.candidates.iter().map(|candidate| candidate.id));
        if self.tries < TRIES
            && let Some(index) = self.common.choose(snapshot, request, nanos, &not)
        {
            self.tries += 1;
            return self.add(snapshot, index, nanos, false);
        }
        let hopeless = self.candidates.len() >= MOST || self.candidates.iter().any(Candidate::is_usable);
        match self.hopeful(snapshot, nanos, &not).filter(|_| !hopeless) {
            Some(index) => self.add(snapshot, index, nanos, false),
            None => false,
        }
    }

    /// Of those that have no connection and that the picker names the one that will be tried next: of several the one with
    /// the fewest calls.
    fn hopeful(&self, snapshot: &Snapshot<S, P::Table>, nanos: u64, not: &[EndpointId]) -> Option<usize> {
        let request = self.request.as_ref()?;
        let gauge = |index: usize| self.common.fleet.arena.at(snapshot.keys[index].slot);
        let named = (0..LOOKED_AT)
            .map_while(|_| self.common.choose_of(HOPEFUL, snapshot, request, nanos, not))
            .filter(|index| !not.contains(&gauge(*index).id()));
        named.min_by_key(|index| {
            let next_try = match snapshot.endpoints[*index].state().status() {
                EndpointStatus::Connecting { next_try } => next_try,
                _ => None,
            };
            (next_try, gauge(*index).in_flight())
        })
    }

    /// An endpoint that is out wants a call that finds out whether it has recovered.
    fn probe(&mut self, snapshot: &Snapshot<S, P::Table>, key: Key, nanos: u64) {
        let index = snapshot.keys.iter().position(|other| *other == key);
        let suits = |index: &usize| {
            let request = self.request.as_ref();
            request.is_some_and(|request| self.common.suits(snapshot, request, nanos, *index))
        };
        let index = index.filter(suits);
        if !index.is_some_and(|index| self.add(snapshot, index, nanos, true)) {
            self.common.fleet.tell([News::Probed(key)]);
        }
    }

    /// Waits for one more. `false`: it is gone.
    fn add(&mut self, snapshot: &Snapshot<S, P::Table>, index: usize, nanos: u64, probe: bool) -> bool {
        let key = snapshot.keys[index];
        let gauge = self.common.fleet.arena.at(key.slot);
        if !gauge.enter(key.generation) {
            return false;
        }
        let ticket = Ticket { common: self.common.clone(), start: nanos, key, probe, waits: false };
        let (id, stack) = (gauge.id(), snapshot.stacks[index].fresh());
        self.candidates.push(Candidate { id, stack, ticket });
        true
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Error> {
        // While a stack is waited for whose endpoint takes calls, only the deadline counts.
        let patience = match self.candidates.iter().any(Candidate::is_usable) {
            true => None,
            false => Some(self.common.fleet.bell.instant(self.since) + self.common.fleet.config.get().wait),
        };
        let Some(at) = patience.into_iter().chain(self.deadline).min() else { return Poll::Pending };
        if at <= now {
            return Poll::Ready(self.refusal(now));
        }
        let timer = match &mut self.timer {
            Some(timer) if timer.at == at => timer,
            timer => timer.insert(Timer { at, sleep: Box::pin(unconstrained(sleep_until(at))) }),
        };
        ready!(timer.sleep.as_mut().poll(cx));
        Poll::Ready(self.refusal(Clock::now()))
    }

    /// What the caller is told.
    fn refusal(&self, now: Instant) -> Error {
        let fleet = &self.common.fleet;
        let waited = now.saturating_duration_since(fleet.bell.instant(self.since));
        let (counts, settled, next) = {
            let roster = fleet.roster();
            (roster.counts(), roster.is_settled(), roster.next_probe())
        };
        let why = if counts.known == 0 { fleet.explain() } else { None };
        let known = why.unwrap_or_else(|| match settled || counts.known > 0 {
            true => counts.to_string(),
            false => "discovery has not said yet which endpoints there are".into(),
        });
        let detail = match waited.is_zero() {
            true => known,
            false => format!("{known}; waited {waited:.1?}"),
        };
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let detail = format!("no endpoint was ready in time: {detail}");
            return Error::new(ErrorKind::DeadlineExceeded).because(detail).with_processed(Processed::No);
        }
        fleet.observe(&BalanceEvent::NoEndpoint(counts));
        let after = next.map(|next| next.saturating_duration_since(now));
        Error::new(ErrorKind::NoEndpoint).because(detail).with_retry_after(after)
    }
}

impl<S, Req, P, C, I, R> Drop for Wait<S, Req, P, C, I, R>
where
    S: Service<Req>,
    P: Pick,
{
    fn drop(&mut self) {
        self.common.fleet.bell.wait(false);
    }
}
