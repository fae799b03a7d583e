//! The layer that has answers say how much is in work.

mod future;
mod layer;
mod service;

pub use future::ResponseFuture;
pub use layer::ReportLoadLayer;
pub use service::ReportLoad;
