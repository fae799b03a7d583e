//! Calls, attempts, and what a server answers: how many, how long, with which outcome.

mod book;
mod future;
mod hooks;
mod layer;
mod outcome;
mod service;
mod state;

pub(crate) use book::Book;
pub use future::ResponseFuture;
pub use hooks::{Fit, Hooks};
pub use layer::MetricsLayer;
pub(crate) use outcome::Outcome;
pub use service::Calls;
pub use state::Role;
