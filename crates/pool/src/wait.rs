//! A place in the line of those who wait for a connection, for a time.

use crate::{
    PoolEvent, Refusal,
    queue::{Outcome, Ticket},
    state::Held,
    store::{Entered, Store},
};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    task::coop::{Unconstrained, unconstrained},
    time::{Instant, Sleep, sleep_until},
};
use towpath_core::{Clock, Error, Loan};

/// How long somebody waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// `None`: however long it takes.
    until: Option<(Instant, Refusal)>,
    /// Not beyond one connect that fails.
    one_connect: bool,
}

impl Patience {
    /// However long it takes.
    pub(crate) const ENDLESS: Patience = Patience { until: None, one_connect: false };

    /// Until it is known whether a connection can be made.
    pub(crate) const ONE_CONNECT: Patience = Patience { until: None, one_connect: true };

    /// Of a call: from `now` for `most`, but not beyond its deadline. One that has none does not wait beyond a connect that
    /// fails.
    pub(crate) fn of_call(now: Instant, most: Duration, deadline: Option<Instant>) -> Self {
        let own = now + most;
        let until = match deadline {
            Some(deadline) if deadline <= own => (deadline, Refusal::Late),
            _ => (own, Refusal::TimedOut),
        };
        Patience { until: Some(until), one_connect: deadline.is_none() }
    }
}

/// Waits for a connection, until it gives up. Dropped, it passes its turn on.
pub(crate) struct Wait<S: Store> {
    held: Loan<Held<S>>,
    /// `None`: to be taken again, or given back.
    ticket: Option<Ticket>,
    most: u32,
    since: Instant,
    patience: Patience,
    // Made when it really waits. The budget of tokio's tasks does not apply to it, as to no time-out.
    timer: Option<Pin<Box<Unconstrained<Sleep>>>>,
}

impl<S: Store> Wait<S> {
    pub(crate) fn new(held: Loan<Held<S>>, most: u32, since: Instant, patience: Patience) -> Self {
        Wait { held, ticket: None, most, since, patience, timer: None }
    }

    /// Ready with what was waited for, or with why there is none.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<S::Grant, Error>> {
        loop {
            let Some(ticket) = &self.ticket else {
                if let Some(grant) = self.enter()? {
                    return Poll::Ready(Ok(grant));
                }
                continue;
            };
            match self.held.store.poll(ticket, cx.waker()) {
                None => break,
                Some(outcome) => {
                    self.ticket = None;
                    match outcome {
                        Outcome::Granted(grant) => return Poll::Ready(Ok(grant)),
                        Outcome::Failed(error) => {
                            self.note(Refusal::Unconnected);
                            return Poll::Ready(Err(error));
                        }
                        Outcome::Look => {}
                    }
                }
            }
        }
        let Some((until, why)) = self.patience.until else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(unconstrained(sleep_until(until))));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.leave();
        Poll::Ready(Err(self.refuse(why)))
    }

    /// Takes what is there, or a place in the line.
    fn enter(&mut self) -> Result<Option<S::Grant>, Error> {
        let core = &**self.held;
        if let Err(error) = core.start() {
            self.note(Refusal::Closed);
            return Err(error);
        }
        if self.patience.one_connect
            && let Some(error) = core.unconnected()
        {
            self.note(Refusal::Unconnected);
            return Err(error);
        }
        match core.store.enter(self.most, self.patience.one_connect) {
            Entered::Got(grant) => return Ok(Some(grant)),
            Entered::Full => return Err(self.refuse(Refusal::Full)),
            Entered::Waits { ticket, tell } => {
                self.ticket = Some(ticket);
                if tell {
                    core.bell.notify_one();
                }
            }
        }
        Ok(None)
    }

    /// What was waited for is there, and is used from now on.
    pub(crate) fn got(&self, now: Instant) {
        let waited = now.saturating_duration_since(self.since);
        self.held.target.observe.observe(&PoolEvent::Acquired { waited });
    }

    fn refuse(&self, why: Refusal) -> Error {
        self.held.refusal(why, self.note(why))
    }

    /// Reports that there is no connection for a call. Answers with how long it has waited.
    fn note(&self, why: Refusal) -> Duration {
        let waited = Clock::now().saturating_duration_since(self.since);
        self.held.target.observe.observe(&PoolEvent::Refused { why, waited });
        waited
    }

    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.held.store.leave(&ticket);
        }
    }
}

impl<S: Store> Drop for Wait<S> {
    fn drop(&mut self) {
        self.leave();
    }
}
