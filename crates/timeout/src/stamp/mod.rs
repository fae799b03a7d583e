//! The layer that stamps deadlines, and refuses what comes too late.

mod future;
mod layer;
mod service;

pub use future::ResponseFuture;
pub use layer::DeadlineLayer;
pub use service::Deadline;
