//! Traces of calls: each call and each attempt has its place in a tree that spans processes, and those that matter are
//! recorded.
//!
//! # What it does
//! - **Propagates**, whether anybody records or not: a call begins a trace or goes on with the one that it came with, and
//!   every call, every attempt and every handler is a span with an id of its own (but for attempts that nobody is to know
//!   of: they keep the one of their call). Within a process the trace is in the
//!   [`Context`](towpath_core::Context), so that it comes through retries, hedges, pools and spawns; between processes
//!   the transport writes W3C's `traceparent`, `tracestate` and `baggage`.
//! - **Decides before there is a span.** A trace that begins here is sampled with a probability ([`TraceConfig`]), one that
//!   came with a call as its flag says. For a call that is not sampled no span is made: it costs new ids, and no
//!   allocation.
//! - **Makes `tracing` spans** of calls that are sampled (target [`TARGET`]), with the attributes of OpenTelemetry's
//!   conventions ([`FIELDS`]).
//! - **Keeps what was worth it**: of calls that were not sampled, failures and slow ones are reported when they have ended,
//!   with all that a span would say, up to so many a second, and with the calls around them in this process. See
//!   [`TraceLayer::observe`] and [`Recorded`].
//!
//! # What it never does
//! It changes no answer and no error, holds nothing between calls, spawns nothing, and waits for nothing.
//!
//! # Where it stands
//! [`TraceLayer::client`] outermost (but for the deadline), [`TraceLayer::attempt`] just below retry,
//! [`TraceLayer::server`] outermost on a server.
//!
//! # Example
//! ```
//! use std::sync::Mutex;
//! use towpath_core::{BoxError, Error, ErrorKind, Request, Response, context};
//! use towpath_trace::{Recorded, TraceConfig, TraceLayer, Why};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
//! let note = |recorded: &Recorded<'_>| {
//!     let line = format!("{:?} {} {:?}", recorded.why, recorded.name, recorded.outcome.error_type);
//!     SEEN.lock().unwrap().push(line);
//! };
//! // No trace that begins here is sampled; what fails is kept all the same.
//! let layer = TraceLayer::server(TraceConfig::sampled(0.0)?).observe(note);
//! let service = ServiceBuilder::new().layer(layer).service(service_fn(|request: Request| async move {
//!     // What is called and logged here belongs to the span of this call.
//!     assert_eq!(context::current_trace(), request.context().trace());
//!     match request.method().name() {
//!         "Lost" => Err(BoxError::from(Error::new(ErrorKind::HandlerFailed))),
//!         _ => Ok(Response::new("found".into())),
//!     }
//! }));
//!
//! let answer: Response = service.clone().oneshot(Request::new("Shelf.Found", "".into())).await?;
//! assert_eq!(answer.body(), "found");
//! assert!(service.oneshot(Request::new("Shelf.Lost", "".into())).await.is_err());
//! assert_eq!(*SEEN.lock().unwrap(), [r#"Failed Shelf.Lost Some("MCP-E-009")"#]);
//! # Ok(())
//! # }
//! ```

mod bridge;
mod config;
mod describe;
mod event;
mod foreign;
mod future;
mod handle;
mod hooks;
mod ids;
mod layer;
#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "opentelemetry")]
pub mod otel;
mod propagate;
mod sample;
mod service;
mod span;
mod state;
mod watch;

pub use config::{InvalidTrace, TraceConfig, TraceOptions};
pub use describe::{Came, Describe, Put, Rpc, Subject, Value};
#[cfg(feature = "http")]
pub use describe::{Http, HttpSubject};
pub use event::{Outcome, Recorded, Role, Why};
pub use future::ResponseFuture;
pub use handle::{TraceCounts, TraceHandle};
pub use hooks::{Fit, Hooks, Sink};
pub use layer::TraceLayer;
pub use propagate::{Baggage, InvalidBaggage, InvalidTracestate, Tracestate};
pub use service::Trace;
pub use span::{FIELDS, TARGET};
