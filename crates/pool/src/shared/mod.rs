//! Many calls over each connection.

mod future;
#[cfg(all(test, towpath_loom))]
mod orders;
mod service;
mod store;

pub use future::ResponseFuture;
pub use service::SharedPool;
