//! What a server says of itself: whether it is alive, and whether it should get calls.

mod check;
mod config;
mod health;
mod readiness;
mod report;
#[cfg(feature = "axum")]
mod router;

pub use config::{InvalidReportConfig, ReportConfig};
pub use health::{Health, HealthBuilder};
pub use readiness::{Readiness, ReadyState};
pub use report::{CheckReport, CheckStatus, Report, ReportStatus};
