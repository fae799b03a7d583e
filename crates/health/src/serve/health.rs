//! What a server says of itself, as a handle.

use super::{
    check::Check,
    config::ReportConfig,
    readiness::{Readiness, ReadyState},
    report::{CheckReport, Report},
};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};
use towpath_core::{BoxError, Live};

/// Whether a server is alive, and whether it should get calls. Clones are the same.
///
/// - **Alive** (`/livez`): that this is answered at all shows that the process turns; beyond that, the live checks, if there are
///   any. Who kills what is not alive should be told of nothing here that a restart does not heal.
/// - **Ready** (`/readyz`): its [`Readiness`] says so, and all ready checks are fine. While it drains it is not.
///
/// A check is an async closure of the user. It is made when somebody asks, in a task of its own, once for all who ask at a
/// time, within a [time](ReportConfig), and not again before its outcome is a second old: a storm of questions costs
/// one check. All checks of a report are made at a time.
///
/// Beware of a ready check of something that all servers share, such as a database: when that fails, all of them are out at
/// a time, and clients see no server instead of an error that says why. [`note`](HealthBuilder::note) shows such a thing and
/// takes nobody out.
///
/// ```
/// use towpath_health::{Health, ReportStatus};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let health = Health::builder()
///     .ready_check("cache", || async { Ok::<_, std::io::Error>(()) })
///     .note("database", || async { Err("replication is behind") })
///     .build();
/// assert!(health.ready().await.is_ok());
///
/// health.readiness().drain();
/// assert_eq!(health.ready().await.status, ReportStatus::Draining);
/// assert!(health.live().await.is_ok());
/// # }
/// ```
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    readiness: Readiness,
    live_checks: Vec<Check>,
    ready_checks: Vec<Check>,
    config: Live<ReportConfig>,
}

/// Settings of a [`Health`].
#[must_use = "a builder does nothing unless it is built"]
pub struct HealthBuilder {
    readiness: Readiness,
    live_checks: Vec<Check>,
    ready_checks: Vec<Check>,
    config: Live<ReportConfig>,
}

impl Health {
    /// Without checks: alive, and ready as its [`Readiness`] says.
    pub fn new() -> Self {
        Health::builder().build()
    }

    /// With checks.
    pub fn builder() -> HealthBuilder {
        HealthBuilder {
            readiness: Readiness::ready(),
            live_checks: Vec::new(),
            ready_checks: Vec::new(),
            config: Live::default(),
        }
    }

    /// The switch, for whoever starts and drains the server.
    pub fn readiness(&self) -> &Readiness {
        &self.0.readiness
    }

    /// The settings of the checks, to be replaced while they are used.
    pub fn config(&self) -> &Live<ReportConfig> {
        &self.0.config
    }

    /// Whether it is alive.
    ///
    /// Cancel safety: a check that was begun is made to its end.
    pub async fn live(&self) -> Report {
        Report::new(ReadyState::Ready, self.ask(&self.0.live_checks).await)
    }

    /// Whether it should get calls. When it says itself that it should not, no checks are made: those that are shown
    /// are what was known.
    ///
    /// Cancel safety: a check that was begun is made to its end.
    pub async fn ready(&self) -> Report {
        let checks = match self.0.readiness.state() {
            ReadyState::Ready => self.ask(&self.0.ready_checks).await,
            _ => self.0.ready_checks.iter().map(Check::peek).collect(),
        };
        // It may have begun to drain meanwhile.
        Report::new(self.0.readiness.state(), checks)
    }

    async fn ask(&self, checks: &[Check]) -> Vec<CheckReport> {
        let config = self.0.config.get();
        all(checks.iter().map(|check| check.ask(&config))).await;
        checks.iter().map(Check::peek).collect()
    }
}

/// Waits for all of a few futures, at a time.
async fn all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut waiting: Vec<Pin<Box<_>>> = futures.map(Box::pin).collect();
    poll_fn(|cx| {
        waiting.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

impl Default for Health {
    fn default() -> Self {
        Health::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { readiness, live_checks, ready_checks, config } = &*self.0;
        let show = |checks: &[Check]| checks.iter().map(Check::peek).collect::<Vec<_>>();
        f.debug_struct("Health")
            .field("readiness", readiness)
            .field("live_checks", &show(live_checks))
            .field("ready_checks", &show(ready_checks))
            .field("config", config)
            .finish()
    }
}

impl HealthBuilder {
    /// The switch, where somebody has one already. Without it: a new one, ready from the start.
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    /// How long checks may take, and for how long they are good: a value, or one that can be replaced.
    pub fn config(mut self, config: impl Into<Live<ReportConfig>>) -> Self {
        self.config = config.into();
        self
    }

    /// While this fails, the server should get no calls.
    pub fn ready_check<F, Fut, E>(mut self, name: impl Into<Box<str>>, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.ready_checks.push(Check::new(name.into(), true, check));
        self
    }

    /// Shown among the ready checks, and of no consequence.
    pub fn note<F, Fut, E>(mut self, name: impl Into<Box<str>>, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.ready_checks.push(Check::new(name.into(), false, check));
        self
    }

    /// While this fails, the server had better be restarted.
    pub fn live_check<F, Fut, E>(mut self, name: impl Into<Box<str>>, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.live_checks.push(Check::new(name.into(), true, check));
        self
    }

    /// The handle.
    pub fn build(self) -> Health {
        let HealthBuilder { readiness, live_checks, ready_checks, config } = self;
        Health(Arc::new(Inner { readiness, live_checks, ready_checks, config }))
    }
}

impl fmt::Debug for HealthBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthBuilder").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}
