//! Limits: how many calls at a time, how many in how long.
//!
//! | | [`ConcurrencyLimitLayer`] | [`RateLimitLayer`] |
//! | --- | --- | --- |
//! | bounds | how many calls are in flight | how many calls come in a time, as a whole or by key |
//! | a call too many | is refused, waits, or is not let in (backpressure): [`WhenFull`] | is refused, or waits for its time: [`RateConfig::with_max_wait`] |
//! | is told | MCP-W-103, and a hint of the config | MCP-W-104, and when exactly it conforms |
//! | stands | once per attempt: below retry | once per attempt: below retry |
//! | costs | two locked instructions for a call | one |
//!
//! In a stack for calls they stand below retry, so that an attempt holds its place only while it is made, and one that
//! backs off holds none. On a server they stand in front of authentication and of the router. Around a service that
//! cannot fail, such as an axum router, they answer instead: `on_reject` takes `AnswerHttp` (core's feature `http`), or
//! any [`OnReject`](towpath_core::OnReject). All say [not processed](towpath_core::Processed::No): the call may be made
//! again without harm, and a retry above keeps to what it is told about when.
//!
//! All state is shared by all services that a layer makes and by their clones; it is seen, and the config is replaced,
//! by the layer's `handle()`. No layer spawns a task or reads anything but tokio's clock; a timer is made only for a
//! call that really waits.
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

mod adapt;
mod admission;
mod concurrency;
mod event;
mod gate;
mod rate;
mod refuse;
mod sync;

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
