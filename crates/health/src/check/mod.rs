//! Asking endpoints how they are, and writing it into their state.

mod checker;
mod drive;
mod judge;
mod plan;
mod shared;
mod through;

pub use checker::{HealthChecker, HealthCheckerBuilder};
pub use through::Checked;
