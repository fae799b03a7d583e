//! The registry as a handle.

use crate::{
    Happened, RegistryConfig, RegistryEvent, RegistryFault, ServiceSummary,
    book::{Book, Listing, Seen},
    client::RegistryClient,
    router,
};
use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::sleep_until};
use towpath_core::{Clock, ErrorKind, Fault, Live, Observe};
use towpath_discover::Instance;
use towpath_transport::router::Router;

/// A new registry is not complete before everybody had this long to come back, however short leases are: who was connected to
/// the one before tries again after backoffs, of up to 5 s for a connection and as much for the next heartbeat.
const RETURN: Duration = Duration::from_secs(20);

/// An embedded registry: services [register](Self::register) under a lease that heartbeats renew, clients
/// [watch](Self::client). Clones are the same one.
///
/// In one process it is used by this handle. For others it is served over MCP by its [router](Self::router);
/// `docs/registry.md` says what is said there, for programs in other languages. It has no task, and keeps nothing on
/// disk: after a restart everybody registers again within a heartbeat, and until a lease's time has passed,
/// and 20 s at least, it says that its lists may not be complete, so that nobody takes those who are missing for gone.
///
/// What registers is not trusted with more memory than the [config](RegistryConfig) says. Who may register at all is for
/// a layer around the router to say (`towpath-auth`, pattern `Registry.*`).
///
/// ```
/// use towpath_discover::Instance;
/// use towpath_registry::Registry;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), towpath_core::Fault> {
/// let registry = Registry::new();
/// let lease = registry.register("orders", Instance::new("mcp://10.0.0.7:8080"), None)?;
/// registry.heartbeat(&lease)?;
/// assert_eq!(registry.list("orders").len(), 1);
/// assert!(registry.deregister(&lease));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    live: Live<RegistryConfig>,
    observe: Arc<dyn Observe<RegistryEvent> + Send + Sync>,
    state: Mutex<State>,
}

struct State {
    book: Book,
    /// Who waits for news of a service.
    watched: HashMap<Arc<str>, Watched>,
    watches: usize,
    draining: bool,
}

#[derive(Default)]
struct Watched {
    news: Arc<Notify>,
    watches: usize,
}

/// The name of a lease: 32 hexadecimal digits. Who has it can end it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LeaseId(u128);

impl Registry {
    /// A registry with the default config.
    pub fn new() -> Self {
        Registry::with(RegistryConfig::default(), ())
    }

    /// A registry with a config, which can be one that is replaced while it runs, and one who hears what happens. That
    /// one is called by whoever registers or asks, and must neither block nor panic.
    pub fn with(
        config: impl Into<Live<RegistryConfig>>,
        observe: impl Observe<RegistryEvent> + Send + Sync + 'static,
    ) -> Self {
        let live = config.into();
        let complete_at = Clock::now() + live.get().lease().max(RETURN);
        let book = Book::new(format!("{:016x}", fastrand::u64(..)).into(), complete_at);
        let state = State { book, watched: HashMap::new(), watches: 0, draining: false };
        Registry(Arc::new(Inner { live, observe: Arc::new(observe), state: Mutex::new(state) }))
    }

