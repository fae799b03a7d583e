//! Metrics of calls, attempts and policies, over the `metrics` facade.
//!
//! # What it does
//! - **Counts calls**: [`MetricsLayer`] counts and times calls, attempts, and what a server answers, by method and outcome,
//!   under OpenTelemetry's names where there are any. What an outcome means is for
//!   [`Classify`](towpath_core::Classify) to say, as in all other layers.
//! - **Counts decisions**: an [`Observer`] listens to the events of retry, breakers, limits, fallback, timeouts, dedupe, auth,
//!   balancer, pool, discovery and health checks.
//! - **Counts traffic**: connections, bytes, frames and what could not be decoded, by
//!   [`client_traffic`](Metrics::client_traffic) and [`server_traffic`](Metrics::server_traffic).
//! - **Reads gauges** when they are asked for: what is in flight, what is left of a retry budget, how old the list of endpoints
//!   is, from the handles that [`Metrics::watch`] was given.
//! - **Tells of single calls**: [`AccessLayer`] writes log lines ([`AccessLog`]), and shows calls live to whoever looks ([`Tap`]).
//! - **Shows them**: feature `prometheus` has a `Prometheus` with all of it as text, and as an axum route.
//!
//! All metrics are listed in [`ALL`], with their units and labels, and in `docs/metrics.md`.
//!
//! # What it costs
//! A call is counted in cells that are its thread's own, by plain loads and stores: no lock, no locked instruction, no
//! allocation. They are added up by [`Metrics::refresh`], which the Prometheus route calls when it is scraped; with another
//! recorder, call it as often as that one reports. Where no recorder is installed nothing is counted, and no clock is
//! read.
//!
//! # Labels are bounded
//! Each metric has at most [`MetricsOptions::max_series`] sets of labels; those that come later are counted together in one
//! whose labels are `other`. What strangers make up does not get that far: a method which a server does not know is
//! `other` from the start.
//!
//! # What it never does
//! It changes no answer and no error, spawns nothing, and waits for nothing.
//!
//! # Where it stands
//! [`MetricsLayer::client`] outermost (but for trace and the deadline), [`MetricsLayer::attempt`] below retry,
//! [`MetricsLayer::server`] outermost on a server.
//!
//! # Example
//! ```
//! # use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
//! use towpath_core::{BoxError, Request, Response};
//! use towpath_metrics::{Metrics, MetricsLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[derive(Default, Clone)]
//! # struct Own(std::sync::Arc<std::sync::Mutex<Vec<String>>>);
//! # struct Series(Own, String);
//! # impl HistogramFn for Series {
//! #     fn record(&self, _: f64) { self.0.0.lock().unwrap().push(self.1.clone()) }
//! # }
//! # impl Recorder for Own {
//! #     fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
//! #     fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
//! #     fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
//! #     fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter { Counter::noop() }
//! #     fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge { Gauge::noop() }
//! #     fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
//! #         let labels: Vec<_> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
//! #         Histogram::from_arc(std::sync::Arc::new(Series(self.clone(), format!("{} {}", key.name(), labels.join(" ")))))
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // Most often the one that is installed: Metrics::new(). Here, one of our own.
//! # let recorder = Own::default();
//! # let seen = recorder.clone();
//! let metrics = Metrics::to(recorder);
//! let service = ServiceBuilder::new()
//!     .layer(MetricsLayer::client(&metrics, "orders"))
//!     .service(service_fn(|_: Request| async { Ok::<_, BoxError>(Response::new("found".into())) }));
//!
//! let _: Response = service.oneshot(Request::new("Shelf.Find", "".into())).await?;
//! metrics.refresh();
//! # assert_eq!(*seen.0.lock().unwrap(), ["rpc_client_call_duration_seconds target=orders rpc_method=Shelf.Find outcome=ok"]);
//! # Ok(())
//! # }
//! ```

mod access;
mod acquire;
mod calls;
mod hub;
mod names;
mod observe;
#[cfg(feature = "prometheus")]
mod prometheus;
mod registry;
mod table;
mod timing;
mod traffic;
mod watch;

pub use access::{
    Access, AccessFuture, AccessLayer, AccessLog, AccessLogConfig, AccessLogOptions, Ended, InvalidAccessLog,
    Listen, TARGET, Tap, Tapped, Tapping,
};
pub use calls::{Calls, Fit, Hooks, MetricsLayer, ResponseFuture, Role};
pub use hub::{InvalidMetrics, Metrics, MetricsConfig, MetricsOptions};
pub use names::{ALL, Kind, Metric};
pub use observe::Observer;
#[cfg(feature = "prometheus")]
pub use prometheus::Prometheus;
pub use timing::BOUNDS;
pub use watch::{Gauges, Watching};
