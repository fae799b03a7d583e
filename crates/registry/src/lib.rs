//! An embedded registry: where services say that they are there, and clients hear of it.
//!
//! | | |
//! | --- | --- |
//! | [`Registry`] | keeps who is registered, in memory, under leases; a handle within the process, a [`Router`] of MCP methods for others |
//! | [`Registration`] | keeps an instance registered: heartbeats, again after a restart of the registry; takes its leave |
//! | [`RegistrySource`] | tells a [`Directory`](towpath_discover::Directory) of the instances of a service, by watches; [`registry_source`] opens `registry://host:port/service` |
//! | [`RegistryClient`] | asks what there is; over any `Service<Request>` |
//!
//! A registry is one process. While it is away, clients keep the endpoints that they know and servers go on serving; what
//! is missing is news. What is said between processes stands in `docs/registry.md`.
//!
//! ```
//! use towpath_discover::{Directory, Instance};
//! use towpath_registry::{Registration, Registry, RegistrySource};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new();
//! let orders = Registration::start(registry.client(), "orders", Instance::new("mcp://10.0.0.7:8080"))?;
//! orders.registered().await?;
//!
//! let source = RegistrySource::new(registry.client(), "orders");
//! let watch = Directory::new().watch_source("orders", source);
//! assert_eq!(&**watch.settled().await?.endpoints()[0].address(), "mcp://10.0.0.7:8080");
//! # Ok(())
//! # }
//! ```
//!
//! [`Router`]: towpath_transport::router::Router

mod book;
mod client;
mod config;
mod event;
mod fault;
#[cfg(test)]
mod model;
mod registration;
mod registry;
mod router;
mod shelf;
mod source;
mod wire;

pub use client::{RegistryClient, RegistryError};
pub use config::{InvalidRegistry, RegistryConfig};
pub use event::{Happened, RegistrationEvent, RegistryEvent};
pub use fault::RegistryFault;
pub use registration::{
    InvalidRegistration, InvalidRegistrationConfig, Registration, RegistrationConfig, RegistrationStatus,
};
pub use registry::{LeaseId, Registry};
pub use source::{RegistrySource, registry_source};
pub use wire::ServiceSummary;
