//! Deadlines: a layer that stamps them on calls, and a layer that enforces a limit around any service.
//!
//! | | [`DeadlineLayer`] | [`TimeoutLayer`] |
//! | --- | --- | --- |
//! | does | puts min(own, inherited) into the call's context; refuses what is late already | gives the call up when its time is up |
//! | for | a stack of towpath's layers over its transport, which keep the context's deadline themselves | anything: axum, hyper, tonic, a closure |
//! | costs | one reading of the clock, which it leaves for the others | the same, and a timer for calls that are not answered at the first poll |
//! | asks of the request | that it [has a context](towpath_core::HasContext) | nothing, unless told to look for a deadline |
//!
//! Both stand outermost but for sight (trace, metrics) and fallback: a retry below shares the one deadline
//! among its attempts. On a server they stand in front of the router, so that late work is refused before
//! it is started; what handlers call in turn inherits the deadline, so that what is left shrinks from hop to
//! hop. Around a service that cannot fail, such as an axum router, they answer instead: `on_reject` takes
//! `AnswerHttp` (core's feature `http`), or any [`OnReject`](towpath_core::OnReject).
//!
//! Neither layer spawns a task, holds anything between calls, or reads anything but tokio's clock.
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

mod config;
mod enforce;
mod event;
mod source;
mod stamp;

pub use config::{InvalidTimeout, TimeoutConfig};
pub use enforce::{ResponseFuture as TimeoutFuture, Timeout, TimeoutLayer};
pub use event::{Phase, TimedOut};
pub use source::{FindDeadline, Span};
pub use stamp::{Deadline, DeadlineLayer, ResponseFuture as DeadlineFuture};
pub use towpath_core::FromContext;
