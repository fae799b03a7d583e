//! One call at a time over each connection.

mod future;
mod lease;
mod service;
mod store;

pub use future::ResponseFuture;
pub use service::ExclusivePool;
