//! A call's part in what happens with its key: it leads, or it waits. Whichever it is, it is given back when it is
//! dropped, so that nobody waits for somebody who has gone.

use crate::{
    config::DedupeConfig,
    event::DedupeEvent,
    response::{Replay, Worth},
    table::{Answer, Changes, Key, Table, Waited},
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::time::Instant;
use towpath_core::{Live, Observe, Tally};

/// What is counted.
pub(crate) const FIRST: usize = 0;
pub(crate) const REPLAYED: usize = 1;
pub(crate) const JOINED: usize = 2;
pub(crate) const REFUSED: usize = 3;
pub(crate) const EVICTED: usize = 4;

/// What all services of a layer share.
#[derive(Debug)]
pub(crate) struct State<R> {
    pub(crate) config: Live<DedupeConfig>,
    pub(crate) counts: Tally<5>,
    table: Mutex<Table<R>>,
}

impl<R: Clone> State<R> {
    pub(crate) fn new(config: Live<DedupeConfig>) -> Self {
        State { config, counts: Tally::new(), table: Mutex::new(Table::new()) }
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table<R>> {
        // What is done to it is done or not: a panic in between leaves it whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the table, and afterwards, without the lock, what follows from it.
    pub(crate) fn change<T>(
        &self,
        observe: &impl Observe<DedupeEvent>,
        change: impl FnOnce(&mut Table<R>, &mut Changes) -> T,
    ) -> T {
        let mut changes = Changes::default();
        let outcome = change(&mut self.table(), &mut changes);
        changes.wake.drain(..).for_each(|waker| waker.wake());
        for age in changes.evicted {
            self.counts.add(EVICTED, 1);
            observe.observe(&DedupeEvent::Evicted(age));
        }
        outcome
    }
}

/// It leads. Dropped before it has an answer, it has come to nothing.
pub(crate) struct Lead<R: Clone> {
    pub(crate) state: Arc<State<R>>,
    pub(crate) key: Key,
    pub(crate) run: u64,
}

impl<R: Replay> Lead<R> {
    fn answered<O: Observe<DedupeEvent>>(self, response: &R, observe: &O) {
        let (kept, limits) = (response.keep(), self.state.config.get().limits());
        let weight = kept.weight();
        let fits = self.state.change(observe, |table, changes| {
            table.answered(&self.key, self.run, (kept, weight), Instant::now(), limits, changes)
        });
        if !fits {
            observe.observe(&DedupeEvent::TooLarge);
        }
        // Dropped: it does not lead any more.
    }
}

impl<R: Clone> Drop for Lead<R> {
    fn drop(&mut self) {
        self.state.change(&(), |table, changes| table.abandoned(&self.key, self.run, changes));
    }
}

/// It waits.
pub(crate) struct Waiting<R: Clone> {
    state: Arc<State<R>>,
    key: Key,
    number: u64,
    over: bool,
}

/// What comes of waiting.
pub(crate) enum Came<R: Clone> {
    Answer(Answer<R>),
    Lead(Lead<R>),
}

impl<R: Clone> Waiting<R> {
    pub(crate) fn new(state: Arc<State<R>>, key: Key, number: u64) -> Self {
        Waiting { state, key, number, over: false }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Came<R>> {
        // In a statement of its own: the lock is given back at once.
        let waited = self.state.table().look(&self.key, self.number, cx.waker());
        match waited {
            Waited::Wait => Poll::Pending,
            Waited::Answer(answer) => {
                self.over = true;
                Poll::Ready(Came::Answer(answer))
            }
            Waited::Lead(run) => {
                self.over = true;
                Poll::Ready(Came::Lead(Lead { state: self.state.clone(), key: self.key, run }))
            }
        }
    }
}

impl<R: Clone> Drop for Waiting<R> {
    fn drop(&mut self) {
        if !self.over {
            self.state.table().left(&self.key, self.number);
        }
    }
}

pin_project! {
    /// The first call of its key, while it is made: whoever waits hears of its end, whatever that is.
    #[must_use = "futures do nothing unless polled"]
    pub struct Leading<F, R, C, O>
    where
        R: Clone,
    {
        #[pin]
        future: F,
        lead: Option<Lead<R>>,
        worth: C,
        observe: O,
    }
}

impl<F, R: Clone, C, O> Leading<F, R, C, O> {
    pub(crate) fn new(future: F, lead: Lead<R>, worth: C, observe: O) -> Self {
        Leading { future, lead: Some(lead), worth, observe }
    }
}

impl<F, R, E, C, O> Future for Leading<F, R, C, O>
where
    F: Future<Output = Result<R, E>>,
    R: Replay,
    C: Worth<R>,
    O: Observe<DedupeEvent>,
{
    type Output = Result<R, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.future.poll(cx));
        // Dropped here, if it has nothing to tell: whoever waits goes on.
        if let (Some(lead), Ok(response)) = (this.lead.take(), &outcome)
            && this.worth.is_kept(response)
        {
            lead.answered(response, this.observe);
        }
        Poll::Ready(outcome)
    }
}

impl<F, R: Clone, C, O> fmt::Debug for Leading<F, R, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leading").finish_non_exhaustive()
    }
}
