//! Health in both directions: what clients find out about endpoints, and what a server says of itself.
//!
//! | | [`HealthChecker`] | [`Health`] |
//! | --- | --- | --- |
//! | for | clients | servers |
//! | does | probes endpoints, and writes into the state of each whether it is healthy | answers `/livez` and `/readyz` from a [`Readiness`] and from checks of the user |
//! | asks | by [`PingProbe`] (MCP), [`TcpProbe`], [`HttpProbe`] (feature `http`), or a [`Probe`] of one's own | closures |
//! | stands | between discovery and the balancer: [`HealthChecker::through`] | beside the server, as an axum router (feature `axum`): [`Health::router`](Health) |
//!
//! # Active and passive
//!
//! This is the active half: it notices that an endpoint is dead though nobody calls it, and that one has recovered though
//! nobody dares to. The passive half is the endpoint's breaker (`towpath-breaker`), which learns from the calls
//! themselves, and sooner. A probe shows that a process answers probes and nothing more; a breaker shows nothing of an
//! endpoint without traffic. Each writes a part of its own of the endpoint's state, and neither undoes what the other
//! found out.
//!
//! By default an endpoint is probed every 5 s, give or take a tenth; three failures in a row take it out, two successes
//! in a row bring it back. The wait for a frozen one is then 15 s at most, and 1 s more; `recheck` shortens that.
//!
//! # An endpoint that nobody listens at
//!
//! ```
//! use std::time::Duration;
//! use towpath_core::{Endpoint, EndpointStatus};
//! use towpath_health::{HealthChecker, HealthConfig, HealthEvent, HealthOptions, TcpProbe};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = HealthConfig::try_new(HealthOptions {
//!     interval: Duration::from_secs(2),
//!     ..HealthOptions::default()
//! })?;
//! let checker = HealthChecker::builder(TcpProbe::new())
//!     .config(config)
//!     .observe(|event: &HealthEvent| {
//!         if let HealthEvent::Changed { endpoint, healthy, .. } = event {
//!             println!("{endpoint}: {}", if *healthy { "healthy" } else { "unhealthy" });
//!         }
//!     })
//!     .build();
//! let nobody = Endpoint::new("mcp://127.0.0.1:1");
//! checker.add(nobody.clone());
//! tokio::time::sleep(Duration::from_secs(10)).await;
//! assert_eq!(nobody.state().status(), EndpointStatus::Unhealthy);
//! # Ok(())
//! # }
//! ```
//!
//! # What it never does
//!
//! It makes no call of the application's and keeps none waiting; it does not say that an endpoint is gone, which is
//! discovery's to know. It takes no endpoint out for the whole of a set: when all are unhealthy, it is the
//! balancer that decides to call them all the same.

mod caught;
mod check;
mod config;
mod event;
mod probe;
mod serve;

pub use check::{Checked, HealthChecker, HealthCheckerBuilder};
pub use config::{HealthConfig, HealthOptions, Initial, InvalidHealth};
pub use event::{EndpointHealth, HealthCounts, HealthEvent, LastProbe, ProbeError};
#[cfg(feature = "http")]
pub use probe::{HttpProbe, InvalidHttpProbe};
pub use probe::{PingProbe, Probe, TcpProbe};
pub use serve::{
    CheckReport, CheckStatus, Health, HealthBuilder, InvalidReportConfig, Readiness, ReadyState, Report,
    ReportConfig, ReportStatus,
};
