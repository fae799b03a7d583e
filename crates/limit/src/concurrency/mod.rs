//! The layer that lets so many calls be in flight at a time.

mod config;
mod future;
mod layer;
mod service;
mod state;

pub use config::{ConcurrencyConfig, InvalidConcurrency, QueueOrder, WhenFull};
pub use future::ResponseFuture;
pub use layer::ConcurrencyLimitLayer;
pub use service::ConcurrencyLimit;
pub use state::ConcurrencyHandle;
