//! All metrics as text for Prometheus.

use crate::{
    Metrics, MetricsConfig,
    acquire::Waited,
    calls::Book,
    names::{Kind, Metric, POOL_ACQUIRE},
    timing::{BOUNDS, Timing},
};
use axum::{Router, http::header, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// All metrics as text for Prometheus. Clones are the same.
///
/// ```
/// use towpath_metrics::{MetricsLayer, Prometheus};
///
/// let prometheus = Prometheus::new();
/// let layer = MetricsLayer::server(prometheus.metrics(), "");
/// let app: axum::Router = axum::Router::new().merge(prometheus.router());
/// assert!(prometheus.render().contains("\ntowpath_server_calls_in_flight 0\n"));
/// # drop((layer, app));
/// ```
///
/// Histograms of calls have the buckets of [`BOUNDS`](crate::BOUNDS), and so has every other histogram whose name ends in
/// `_seconds`.
#[derive(Clone)]
pub struct Prometheus {
    handle: PrometheusHandle,
    metrics: Metrics,
}

impl Prometheus {
    /// Of a recorder that is installed in this process: what other crates count through the facade is shown as well.
    ///
    /// # Errors
    /// If a recorder is installed already.
    pub fn install() -> io::Result<Self> {
        Prometheus::install_with(MetricsConfig::default())
    }

    /// The same, with other bounds.
    ///
    /// # Errors
    /// If a recorder is installed already.
    pub fn install_with(config: MetricsConfig) -> io::Result<Self> {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        let taken =
            |_| io::Error::new(io::ErrorKind::AlreadyExists, "a recorder of metrics is installed already");
        metrics::set_global_recorder(recorder).map_err(taken)?;
        Ok(Prometheus::of(handle, Metrics::with(config)))
    }

    /// Of a recorder of its own, for what is counted by [`metrics`](Self::metrics) alone.
    pub fn new() -> Self {
        Prometheus::with(MetricsConfig::default())
    }

    /// The same, with other bounds.
    pub fn with(config: MetricsConfig) -> Self {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        Prometheus::of(handle, Metrics::to_with(recorder, config))
    }

    fn of(handle: PrometheusHandle, metrics: Metrics) -> Self {
        metrics.0.shown.store(true, Relaxed);
        Prometheus { handle, metrics }
    }

    /// Where layers are to count.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// All that there is, in Prometheus' text format (version 0.0.4). It is collected here and now.
    pub fn render(&self) -> String {
        self.metrics.refresh();
        self.handle.run_upkeep();
        let mut text = self.handle.render();
        calls(&self.metrics, &mut text);
        waits(&self.metrics.0.waits.all(), &mut text);
        text
    }

    /// `GET /metrics`, to be merged into or nested in any router.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        Router::new().nest("/metrics", self.page())
    }

    /// The same at `/`, to be nested where one likes.
    pub fn page<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let prometheus = self.clone();
        let show = async move || {
            let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            (kind, prometheus.render()).into_response()
        };
        Router::new().route("/", get(show))
    }
}

fn builder() -> PrometheusBuilder {
    let suffix = metrics_exporter_prometheus::Matcher::Suffix("_seconds".into());
    let builder = PrometheusBuilder::new();
    // Refused only if there are no bounds.
    builder.set_buckets_for_metric(suffix, &BOUNDS).unwrap_or_default()
}

/// The histograms of calls, which are kept here: they go to no recorder, so that a scrape does not pay for each call that
/// was made since the last one.
fn calls(metrics: &Metrics, text: &mut String) {
    let mut by_metric: BTreeMap<&str, (&Metric, Vec<Arc<Book>>)> = BTreeMap::new();
    for book in metrics.0.books() {
        let metric = book.metric();
        by_metric.entry(metric.name).or_insert((metric, Vec::new())).1.push(book);
    }
    for (metric, books) in by_metric.values() {
        let mut lines = String::new();
        for book in books {
            book.each(|labels, timing, _| {
                // Writing into a string does not fail.
                let _ = histogram(&mut lines, metric, labels, timing);
            });
        }
        put(metric, &lines, text);
    }
}

/// How long calls waited for connections, which is kept here as well.
fn waits(all: &[Arc<Waited>], text: &mut String) {
    let mut lines = String::new();
    for waited in all.iter().filter(|waited| waited.timing.count() > 0) {
        let _ = histogram(&mut lines, &POOL_ACQUIRE, &[&waited.target], &waited.timing);
    }
    put(&POOL_ACQUIRE, &lines, text);
}

fn put(metric: &Metric, lines: &str, text: &mut String) {
    if !lines.is_empty() {
        let (name, kind) = (metric.name, Kind::Histogram.as_str());
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n{lines}", metric.help);
    }
}

fn histogram(to: &mut String, metric: &Metric, values: &[&str], timing: &Timing) -> fmt::Result {
    let mut labels = String::new();
    for (name, value) in metric.labels.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
        let comma = if labels.is_empty() { "" } else { "," };
        write!(labels, "{comma}{name}=\"")?;
        value.chars().try_for_each(|letter| match letter {
            '\\' => labels.write_str("\\\\"),
            '"' => labels.write_str("\\\""),
            '\n' => labels.write_str("\\n"),
            letter => labels.write_char(letter),
        })?;
        labels.push('"');
    }
    let name = metric.name;
    let (mut count, mut nanos) = (0, 0);
    let bounds = BOUNDS.iter().map(|bound| Some(*bound)).chain([None]);
    for (bucket, bound) in timing.buckets().into_iter().zip(bounds) {
        count += bucket.count;
        nanos += bucket.nanos;
        match bound {
            Some(bound) => writeln!(to, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}")?,
            None => writeln!(to, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}")?,
        }
    }
    writeln!(to, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {count}", nanos as f64 / 1e9)
}

impl Default for Prometheus {
    fn default() -> Self {
        Prometheus::new()
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}
