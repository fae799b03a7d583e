//! Calls as they are made: counts, times, and what was decided about those that failed.

mod config;
mod explain;
mod future;
mod heard;
mod histogram;
mod history;
mod kept;
mod layer;
mod methods;
mod notes;
mod recorder;
mod service;

pub use config::{InvalidRecord, RecordConfig};
pub use future::{AttemptFuture, CallFuture};
pub(crate) use heard::{Happened, Heard, What};
pub use layer::{AttemptsLayer, CallsLayer};
pub use recorder::Recorder;
pub use service::{Attempts, Calls};
