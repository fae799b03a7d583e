//! Deadlines: layers that stamp them on calls, enforce them around any service, and refuse what comes too late.
//!
//! | | [`DeadlineLayer`] | [`TimeoutLayer`] | [`EnoughTimeLayer`] |
//! | --- | --- | --- | --- |
//! | does | puts min(own, inherited) into the call's context; refuses what is late already | gives the call up when its time is up | refuses what cannot be finished in the time that is left |
//! | for | a stack of towpath's layers over its transport, which keep the context's deadline themselves | anything: axum, hyper, tonic, a closure | servers |
//! | costs | one reading of the clock, which it leaves for the others | the same, and a timer for calls that are not answered at the first poll | a reading of the clock for one call in 8 |
//! | asks of the request | that it [has a context](towpath_core::HasContext) | nothing, unless told to look for a deadline | that it has a context |
//!
//! # Which limit is which
//!
//! | limit | made by | stands |
//! | --- | --- | --- |
//! | of the call in total | [`DeadlineLayer::new`], [`TimeoutLayer::new`] | above retry: all attempts and the pauses between them share it |
//! | of an attempt | [`TimeoutLayer::per_attempt`], or another [`DeadlineLayer`] | below retry |
//! | until the first response | [`TimeoutLayer`] as it is made | where an answer may be streamed: until its head |
//! | until the last byte | [`TimeoutLayer::whole_call`] | the same: until its body has ended (feature `http`) |
//!
//! The time that a call has is the least of all that apply, and of the deadline that it inherited. An MCP answer
//! comes whole: its first response is its last byte, and the transport keeps the deadline to that byte. An
//! `http::Response` is there when its head is: a limit to the first response says nothing about a body that drips
//! in, and one for the whole call ends long downloads. Choose one, or stack a short one within a long one. The
//! time between two bytes is none of these; that is the connection's to watch.
//!
//! # Where they stand
//!
//! Outermost but for sight (trace, metrics) and fallback: a retry below shares the one deadline among its attempts.
//! On a server they stand in front of the router, so that late work is refused before it is started; what handlers
//! call in turn inherits the deadline, and the transport writes what is left of it into each frame, so that it
//! shrinks from hop to hop and no two clocks have to agree. Around a service that cannot fail, such as an axum
//! router, they answer instead: `on_reject` takes `AnswerHttp` (core's feature `http`), or any
//! [`OnReject`](towpath_core::OnReject).
//!
//! A config is taken as it is or as [`Live`](towpath_core::Live): then it can be replaced while calls are made. A
//! call keeps the limit that it began with.
//!
//! No layer spawns a task, holds anything between calls (but for what `EnoughTimeLayer` has observed), or reads
//! anything but tokio's clock.
//!
//! # A limit around any service
//!
//! ```
//! use std::time::Duration;
//! use towpath_core::{BoxError, Error, ErrorKind, Processed};
//! use towpath_timeout::{TimeoutConfig, TimeoutLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let slow = service_fn(|name: &'static str| async move {
//!     tokio::time::sleep(Duration::from_secs(60)).await;
//!     Ok::<_, BoxError>(format!("hello {name}"))
//! });
//! let config = TimeoutConfig::try_new(Duration::from_millis(500))?;
//! let service = ServiceBuilder::new().layer(TimeoutLayer::new(config)).service(slow);
//!
//! let error = service.oneshot("world").await.unwrap_err();
//! let error = Error::find(&*error).expect("the layer's own error");
//! assert_eq!((error.kind(), error.processed()), (ErrorKind::DeadlineExceeded, Processed::Unknown));
//! # Ok(())
//! # }
//! ```
//!
//! # A deadline on each call, and an answer in place of an error
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//! use towpath_core::{Answer, Error, Request};
//! use towpath_timeout::{DeadlineLayer, TimeoutConfig};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let handler = service_fn(|request: Request<()>| async move {
//!     let now = tokio::time::Instant::now();
//!     Ok::<_, Infallible>(format!("{:?} left", request.context().remaining(now)))
//! });
//! let layer = DeadlineLayer::new(TimeoutConfig::try_new(Duration::from_secs(2))?)
//!     .on_reject(Answer(|error: Error| error.to_string()));
//! let service = ServiceBuilder::new().layer(layer).service(handler);
//!
//! let Ok(text) = service.clone().oneshot(Request::new("Report.Make", ())).await;
//! assert_eq!(text, "Some(2s) left");
//!
//! let mut late = Request::new("Report.Make", ());
//! late.context_mut().set_deadline(Some(tokio::time::Instant::now()));
//! let Ok(text) = service.oneshot(late).await;
//! assert!(text.starts_with("MCP-W-101 deadline exceeded"), "{text}");
//! # Ok(())
//! # }
//! ```
//!
//! # A server that does not begin what it cannot finish
//!
//! ```
//! use std::time::Duration;
//! use towpath_core::{BoxError, Request};
//! use towpath_timeout::{ByMethod, DeadlineLayer, EnoughTimeConfig, EnoughTimeLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let handler = service_fn(|_: Request<()>| async { Ok::<_, BoxError>("done") });
//! // Less than 5 ms is never enough; apart from that, what is observed decides, for each method.
//! let config = EnoughTimeConfig::default().with_at_least(Duration::from_millis(5))?;
//! let enough = EnoughTimeLayer::new(config).group_by(ByMethod);
//! let handle = enough.handle();
//! let server = ServiceBuilder::new().layer(DeadlineLayer::inherited()).layer(enough).service(handler);
//!
//! let mut hasty = Request::new("Report.Make", ());
//! hasty.context_mut().set_deadline(Some(tokio::time::Instant::now() + Duration::from_millis(2)));
//! assert!(server.oneshot(hasty).await.is_err());
//! assert_eq!(handle.counts().refused, 1);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "http")]
mod body;
mod config;
mod enforce;
mod enough;
mod event;
mod own;
mod reach;
mod source;
mod stamp;

#[cfg(feature = "http")]
pub use body::TimedBody;
pub use config::{InvalidTimeout, TimeoutConfig};
pub use enforce::{ResponseFuture as TimeoutFuture, Timeout, TimeoutLayer};
pub use enough::{
    ByMethod, EnoughTime, EnoughTimeConfig, EnoughTimeCounts, EnoughTimeHandle, EnoughTimeLayer, Group,
    InvalidEnoughTime, ResponseFuture as EnoughTimeFuture,
};
pub use event::{Limit, Phase, TimedOut, TooLittleLeft};
pub use reach::{FirstResponse, Reach, Rest, WholeCall};
pub use source::{FindDeadline, Span};
pub use stamp::{Deadline, DeadlineLayer, ResponseFuture as DeadlineFuture};
pub use towpath_core::FromContext;
