//! One planner for all attempts of a call: retries after failures, hedges beside slow attempts, within a budget
//! and a deadline. Around any service that is `Clone`.
//!
//! # What it does
//! - **Says when another attempt makes sense** by the one idea of failure that all layers share
//!   ([`Classify`](towpath_core::Classify)): what was never processed is always safe to send again, an unknown outcome
//!   only for idempotent calls, an application's fault only where its service said so. A [`Policy`] of your own, a
//!   closure most often, decides otherwise.
//! - **Waits as it is told to**: by a [`Backoff`](towpath_core::Backoff) with jitter, and at least as long as the
//!   callee asked for (`retry-after-ms`).
//! - **Starts nothing that the deadline cannot pay for**, the wait before it included; then the last failure is
//!   returned at once. Each attempt can have a timeout of its own.
//! - **Takes every further attempt out of a budget** ([`Budget`](towpath_core::Budget)) that is shared by all calls,
//!   so that a callee that is down gets a fifth more calls and not three times as many.
//! - **Hedges**, if [told to](HedgeConfig): sends another attempt when the first one is slower than most, and drops
//!   the loser, which cancels it on the wire. Idempotent calls only. Hedges come first, retries after failure.
//! - **Stops chains of retries both ways.** A call that is made while a retry from further up is handled is not
//!   attempted again here, and when attempts are spent here the outcome says so (`retry-stop: 1`), so that none are
//!   made further up.
//! - **Holds nothing while it waits**: no permit, no slot, no connection; only the failure to be returned.
//! - **Says what it did**: [`Attempts`] in the response's extensions, the number of attempts in the error,
//!   [`RetryEvent`]s to whoever observes, counts and the budget's balance by a [`RetryHandle`].
//!
//! It spawns no task, and reads no clock but tokio's.
//!
//! # Where it stands
//! Below what happens once for a call (trace, metrics, fallback, the deadline, admission, the breaker of a method),
//! above what happens for each attempt (limits, the choice of an endpoint, its breaker, the connection). Whoever
//! picks endpoints below says which one it picked by [`context::pick`](towpath_core::context::pick), and finds those
//! that were tried in [`Context::tried`](towpath_core::Context::tried).
//!
//! # What it costs
//! A call that is answered at its first attempt costs a copy of its request, which is a few reference counts, and two
//! additions; nothing is allocated, and no clock is read that a layer above has read. A call that is not answered at
//! once and has a limit costs a timer, unless [the service below keeps it](RetryLayer::inner_keeps_deadlines).
//!
//! # Modes of calls
//! A one-way call is sent again only if it was certainly not written. An asynchronous call is attempted until it is
//! accepted; what comes of it after that is its outcome's business, and is not attempted again. Neither is hedged.
//!
//! # Example
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
//! use towpath_core::{BoxError, Error, ErrorKind, Request, Response};
//! use towpath_retry::{Attempts, RetryConfig, RetryLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! // A service whose first connection is refused.
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//! let flaky = service_fn(|_: Request| async {
//!     match CALLS.fetch_add(1, Relaxed) {
//!         0 => Err(BoxError::from(Error::new(ErrorKind::ConnectFailed))),
//!         _ => Ok(Response::new("there".into())),
//!     }
//! });
//! let layer = RetryLayer::new(RetryConfig::default()).honour_context();
//! let handle = layer.handle();
//! let service = ServiceBuilder::new().layer(layer).service(flaky);
//!
//! let response: Response = service.oneshot(Request::new("Report.Make", "".into())).await?;
//! assert_eq!(response.body(), "there");
//! assert_eq!(response.extensions().get::<Attempts>().map(Attempts::made), Some(2));
//! assert_eq!(handle.counts().retries, 1);
//! # Ok(())
//! # }
//! ```

mod attempt;
mod attempts;
mod config;
mod event;
mod future;
mod handle;
mod hooks;
mod judge;
mod latency;
mod layer;
mod plan;
mod policy;
mod rest;
mod service;

pub use attempts::{Attempt, Attempts, Ended};
pub use config::{HedgeAfter, HedgeConfig, InvalidRetry, RetryConfig};
pub use event::{GaveUp, RetryEvent};
pub use future::ResponseFuture;
pub use handle::{RetryCounts, RetryHandle};
pub use hooks::{Fit, Hooks};
pub use layer::RetryLayer;
pub use policy::{ByClone, CopyRequest, Decision, Failed, Policy, Repeat};
pub use service::Retry;
