//! Where everything is counted.

use crate::{
    acquire::Waits,
    calls::{Book, Role},
    names::{ALL, Kind, Metric},
    observe::Observer,
    registry::{OTHER, Registry},
    traffic::{Side, Traffics},
    watch::{Gauges, Watches, Watching},
};
use metrics::{Recorder, SharedString, Unit};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use towpath_transport::Traffic;

/// Where layers and observers count, and what adds it up. Clones are the same.
///
/// A program has one, most often. It passes everything on to a recorder of the `metrics` facade: to the one that
/// is installed, from when it is, or to [one of its own](Metrics::to).
#[derive(Clone)]
pub struct Metrics(pub(crate) Arc<Hub>);

/// How much there may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsOptions {
    /// How many sets of labels a metric may have, for each target where it is one of calls; 500 by default, at most 100 000.
    /// All others are counted together, as `other`. One that is counted in takes some 1.5 KiB on a machine of two
    /// processors.
    pub max_series: usize,
    /// How many targets there may be (clients and servers that have a name of their own); 50 by default, at most 10 000. All
    /// others are `other`.
    pub max_targets: usize,
}

/// Valid [`MetricsOptions`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "MetricsOptions", into = "MetricsOptions")]
pub struct MetricsConfig(MetricsOptions);

/// Why options are not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidMetrics {
    /// `max_series` is 0, or above 100 000.
    MaxSeries,
    /// `max_targets` is 0, or above 10 000.
    MaxTargets,
}

pub(crate) struct Hub {
    config: MetricsOptions,
    /// `None`: the one that is installed.
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
    /// Whether there is a recorder that does something. Once there is, it stays.
    on: AtomicBool,
    described: AtomicBool,
    /// Whether calls are shown by somebody who reads them here: then no recorder is told.
    pub(crate) shown: AtomicBool,
    registry: Registry,
    books: Mutex<Vec<Arc<Book>>>,
    watches: Arc<Watches>,
    traffics: Traffics,
    pub(crate) waits: Waits,
}

impl Default for MetricsOptions {
    fn default() -> Self {
        MetricsOptions { max_series: 500, max_targets: 50 }
    }
}

impl MetricsConfig {
    /// Checks them.
    ///
    /// # Errors
    /// Which one is out of bounds.
    pub fn try_new(options: MetricsOptions) -> Result<Self, InvalidMetrics> {
        match options {
            MetricsOptions { max_series: 1..=100_000, max_targets: 1..=10_000 } => Ok(MetricsConfig(options)),
            MetricsOptions { max_series: 1..=100_000, .. } => Err(InvalidMetrics::MaxTargets),
            _ => Err(InvalidMetrics::MaxSeries),
        }
    }

    /// What they are.
    pub fn options(&self) -> &MetricsOptions {
        &self.0
    }
}

impl TryFrom<MetricsOptions> for MetricsConfig {
    type Error = InvalidMetrics;

    fn try_from(options: MetricsOptions) -> Result<Self, InvalidMetrics> {
        MetricsConfig::try_new(options)
    }
}

impl From<MetricsConfig> for MetricsOptions {
    fn from(config: MetricsConfig) -> Self {
        config.0
    }
}

impl fmt::Display for InvalidMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidMetrics::MaxSeries => "max_series must be from 1 to 100000",
            InvalidMetrics::MaxTargets => "max_targets must be from 1 to 10000",
        })
    }
}

impl std::error::Error for InvalidMetrics {}

impl Metrics {
    /// For the recorder that is installed in this process, now or later. Until then nothing is counted.
    ///
    /// A recorder without any state of its own (a type of size 0) is taken for the facade's one that does nothing; give such
    /// a one to [`to`](Self::to).
    pub fn new() -> Self {
        Metrics::with(MetricsConfig::default())
    }

    /// The same, with other bounds.
    pub fn with(config: MetricsConfig) -> Self {
        Metrics(Arc::new(Hub::new(config, None)))
    }

    /// For a recorder of its own, whatever is installed.
    pub fn to(recorder: impl Recorder + Send + Sync + 'static) -> Self {
        Metrics::to_with(recorder, MetricsConfig::default())
    }

    /// The same, with other bounds.
    pub fn to_with(recorder: impl Recorder + Send + Sync + 'static, config: MetricsConfig) -> Self {
        Metrics(Arc::new(Hub::new(config, Some(Arc::new(recorder)))))
    }

    /// Who counts what the layers of a client or a server decide; `target` is which one, a name out of a small set.
    pub fn observer(&self, target: impl Into<Arc<str>>) -> Observer {
        let target = self.0.target(target.into());
        Observer::new(self.clone(), target)
    }

    /// Where a client's connections are to be counted: the same for all of one target.
    pub fn client_traffic(&self, target: impl Into<Arc<str>>) -> Traffic {
        self.0.traffics.of(Side::Client, self.0.target(target.into()))
    }

    /// Where a server's connections are to be counted: the same for all of one target.
    pub fn server_traffic(&self, target: impl Into<Arc<str>>) -> Traffic {
        self.0.traffics.of(Side::Server, self.0.target(target.into()))
    }

