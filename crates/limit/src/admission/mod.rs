//! The layer that lets in as many calls as the service below can take.

mod config;
mod delay;
mod future;
mod layer;
mod meter;
mod service;
mod state;

pub use config::{AdmissionConfig, InvalidAdmission, LimitBy};
pub use future::ResponseFuture;
pub use layer::AdmissionLayer;
pub use service::{Admission, AnyAnswer};
pub use state::AdmissionHandle;
