//! A source that is told from outside.

use crate::{Instance, Source, Update};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Notify;
use towpath_core::BoxError;

/// Says what a [`PushSource`] has to say. Clones are the same; when the last one is dropped, the source has nothing more
/// to say, and the set stays.
#[derive(Clone)]
pub struct Pusher(Arc<Hand>);

/// A source that is told from outside, by a [`Pusher`]: from a listener of a library, by a program that knows its peers,
/// in a test.
///
/// ```
/// use towpath_discover::{Directory, Instance, PushSource};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (pusher, source) = PushSource::new();
/// let watch = Directory::new().watch_source("orders", source);
/// pusher.set([Instance::new("mcp://10.0.0.7:8080")]);
/// assert_eq!(watch.settled().await?.endpoints().len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct PushSource(Arc<Line>);

/// Tells the source when the last pusher is gone.
struct Hand(Arc<Line>);

#[derive(Default)]
struct Line {
    pending: Mutex<Pending>,
    news: Notify,
}

#[derive(Default)]
struct Pending {
    /// At most one full list, which comes first.
    updates: Vec<Update>,
    failure: Option<BoxError>,
    over: bool,
}

impl PushSource {
    /// A source and who tells it.
    #[allow(clippy::new_ret_no_self)] // a pair, like a channel
    pub fn new() -> (Pusher, PushSource) {
        let line = Arc::new(Line::default());
        (Pusher(Arc::new(Hand(line.clone()))), PushSource(line))
    }
}

impl Pusher {
    /// These are all.
    pub fn set(&self, instances: impl IntoIterator<Item = Instance>) {
        let full = Update::Full(instances.into_iter().collect());
        // Whatever was said before it and not heard yet is of no importance any more.
        self.0.0.say(|pending| pending.updates = vec![full]);
    }

    /// This one is new, or described anew.
    pub fn insert(&self, instance: Instance) {
        self.0
            .0
            .say(|pending| pending.updates.push(Update::Delta { changed: vec![instance], removed: vec![] }));
    }

    /// The one of this [key](Instance::key) is gone.
    pub fn remove(&self, key: impl Into<Arc<str>>) {
        let removed = vec![key.into()];
        self.0.0.say(|pending| pending.updates.push(Update::Delta { changed: vec![], removed }));
    }

    /// It cannot be found out at the moment.
    pub fn fail(&self, why: impl Into<BoxError>) {
        let why = why.into();
        self.0.0.say(|pending| pending.failure = Some(why));
    }
}

impl Line {
    fn say(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.notify_one();
    }

    /// What is there to be heard: a failure after what was said before it.
    fn take(&self) -> Option<Result<Option<Update>, BoxError>> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if !pending.updates.is_empty() {
            return Some(Ok(Some(pending.updates.remove(0))));
        }
        match pending.failure.take() {
            Some(failure) => Some(Err(failure)),
            None if pending.over => Some(Ok(None)),
            None => None,
        }
    }
}

impl Source for PushSource {
    fn about(&self) -> String {
        "told from within this process".into()
    }

    async fn next(&mut self) -> Result<Option<Update>, BoxError> {
        loop {
            if let Some(heard) = self.0.take() {
                return heard;
            }
            self.0.news.notified().await;
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.0.say(|pending| pending.over = true);
    }
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher").finish_non_exhaustive()
    }
}

impl fmt::Debug for PushSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushSource").finish_non_exhaustive()
    }
}