    /// Has `read` called with each [`refresh`](Self::refresh), to set gauges from handles, until what is returned is
    /// dropped. It is called without a lock, and must not block.
    pub fn watch(
        &self,
        target: impl Into<Arc<str>>,
        read: impl Fn(&Gauges<'_>) + Send + Sync + 'static,
    ) -> Watching {
        let target = self.0.target(target.into());
        self.0.watches.add(target, Arc::new(read))
    }

    /// Reads the gauges, adds up what was counted of calls, and passes it on to the recorder. The Prometheus route does
    /// so itself; with another recorder, call it as often as that one reports, every few seconds: each call that
    /// has ended since is one value for it then.
    pub fn refresh(&self) {
        let hub = &*self.0;
        if !hub.on() {
            return;
        }
        for (target, read) in hub.watches.all() {
            read(&Gauges { hub, target: &target });
        }
        let shown = hub.shown.load(Relaxed);
        hub.traffics.refresh(hub);
        if !shown {
            hub.waits.refresh(hub);
        }
        for book in hub.books() {
            book.refresh(hub, !shown);
        }
    }
}

impl Hub {
    fn new(config: MetricsConfig, recorder: Option<Arc<dyn Recorder + Send + Sync>>) -> Self {
        let MetricsConfig(config) = config;
        Hub {
            registry: Registry::new(config.max_series),
            config,
            recorder,
            on: AtomicBool::new(false),
            described: AtomicBool::new(false),
            shown: AtomicBool::new(false),
            books: Mutex::default(),
            watches: Arc::default(),
            traffics: Traffics::default(),
            waits: Waits::default(),
        }
    }

    /// Whether there is anybody to count for.
    #[inline]
    pub(crate) fn on(&self) -> bool {
        self.on.load(Relaxed) || self.look()
    }

    #[inline(never)]
    fn look(&self) -> bool {
        let on = self.recorder.is_some() || metrics::with_recorder(|recorder| size_of_val(recorder) > 0);
        if on {
            self.begin();
        }
        on
    }

    #[cold]
    fn begin(&self) {
        if !self.described.swap(true, Relaxed) {
            self.recorder(|recorder| ALL.iter().for_each(|metric| describe(recorder, metric)));
        }
        self.on.store(true, Relaxed);
    }

    fn recorder<T>(&self, tell: impl FnOnce(&dyn Recorder) -> T) -> T {
        match &self.recorder {
            Some(recorder) => tell(&**recorder),
            None => metrics::with_recorder(tell),
        }
    }

    /// Counts one. Labels in the order of the metric's.
    pub(crate) fn count(&self, metric: &Metric, labels: &[&str], n: u64) {
        self.recorder(|recorder| self.registry.counter(recorder, metric, labels)).increment(n);
    }

    pub(crate) fn count_to(&self, metric: &Metric, labels: &[&str], total: u64) {
        self.recorder(|recorder| self.registry.counter(recorder, metric, labels)).absolute(total);
    }

    pub(crate) fn set(&self, metric: &Metric, labels: &[&str], value: f64) {
        self.recorder(|recorder| self.registry.gauge(recorder, metric, labels)).set(value);
    }

    pub(crate) fn record(&self, metric: &Metric, labels: &[&str], value: f64) {
        self.recorder(|recorder| self.registry.histogram(recorder, metric, labels)).record(value);
    }

    /// A handle that is kept by who counts.
    pub(crate) fn histogram(&self, metric: &Metric, labels: &[&str]) -> metrics::Histogram {
        self.recorder(|recorder| crate::registry::histogram(recorder, metric, labels))
    }

    /// The name, if there is room for it.
    fn target(&self, target: Arc<str>) -> Arc<str> {
        self.watches.target(target, self.config.max_targets).unwrap_or_else(|| OTHER.into())
    }

    pub(crate) fn books(&self) -> Vec<Arc<Book>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where calls of this kind are counted: the same for all layers of one target.
    pub(crate) fn book(&self, role: Role, target: Arc<str>) -> Arc<Book> {
        let target = self.target(target);
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(book) = books.iter().find(|book| book.role == role && book.target == target) {
            return book.clone();
        }
        let book = Arc::new(Book::new(role, target, self.config.max_series));
        books.push(book.clone());
        book
    }
}

fn describe(recorder: &dyn Recorder, metric: &Metric) {
    let unit = match metric.name {
        name if name.ends_with("_seconds") => Some(Unit::Seconds),
        name if name.ends_with("_bytes") || name.ends_with("_bytes_total") => Some(Unit::Bytes),
        _ => Some(Unit::Count),
    };
    let help = SharedString::const_str(metric.help);
    match metric.kind {
        Kind::Counter => recorder.describe_counter(metric.name.into(), unit, help),
        Kind::Gauge => recorder.describe_gauge(metric.name.into(), unit, help),
        Kind::Histogram => recorder.describe_histogram(metric.name.into(), unit, help),
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("on", &self.0.on)
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}
