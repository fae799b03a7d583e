//! An answer in place of a failure: a value, a function of the request and the error, another service, or the last
//! good answer.
//!
//! | | answers with | keeps of each request |
//! | --- | --- | --- |
//! | [`FallbackLayer::value`] | a clone of a value | nothing |
//! | [`FallbackLayer::function`] | what a function makes of the failure | nothing |
//! | [`FallbackLayer::function_of`] | what a function makes of the request and the failure | a clone, or the part that is wanted |
//! | [`FallbackLayer::service`] | what another service answers | a clone |
//! | [`FallbackLayer::last_good`] | what the same call was answered last, if that is not too old | 16 bytes |
//!
//! A way of your own is a [`Substitute`].
//!
//! # When
//!
//! For chosen failures only. By default ([`WhenFailed`]) for what `DefaultClassify` holds to be the fault of the
//! service or of the stack: a failed handler, a lost connection, a deadline, too much load, an open breaker, no
//! endpoint, a rate limit, and faults that were declared `unhealthy`. Not for what the caller did wrong (MCP-E-001
//! to 008), not for answers of the application (its faults, HTTP's 404), and not for calls that were cancelled. Say
//! otherwise with [`FallbackLayer::when`] and [`FallbackLayer::classify`].
//!
//! # What is said about it
//!
//! An answer that stands for another one says so. It has the metadata entry `degraded` (as an `http::Response`, with
//! the feature `http`, the header `degraded`): the code of the failure, where the answer is from, and how old it is
//! if it was kept, as in `MCP-W-105; last-good; age=1500`. In its extensions is [`Degraded`], with the error that the
//! caller did not get. The same is observed ([`FellBack`]), and counted ([`FallbackHandle`]). Where there is nothing
//! to answer with, or the fallback fails itself, the caller gets the failure as it was.
//!
//! Response, error and readiness are those of the inner service. It need not be able to fail with an error of its
//! own: around an axum router, which cannot, an answer of 503 is a failure too.
//!
//! # Where it stands
//!
//! Outermost but for sight, above the deadline, so that a call that ran into it still has an answer. What answers
//! at once needs no time for that; another service does: a small reserve ([`FallbackConfig`]) is taken off the
//! deadline that goes down, if [`honour_context`](FallbackLayer::honour_context) lets the layer see one, and the other
//! service has until the deadline itself. Several fallbacks are several layers: the outermost is the last resort.
//!
//! ```
//! use towpath_core::{BoxError, Error, ErrorKind, Request, Response};
//! use towpath_fallback::{Degraded, FallbackLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let down = service_fn(|_: Request| async {
//!     Err::<Response, BoxError>(Error::new(ErrorKind::CircuitOpen).into())
//! });
//! let none = Response::new("[]".into());
//! let service = ServiceBuilder::new().layer(FallbackLayer::value(none)).service(down);
//!
//! let answer = service.oneshot(Request::new("Recommend.List", "{}".into())).await?;
//! assert_eq!(answer.body(), "[]");
//! assert_eq!(answer.metadata().get_str("degraded"), Some("MCP-W-105; value"));
//! let degraded: &Degraded = answer.extensions().get().expect("it says why");
//! assert!(degraded.error().expect("of the breaker").to_string().contains("circuit open"));
//! # Ok(())
//! # }
//! ```
//!
//! # The last good answer, and if there is none, an empty one
//!
//! ```
//! use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
//! use towpath_core::{BoxError, Error, ErrorKind, Request, Response};
//! use towpath_fallback::{FallbackLayer, LastGoodConfig, SameCall};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! static DOWN: AtomicBool = AtomicBool::new(false);
//! let users = service_fn(|request: Request| async move {
//!     if DOWN.load(SeqCst) { Err::<Response, BoxError>(Error::new(ErrorKind::ConnectFailed).into()) }
//!     else { Ok(Response::new(request.into_body())) }
//! });
//! // For methods that only read: the last answer to a write would be a lie.
//! let reads = SameCall::of(["UserService.Get*"]);
//! let service = ServiceBuilder::new()
//!     .layer(FallbackLayer::value(Response::new("nobody".into())))
//!     .layer(FallbackLayer::last_good(LastGoodConfig::default(), reads).honour_context())
//!     .service(users);
//! let ask = async |who: &'static str| -> Result<_, BoxError> {
//!     Ok(service.clone().oneshot(Request::new("UserService.GetUserInfo", who.into())).await?.into_body())
//! };
//!
//! assert_eq!(ask("Ada").await?, "Ada");
//! DOWN.store(true, SeqCst);
//! assert_eq!(ask("Ada").await?, "Ada");
//! assert_eq!(ask("Grace").await?, "nobody");
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs
//!
//! A call that succeeds: the question what its outcome means, and what is kept of its request. No allocation, no
//! locked instruction and no reading of the clock, but for what the way to answer needs: a clone of the request, a
//! hash and a reading of the clock.

mod another;
mod config;
mod event;
mod function;
mod future;
mod handle;
#[cfg(feature = "http")]
mod http;
mod last_good;
mod layer;
mod mark;
mod plan;
mod service;
mod substitute;
mod when;

pub use another::{Another, AnotherFuture};
pub use config::{FallbackConfig, InvalidReserve};
pub use event::{End, FellBack};
pub use function::{Function, FunctionOf, Keep, Value, WholeRequest};
pub use future::ResponseFuture;
pub use handle::{FallbackCounts, FallbackHandle};
pub use last_good::{
    Detach, Detached, InvalidLastGood, Keepable, KeyOf, LastGood, LastGoodConfig, LastGoodHandle, SameCall,
};
pub use layer::FallbackLayer;
pub use mark::{Degradable, Degraded, Mark, Marked};
pub use service::Fallback;
pub use substitute::{Declined, Failure, Source, Substitute, Substituted};
pub use when::{When, WhenFailed};
