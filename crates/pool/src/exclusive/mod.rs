//! One call at a time over each connection.

mod future;
mod lease;
#[cfg(all(test, not(towpath_loom)))]
mod model;
#[cfg(all(test, towpath_loom))]
mod orders;
mod service;
mod store;

pub use future::ResponseFuture;
pub use service::ExclusivePool;
