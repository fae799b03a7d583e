//! The layer that lets so many calls through in so much time.

mod config;
mod future;
mod gcra;
mod keys;
mod layer;
mod service;
mod state;
mod table;

pub use config::{InvalidRate, RateConfig};
pub use future::ResponseFuture;
pub use keys::{KeyHasher, RateKey};
pub use layer::RateLimitLayer;
pub use service::RateLimit;
pub use state::RateHandle;
