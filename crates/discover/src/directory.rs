//! Who gives out watches: one source for all who watch the same name.

use crate::{
    BoxSource, DiscoverConfig, DiscoverEvent, InvalidTarget, NameHandle, Source, Sources, Watch,
    shared::{Observer, Shared},
    watch::Interest,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use towpath_core::{Live, Observe};

/// Where endpoints are looked up. Clones are the same one.
///
/// - **One look-up for all who ask**: all [watches](Watch) of a name share one source and one task, which starts at the
///   first poll of the first of them, and ends when the last one is dropped.
/// - **The last good set stays** when a source fails; it is asked again after a backoff with jitter. What a source
///   knows does not end because it cannot be asked, and an [endpoint](towpath_core::Endpoint) is gone only when the
///   source says so.
/// - **A sudden empty answer is doubted**: for 30 s by default the last endpoints stay.
/// - **Changes that come together are told together.**
/// - **The same address is the same endpoint** of a watch, with its id and its state, for as long as it is in the set;
///   described anew where weight, priority, zone or labels have changed.
/// - What sources say is **bounded**: in number and in size; the rest is not taken.
///
/// ```
/// use towpath_discover::Directory;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let directory = Directory::new();
/// let watch = directory.watch("mcp://10.0.0.7:8080,10.0.0.8:8080")?;
/// let found = watch.settled().await?;
/// assert_eq!(found.endpoints().len(), 2);
/// assert_eq!(&**found.endpoints()[0].address(), "mcp://10.0.0.7:8080");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
    sources: Sources,
    live: Live<DiscoverConfig>,
    observe: Observer,
    names: Mutex<HashMap<Arc<str>, Weak<Interest>>>,
}

/// Settings of a [`Directory`].
#[derive(Clone)]
#[must_use = "a builder does nothing unless it is built"]
pub struct DirectoryBuilder {
    sources: Sources,
    live: Live<DiscoverConfig>,
    observe: Observer,
}

impl Directory {
    /// A directory with the [usual sources](Sources::new) and settings.
    pub fn new() -> Self {
        Directory::builder().build()
    }

    /// One with others.
    pub fn builder() -> DirectoryBuilder {
        DirectoryBuilder { sources: Sources::new(), live: Live::default(), observe: Arc::new(()) }
    }

    /// Follows the endpoints of a URL: see [`Sources`]. Nothing is asked before the watch is polled.
    ///
    /// # Errors
    /// If the URL names no source.
    pub fn watch(&self, url: impl AsRef<str>) -> Result<Watch, InvalidTarget> {
        let url = url.as_ref();
        if let Some(known) = self.find(url) {
            return Ok(Watch::new(known));
        }
        // Foreign code: not under the lock. Of two that come here at a time, one finds that the other was faster.
        let source = self.0.sources.open(url)?;
        Ok(self.take(url.into(), source))
    }

    /// Follows what a source of one's own says. Another watch of the same name shares the source that is there
    /// already, and `source` is dropped.
    pub fn watch_source(&self, name: impl Into<Arc<str>>, source: impl Source) -> Watch {
        self.take(name.into(), BoxSource::new(source))
    }

    /// The names that are watched, in order.
    pub fn names(&self) -> Vec<NameHandle> {
        let interests: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        let mut names: Vec<_> = interests.iter().map(|one| NameHandle::new(one.shared().clone())).collect();
        names.sort_by(|a, b| a.name().cmp(b.name()));
        names
    }

    /// The settings, to be replaced while it runs.
    pub fn config(&self) -> &Live<DiscoverConfig> {
        &self.0.live
    }

    /// The sources that it knows.
    pub fn sources(&self) -> &Sources {
        &self.0.sources
    }

    fn find(&self, name: &str) -> Option<Arc<Interest>> {
        self.lock().get(name).and_then(Weak::upgrade)
    }

    fn take(&self, name: Arc<str>, source: BoxSource) -> Watch {
        let shared = Shared::new(name.clone(), source, self.0.live.clone(), self.0.observe.clone());
        let (inner, own) = (Arc::downgrade(&self.0), name.clone());
        let interest = Interest::new(shared, move || {
            let Some(inner) = inner.upgrade() else { return };
            let mut names = inner.names.lock().unwrap_or_else(PoisonError::into_inner);
            if names.get(&own).is_some_and(|known| known.strong_count() == 0) {
                names.remove(&own);
            }
        });
        let mut names = self.lock();
        let known = names.get(&name).and_then(Weak::upgrade);
        if known.is_none() {
            names.insert(name, Arc::downgrade(&interest));
        }
        // What is not taken is dropped without the lock, which it takes in turn.
        drop(names);
        Watch::new(known.unwrap_or(interest))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<Interest>>> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Directory {
    fn default() -> Self {
        Directory::new()
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("names", &self.names()).finish_non_exhaustive()
    }
}

impl DirectoryBuilder {
    /// The sources that URLs can name.
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// How soon, and how much of what a source says is believed: a value, or one that can be replaced.
    pub fn config(mut self, config: impl Into<Live<DiscoverConfig>>) -> Self {
        self.live = config.into();
        self
    }

    /// Who hears of what happens. It is called by the task that asks the source, and must neither block nor panic.
    pub fn observe(mut self, observe: impl Observe<DiscoverEvent> + Send + Sync + 'static) -> Self {
        self.observe = Arc::new(observe);
        self
    }

    /// The directory.
    pub fn build(self) -> Directory {
        let DirectoryBuilder { sources, live, observe } = self;
        Directory(Arc::new(Inner { sources, live, observe, names: Mutex::default() }))
    }
}

impl fmt::Debug for DirectoryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryBuilder").field("sources", &self.sources).finish_non_exhaustive()
    }
}
