//! Calls one by one, when they have ended: as log lines, and as a live stream.

mod event;
mod future;
mod layer;
mod log;
mod service;
mod tap;

pub use event::{Ended, Listen};
pub use future::AccessFuture;
pub use layer::AccessLayer;
pub use log::{AccessLog, AccessLogConfig, AccessLogOptions, InvalidAccessLog, TARGET};
pub use service::Access;
pub use tap::{Tap, Tapped, Tapping};
