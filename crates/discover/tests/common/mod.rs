//! Followers of a watch, and sources that do as they are told.
#![allow(dead_code, unreachable_pub)] // no test uses all of it
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use towpath_core::{BoxError, Change, Discover, Endpoint, EndpointId};
use towpath_discover::{DiscoverEvent, Instance, Source, Update, Watch, What};

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn full(addresses: &[&str]) -> Update {
    Update::Full(addresses.iter().map(|address| Instance::new(*address)).collect())
}

/// One who has the set as the changes of a watch make it.
pub struct Follower {
    pub watch: Watch,
    pub set: BTreeMap<EndpointId, Endpoint>,
    pub batches: usize,
}

impl Follower {
    pub fn new(watch: Watch) -> Self {
        Follower { watch, set: BTreeMap::new(), batches: 0 }
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Insert(endpoint) => drop(self.set.insert(endpoint.id(), endpoint)),
            Change::Remove(id) => assert!(self.set.remove(&id).is_some(), "it was not there"),
            Change::Settled => self.batches += 1,
        }
    }

    /// Waits for the end of a batch; `false`: there will be no more.
    pub async fn batch(&mut self) -> bool {
        let before = self.batches;
        while self.batches == before {
            match poll_fn(|cx| Pin::new(&mut self.watch).poll_change(cx)).await {
                Some(change) => self.take(change),
                None => return false,
            }
        }
        true
    }

    /// What is there without waiting; `false`: there will be no more.
    pub fn now(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match Pin::new(&mut self.watch).poll_change(&mut cx) {
                Poll::Ready(Some(change)) => self.take(change),
                Poll::Ready(None) => return false,
                Poll::Pending => return true,
            }
        }
    }

    /// What is there by then.
    pub async fn after(&mut self, time: Duration) -> Vec<String> {
        self.now();
        sleep(time).await;
        self.now();
        self.addresses()
    }

    pub fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<_> = self.set.values().map(|one| one.address().to_string()).collect();
        addresses.sort();
        addresses
    }

    pub fn at(&self, address: &str) -> &Endpoint {
        self.set.values().find(|one| &**one.address() == address).expect(address)
    }
}

/// What a [`Script`] does when it is asked.
pub enum Step {
    Say(Update),
    Fail(&'static str),
    Panic,
    Sleep(Duration),
    End,
}

/// A source that does one thing after another, and says nothing any more after the last.
pub struct Script {
    pub steps: VecDeque<Step>,
    pub seen: Arc<Seen>,
}

/// What became of a source.
#[derive(Default)]
pub struct Seen {
    pub asked: AtomicUsize,
    pub refreshed: AtomicUsize,
    pub dropped: AtomicUsize,
    pub times: Mutex<Vec<Instant>>,
}

impl Seen {
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    pub fn dropped(&self) -> usize {
        self.dropped.load(SeqCst)
    }

    pub fn refreshed(&self) -> usize {
        self.refreshed.load(SeqCst)
    }
}

impl Script {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> (Self, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        (Script { steps: steps.into_iter().collect(), seen: seen.clone() }, seen)
    }
}

impl Source for Script {
    fn about(&self) -> String {
        "a script".into()
    }

    async fn next(&mut self) -> Result<Option<Update>, BoxError> {
        self.seen.asked.fetch_add(1, SeqCst);
        self.seen.times.lock().unwrap().push(Instant::now());
        loop {
            match self.steps.pop_front() {
                Some(Step::Say(update)) => return Ok(Some(update)),
                Some(Step::Fail(why)) => return Err(why.into()),
                Some(Step::Panic) => panic!("on purpose"),
                Some(Step::Sleep(time)) => sleep(time).await,
                Some(Step::End) => return Ok(None),
                None => std::future::pending().await,
            }
        }
    }

    fn refresh(&mut self) {
        self.seen.refreshed.fetch_add(1, SeqCst);
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.seen.dropped.fetch_add(1, SeqCst);
    }
}

/// All events, in short.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    pub fn observe(&self) -> impl Fn(&DiscoverEvent) + Send + Sync + 'static {
        let events = self.0.clone();
        move |event| {
            let text = match &event.what {
                What::Changed(changes) => changes.to_string(),
                What::Failed { error, failures, .. } => format!("failed {failures}: {}", error.detail()),
                What::Recovered { failures } => format!("recovered after {failures}"),
                What::EmptyDoubted { .. } => "doubted".into(),
                What::EmptyWithdrawn => "withdrawn".into(),
                What::Refused { count, why } => format!("refused {count}: {why}"),
                What::Ended => "ended".into(),
                _ => "?".into(),
            };
            events.lock().unwrap().push(text);
        }
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
