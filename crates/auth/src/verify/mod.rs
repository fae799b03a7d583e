//! The layer of the server.

mod config;
mod future;
mod handle;
mod layer;
mod service;
mod state;
mod verdicts;

pub use config::{InvalidVerify, Requirement, VerifyConfig};
pub use future::ResponseFuture;
pub use handle::{VerifyCounts, VerifyHandle};
pub use layer::VerifyLayer;
pub use service::Verified;
