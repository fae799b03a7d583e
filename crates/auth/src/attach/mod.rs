//! The layer of the client.

mod future;
mod layer;
mod service;

pub use future::ResponseFuture;
pub use layer::AttachLayer;
pub use service::Attach;
