//! Limits: how many calls at a time, how many in how long, and what to do when there are too many.
//!
//! | | [`ConcurrencyLimitLayer`] | [`RateLimitLayer`] | [`AdmissionLayer`] | [`ThrottleLayer`] |
//! | --- | --- | --- | --- | --- |
//! | bounds | how many calls are in flight | how many calls come in a time, as a whole or by key | how many calls are in flight, which it finds out | how many calls are sent to a service that refuses them |
//! | a call too many | is refused, waits, or is not let in (backpressure): [`WhenFull`] | is refused, or waits for its time: [`RateConfig::with_max_wait`] | waits for 20 ms, or 100 ms in a burst, the highest priority first; then it is refused | is not sent |
//! | is told | MCP-W-103, and a hint of the config | MCP-W-104, and when exactly it conforms | MCP-W-103, and a hint of how long calls take | MCP-W-104, and the later a time the more are held back |
//! | stands in a client | once per attempt: below retry | once per attempt: below retry | once per call: above retry and the breaker of the method | once per attempt: below the limits, above the balancer |
//! | stands in a server | where a number is known | by caller | in front of authentication and the router | – |
//! | costs | two locked instructions for a call | one | two | none |
//!
//! Admission and limits are two places. Above retry a call is let in once, whatever becomes of it: what is shed there is
//! shed whole, by its priority. Below retry an attempt holds its place only while it is made, and one that backs off
//! holds none. A throttle sees what the service says, so nothing of this side that refuses is to stand below it.
//!
//! Around a service that cannot fail, such as an axum router, they answer instead: `on_reject` takes `AnswerHttp` (core's
//! feature `http`: 503 or 429, with `retry-after`), or any [`OnReject`](towpath_core::OnReject). All say [not
//! processed](towpath_core::Processed::No): the call may be made again without harm. A retry above keeps to what it is
//! told about when; that a local MCP-W-104 is not tried on the spot is [`Class`](towpath_core::Class)' business.
//!
//! [`ReportLoadLayer`] bounds nothing: it has a server's answers say how much is in work, for the balancers of its callers.
//!
//! All state is shared by all services that a layer makes and by their clones; it is seen, and the config is replaced,
//! by the layer's `handle()`. No layer spawns a task or reads anything but tokio's clock; a timer is made only for a
//! call that really waits.
//!
//! # So many at a time, so many a second
//!
//! ```
//! use std::time::Duration;
//! use towpath_core::{BoxError, Error, ErrorKind, Processed};
//! use towpath_limit::{ConcurrencyConfig, ConcurrencyLimitLayer, RateConfig, RateLimitLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let at_a_time = ConcurrencyLimitLayer::new(ConcurrencyConfig::try_new(2)?);
//! let handle = at_a_time.handle();
//! let service = ServiceBuilder::new()
//!     .layer(at_a_time)
//!     .layer(RateLimitLayer::new(RateConfig::try_new(10, Duration::from_secs(1))?))
//!     .service(service_fn(|name: &'static str| async move {
//!         tokio::time::sleep(Duration::from_millis(150)).await;
//!         Ok::<_, BoxError>(format!("hello {name}"))
//!     }));
//!
//! assert_eq!(service.clone().oneshot("world").await?, "hello world");
//!
//! // The rate has a burst of one: the second of two calls is told to come 100 ms after the first.
//! let (first, second) = tokio::join!(service.clone().oneshot("a"), service.clone().oneshot("b"));
//! assert!(first.is_ok());
//! let error = second.unwrap_err();
//! let error = Error::find(&*error).expect("the layer's own error");
//! assert_eq!((error.kind(), error.processed()), (ErrorKind::RateLimited, Processed::No));
//! assert_eq!(error.retry_after(), Some(Duration::from_millis(100)));
//! assert_eq!((handle.limit(), handle.in_flight(), handle.refused()), (2, 0, 0));
//! # Ok(())
//! # }
//! ```
//!
//! # As many as the service can take
//!
//! ```
//! use std::time::Duration;
//! use towpath_core::{BoxError, Request, Response};
//! use towpath_limit::{AdmissionConfig, AdmissionLayer, LimitEvent};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let layer = AdmissionLayer::new(AdmissionConfig::default());
//! let handle = layer.handle();
//! let changes = |event: &LimitEvent| {
//!     if let LimitEvent::LimitChanged { from, to } = event {
//!         println!("the limit was {from} and is {to}");
//!     }
//! };
//! let service = ServiceBuilder::new()
//!     .layer(layer.honour_context().observe(changes)) // priority and deadline come from the context
//!     .service(service_fn(|_: Request| async {
//!         tokio::time::sleep(Duration::from_millis(20)).await;
//!         Ok::<Response, BoxError>(Response::default())
//!     }));
//!
//! // Many more than fit at first: those that find no room within 100 ms are told so.
//! let calls: Vec<_> = (0..300)
//!     .map(|_| tokio::spawn(service.clone().oneshot(Request::new("Report.Make", "".into()))))
//!     .collect();
//! let mut refused = 0;
//! for call in calls {
//!     refused += u64::from(call.await?.is_err());
//! }
//! assert_eq!(handle.refused().iter().sum::<u64>(), refused);
//! assert!(refused > 0 && handle.in_flight() == 0);
//! # Ok(())
//! # }
//! ```

mod adapt;
mod admission;
mod concurrency;
mod event;
mod gate;
mod rate;
mod refuse;
mod report;
mod sync;
mod throttle;

pub use adapt::{Adapt, AdaptiveConfig, Aimd, Gradient, InvalidAdaptive, Window};
pub use admission::{
    Admission, AdmissionConfig, AdmissionHandle, AdmissionLayer, AnyAnswer, InvalidAdmission, LimitBy,
    ResponseFuture as AdmissionFuture,
};
pub use concurrency::{
    ConcurrencyConfig, ConcurrencyHandle, ConcurrencyLimit, ConcurrencyLimitLayer, InvalidConcurrency,
    QueueOrder, ResponseFuture as ConcurrencyLimitFuture, WhenFull,
};
pub use event::{LimitEvent, Refusal};
pub use rate::{
    InvalidRate, KeyHasher, RateConfig, RateHandle, RateKey, RateLimit, RateLimitLayer,
    ResponseFuture as RateLimitFuture,
};
pub use report::{ReportLoad, ReportLoadLayer, ResponseFuture as ReportLoadFuture};
pub use throttle::{
    InvalidThrottle, ResponseFuture as ThrottleFuture, Throttle, ThrottleConfig, ThrottleHandle,
    ThrottleLayer,
};
