//! How many calls at a time a service can take, found out from how long they take: pure machines.

mod baseline;
mod config;
mod limiter;
#[cfg(test)]
mod model;
mod window;

pub use config::{AdaptiveConfig, InvalidAdaptive};
pub use limiter::{Aimd, Gradient};
pub use window::{Adapt, Window};
