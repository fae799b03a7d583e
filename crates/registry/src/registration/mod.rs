//! The one who registers, and stays registered.

mod config;
mod handle;
mod plan;
mod task;

pub use config::{InvalidRegistrationConfig, RegistrationConfig};
pub use handle::{InvalidRegistration, Registration, RegistrationStatus};
