//! The layer that holds calls back when a service refuses many.

mod config;
mod counter;
mod future;
mod lanes;
mod layer;
mod service;
mod state;

pub use config::{InvalidThrottle, ThrottleConfig};
pub use future::ResponseFuture;
pub use layer::ThrottleLayer;
pub use service::Throttle;
pub use state::ThrottleHandle;
