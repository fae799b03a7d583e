//! The layer that refuses calls which cannot be finished in the time that is left.

mod cap;
mod config;
mod durations;
mod future;
mod group;
mod handle;
mod layer;
mod service;
mod state;

pub use config::{EnoughTimeConfig, InvalidEnoughTime};
pub use future::ResponseFuture;
pub use group::{ByMethod, Group};
pub use handle::{EnoughTimeCounts, EnoughTimeHandle};
pub use layer::EnoughTimeLayer;
pub use service::EnoughTime;
