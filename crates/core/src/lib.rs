//! The words that the crates of towpath share.
//!
//! Layers of one floor never depend on each other; they work together because they read and write the
//! same few values, and those live here: a [`Request`] with its [`Context`], a [`Response`], an [`Error`]
//! of the stack and a [`Fault`] of an application, one idea of failure ([`Classify`]), endpoints and their
//! shared state ([`Endpoint`], [`EndpointState`]), validated values ([`Backoff`], [`Budget`]).
//!
//! What this crate never does: I/O, spawning (but for [`context::spawn`], which is asked to), or holding a
//! lock across a call.
//!
//! ```
//! use std::time::Duration;
//! use towpath_core::{Clock, Request};
//!
//! let mut request = Request::new("UserService.GetUserInfo", "1001");
//! let now = Clock::start(&mut request);
//! request.context_mut().tighten_deadline(now + Duration::from_secs(2));
//! request.context_mut().set_idempotent(true);
//! assert_eq!(request.context().remaining(now), Some(Duration::from_secs(2)));
//! ```

mod backoff;
mod budget;
mod classify;
mod clock;
pub mod context;
mod endpoint;
mod error;
mod extensions;
mod fault;
mod hook;
#[cfg(feature = "http")]
mod http;
mod identity;
mod info;
mod listeners;
mod live;
mod message;
pub mod metadata;
mod method;
mod pattern;
mod shared;
mod sync;
mod tally;

#[cfg(feature = "http")]
pub use self::http::{AnswerGrpc, AnswerHttp};
pub use backoff::{Backoff, InvalidBackoff, Jitter};
pub use budget::{Budget, BudgetConfig, Deposits, InvalidBudget};
pub use classify::{AsError, Class, Classify, DefaultClassify, Verdict};
pub use clock::Clock;
pub use context::{Context, EndpointId, HasContext, Priority};
pub use endpoint::{
    Change, Discover, Endpoint, EndpointState, EndpointStatus, Fixed, InFlight, InvalidReport, Load,
    LoadReport, NewService,
};
pub use error::{BoxError, Error, ErrorKind, Processed};
pub use extensions::Extensions;
pub use fault::{Brief, Declared, ErrorCode, Fault, InvalidCode, InvalidFault, Level, Traits};
pub use hook::{Answer, Observe, OnReject, Spent};
pub use identity::Identity;
pub use info::{CallInfo, FromContext, HasCompleted};
pub use live::{Cached, Live};
pub use message::{Acceptance, CodecId, Mode, Request, Response, Status};
pub use metadata::Metadata;
pub use method::{InvalidMethod, Method};
pub use pattern::Patterns;
pub use shared::{Loan, Shared};
pub use tally::{PerThread, Tally};