    /// Registers an instance, until a lease's time has passed without a heartbeat. The instance's
    /// [key](Instance::key) is its id: whoever registers under the same one replaces it. Given the lease that it has
    /// already, it is described anew and keeps it.
    ///
    /// # Errors
    /// `REG-E-001` if a name or a size is out of bounds, `REG-W-003` if as much is registered as may be.
    pub fn register(
        &self,
        service: impl Into<Arc<str>>,
        instance: Instance,
        lease: Option<&LeaseId>,
    ) -> Result<LeaseId, Fault> {
        let config = self.0.live.get();
        let now = Clock::now();
        let leases = (lease.map(|lease| lease.0), fastrand::u128(..));
        self.change(|book| match book.register(service.into(), instance, leases, now, &config) {
            Ok((lease, event)) => (Ok(LeaseId(lease)), event),
            Err(refused) => (Err(refused), None),
        })
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// `REG-E-002` if there is none such: it has run out, or is of a registry before this one.
    pub fn heartbeat(&self, lease: &LeaseId) -> Result<(), Fault> {
        let config = self.0.live.get();
        let now = Clock::now();
        self.change(|book| (book.heartbeat(lease.0, now, &config), None))
    }

    /// Takes the instance of a lease out. Says whether there was one.
    pub fn deregister(&self, lease: &LeaseId) -> bool {
        self.change(|book| {
            let event = book.deregister(lease.0);
            (event.is_some(), event)
        })
    }

    /// The instances of a service.
    pub fn list(&self, service: &str) -> Vec<Instance> {
        self.listing(service).instances
    }

    /// The services of which something is registered, by name.
    pub fn services(&self) -> Vec<ServiceSummary> {
        self.change(|book| (book.services(), None))
    }

    /// Whether it has been there long enough for everybody to have registered again.
    pub fn is_complete(&self) -> bool {
        self.lock().book.seen(Clock::now()).complete
    }

    /// Answers all that watch at once, and all that come: so that a server that drains need not wait for them.
    pub fn drain(&self) {
        let mut state = self.lock();
        state.draining = true;
        let everybody: Vec<_> = state.watched.values().map(|watched| watched.news.clone()).collect();
        drop(state);
        everybody.iter().for_each(|news| news.notify_waiters());
    }

    /// The methods of a server, to be served alone or merged with others.
    pub fn router(&self) -> Router {
        router::router(self.clone())
    }

    /// A client within this process: for a [`Registration`](crate::Registration), or a
    /// [`RegistrySource`](crate::RegistrySource).
    pub fn client(&self) -> RegistryClient<Router> {
        RegistryClient::new(self.router())
    }

    /// How long leases last, and how much is taken; to be replaced while it runs. Leases that are held already last as
    /// long as they were given.
    pub fn config(&self) -> &Live<RegistryConfig> {
        &self.0.live
    }

    pub(crate) fn listing(&self, service: &str) -> Listing {
        let now = Clock::now();
        self.change(|book| (book.list(service, now), None))
    }

    /// Waits until there is news of a service since then, but not longer than `wait`.
    ///
    /// There is no task for leases that run out: whoever waits wakes up for the next one.
    pub(crate) async fn watch(
        &self,
        service: &Arc<str>,
        since: &Seen,
        wait: Duration,
    ) -> Result<Listing, Fault> {
        let config = self.0.live.get();
        let until = Clock::now() + wait.min(config.max_wait());
        let place = self.place(service, config.max_watches())?;
        loop {
            let notified = place.news.notified();
            tokio::pin!(notified);
            // From here on a change wakes; one before is seen below.
            notified.as_mut().enable();
            let now = Clock::now();
            let (news, due) = self.change(|book| ((book.news(service, since, now), book.due(now)), None));
            if let Some(news) = news {
                return Ok(news);
            }
            if now >= until || self.lock().draining {
                let seen = Seen { complete: self.is_complete(), ..since.clone() };
                return Ok(Listing { seen, full: false, instances: Vec::new(), removed: Vec::new() });
            }
            tokio::select! {
                () = notified => {}
                () = sleep_until(due.map_or(until, |due| due.min(until))) => {}
            }
        }
    }

    /// A place among those who wait for news of a service.
    fn place(&self, service: &Arc<str>, most: usize) -> Result<Place<'_>, Fault> {
        let mut state = self.lock();
        if state.watches >= most {
            let why = format!("the registry has too many watches: max_watches is {most}");
            return Err(Fault::new(ErrorKind::Overloaded, why).with_not_processed(true));
        }
        state.watches += 1;
        let watched = state.watched.entry(service.clone()).or_default();
        watched.watches += 1;
        let news = watched.news.clone();
        Ok(Place { registry: self, service: service.clone(), news })
    }

    /// Changes the book, and tells whoever has to hear of it. Leases whose time is up go first.
    fn change<T>(&self, change: impl FnOnce(&mut Book) -> (T, Option<RegistryEvent>)) -> T {
        let mut state = self.lock();
        let mut events = state.book.expire(Clock::now());
        let (done, event) = change(&mut state.book);
        events.extend(event);
        let waiting = |event: &RegistryEvent| Some(state.watched.get(&event.service)?.news.clone());
        let news: Vec<_> = events.iter().filter_map(waiting).collect();
        drop(state);
        for event in &events {
            let RegistryEvent { service, instance, what } = event;
            match what {
                Happened::Expired => {
                    tracing::warn!(%service, address = %instance.address(), "registry: no heartbeat any more: taken out");
                }
                _ => tracing::debug!(%service, address = %instance.address(), ?what, "registry"),
            }
            self.0.observe.observe(event);
        }
        news.iter().for_each(|news| news.notify_waiters());
        done
    }

    /// Nothing foreign is called with it locked, and nothing awaited.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a watch until it is dropped.
struct Place<'a> {
    registry: &'a Registry,
    service: Arc<str>,
    news: Arc<Notify>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        state.watches -= 1;
        if let Some(watched) = state.watched.get_mut(&self.service) {
            watched.watches -= 1;
            if watched.watches == 0 {
                state.watched.remove(&self.service);
            }
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Registry::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("services", &self.services()).finish_non_exhaustive()
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Shown in part: who has it can end the lease.
impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({:08x}…)", self.0 >> 96)
    }
}

impl FromStr for LeaseId {
    type Err = Fault;

    /// What is no lease is an unknown one.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let digits = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        match u128::from_str_radix(text, 16) {
            Ok(lease) if digits => Ok(LeaseId(lease)),
            _ => Err(RegistryFault::UnknownLease.fault()),
        }
    }
}
