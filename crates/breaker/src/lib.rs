//! A circuit breaker: it stops calling what fails, asks now and then whether that is over, and lets the calls
//! through again when it is. Around any service.
//!
//! ```text
//!             too many of the calls failed             the open time is over
//!   Closed ─────────────────────────────────▶ Open ───────────────────────────▶ Half-open
//!     ▲                                        ▲      a probe fails, is slow,      │  │
//!     │                                        └────── or has no answer ───────────┘  │
//!     └───────────────────────── all its probes succeed ──────────────────────────────┘
//! ```
//!
//! | | |
//! | --- | --- |
//! | opens | when of at least 20 calls in the last 10 s half failed (Hystrix' numbers); or after so many failures in a row; or when too many calls are slow; or when a [`TripPolicy`] of your own says so. The calls in the window are counted exactly: in ten buckets of time, or [one by one](Window::Calls) |
//! | stays open | for 5 s, less up to a tenth by chance; twice as long each time its probes fail, or if it opens again before it was closed as long as it had been open; at most 60 s. As short as at first after a healthy stretch, which is one as long as the last open time |
//! | asks | by exactly *k* probes (1): calls that come. A probe that is dropped, or whose end says nothing, makes room for another; one without an answer after 10 s has failed |
//! | closes | when all of them succeeded; then for all calls at once, or for a growing [share](BreakerOptions::ramp) |
//!
//! Each change begins an epoch, and the end of a call counts only in the epoch in which it was let through: a slow
//! success from before the trip closes nothing, a slow failure from then opens nothing.
//!
//! What an end means, [`Classify`](towpath_core::Classify) says: *success* and *answer* (a fault of the
//! application: somebody is well enough to give it) are good; *failure* is bad; *soft* failures (overloaded,
//! and rate limited by the callee) count in the rate and fail a probe, but neither begin, continue nor end a row of
//! failures; what was the *caller*'s own mistake and what says *nothing* (cancelled, a rate limit on this side)
//! counts neither way.
//!
//! # Two places in a stack
//!
//! | | above retry, once per call | below the balancer, once per attempt |
//! | --- | --- | --- |
//! | made by | [`per_method`](BreakerLayer::per_method), or [`keyed`](BreakerLayer::keyed) | [`for_endpoint`](BreakerLayer::for_endpoint) and [`as_gate`](BreakerLayer::as_gate) |
//! | for | a method that is broken everywhere | one endpoint that is broken |
//! | turns away by | MCP-W-105, not processed, with the time of the next probe in `retry_after` | not being ready, so that the balancer takes another endpoint; and by asking, in the [`EndpointState`](towpath_core::EndpointState), for its ejection |
//! | config | [`BreakerConfig::prompt`] | [`BreakerConfig::default`] |
//!
//! One breaker for all methods or all endpoints would open for all when one is broken, or never. Above retry, a
//! breaker saves callers their time and the retry budget its tries; there nobody else can answer, so it is to notice
//! soon that the outage is over. Below, others answer meanwhile.
//!
//! The balancer sees in the endpoint's state what the breaker wants: `Ejected { until }` with a time to come: it
//! would let nothing through; with a time that has passed: it may be tried, and some are let through; `None`: it was
//! opened by hand. That is when the balancer granted the ejection; if it did not, calls come, and the gate is shut
//! for them, unless the balancer [says](towpath_core::EndpointState::set_panic) that too many are out.
//!
//! # What it costs, and what it does not do
//!
//! A call that a closed breaker lets through, and that ends well, locks nothing and allocates nothing. There are no
//! tasks: what time brings about happens when the next call comes. (As a gate, who waits has a timer.) Of the
//! inner service's types, response and future stay what they are within; the error becomes
//! [`BoxError`](towpath_core::BoxError), unless an [`OnReject`](towpath_core::OnReject) answers in place of
//! failing.
//!
//! Ideas are from Hystrix (the numbers), resilience4j (count windows, slow calls, a bound for the time half-open), Envoy's
//! outlier detection and Finagle's failure accrual (open time that grows), and linkerd2-proxy (gate, classifier
//! and policy are three things).
//!
//! # A breaker, and an own idea of when to open it
//!
//! ```
//! use towpath_breaker::{BreakerConfig, BreakerLayer, Seen, State};
//! use towpath_core::{BoxError, Error, ErrorKind, Processed};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let layer = BreakerLayer::new(BreakerConfig::default())
//!     .classify(|outcome: Result<&String, &BoxError>| match outcome {
//!         Ok(_) => towpath_core::Class::SUCCESS,
//!         Err(_) => towpath_core::Class::FAILURE,
//!     })
//!     .trip_when(|seen: &Seen<'_>| seen.by_config().is_some() || seen.consecutive >= 3);
//! let broken = service_fn(|_: &str| async { Err::<String, BoxError>("out of order".into()) });
//! let service = layer.layer(broken);
//!
//! for _ in 0..3 {
//!     assert!(service.clone().oneshot("?").await.is_err());
//! }
//! assert_eq!(layer.handle().state(), State::Open);
//! let error = service.oneshot("?").await.unwrap_err();
//! let error = Error::find(&*error).expect("the layer's own error");
//! assert_eq!((error.kind(), error.processed()), (ErrorKind::CircuitOpen, Processed::No));
//! assert!(error.to_string().contains("3 of 3 calls failed, next probe in "), "{error}");
//! assert!(error.retry_after().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # A breaker for each method, seen and handled
//!
//! ```
//! use towpath_breaker::{BreakerConfig, BreakerEvent, BreakerLayer};
//! use towpath_core::{BoxError, Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let layer = BreakerLayer::new(BreakerConfig::prompt())
//!     .per_method()
//!     .honour_context()
//!     .observe(|event: &BreakerEvent| match event {
//!         BreakerEvent::Changed(change) => println!("{}: {}", change.name, change.to),
//!         _ => {}
//!     });
//! let service = layer.layer(service_fn(|_: Request| async { Ok::<_, BoxError>(Response::new("done".into())) }));
//! let breakers = layer.handle();
//! let to = |method: &'static str| Request::new(method, Default::default());
//!
//! service.clone().oneshot(to("Report.Make")).await?;
//! assert_eq!(breakers.keys(), ["Report.Make".into()]);
//! breakers.get("Report.Make").expect("it came").force_open();
//! assert!(service.clone().oneshot(to("Report.Make")).await.is_err());
//! assert!(service.clone().oneshot(to("Report.Read")).await.is_ok());
//!
//! // The config of all of them, replaced while they run; what makes no sense is refused, and the old one stays.
//! let load = |text| breakers.config().update(|_| serde_json::from_str(text));
//! load(r#"{"open_ms": 200, "consecutive_failures": 5}"#)?;
//! assert!(load(r#"{"open_ms": 0}"#).is_err());
//! # Ok(())
//! # }
//! ```

mod cell;
mod config;
mod error;
mod event;
mod future;
mod handle;
mod hash;
mod key;
mod layer;
#[cfg(all(test, not(towpath_loom)))]
mod model;
#[cfg(all(test, towpath_loom))]
mod orders;
mod service;
mod settings;
mod state;
mod sync;
mod table;
mod ticket;
mod trip;
mod window;

pub use config::{BreakerConfig, BreakerOptions, InvalidBreaker, Window};
pub use event::{BreakerEvent, Change, Counts, Mode, Reason, State};
pub use future::ResponseFuture;
pub use handle::{BreakerHandle, Breakers, Status};
pub use key::{BreakerKey, By, ByMethod};
pub use layer::BreakerLayer;
pub use service::Breaker;
pub use trip::{Seen, TripPolicy};
