//! Many calls over each connection.

mod future;
mod service;
mod store;

pub use future::ResponseFuture;
pub use service::SharedPool;
