//! What a registry and those who register in it tell.

use std::{sync::Arc, time::Duration};
use towpath_core::Error;
use towpath_discover::Instance;

/// Something that happened in a [`Registry`](crate::Registry); reported through
/// [`Observe`](towpath_core::Observe). Heartbeats are not.
#[derive(Clone, Debug)]
pub struct RegistryEvent {
    /// The service.
    pub service: Arc<str>,
    /// The instance, as it is registered now or was last.
    pub instance: Instance,
    /// What happened to it.
    pub what: Happened,
}

/// What happened to an instance in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Happened {
    /// It is new.
    Registered,
    /// It says something else of itself than before.
    Described,
    /// Somebody registered under its id, who did not have its lease: itself after a restart, or another one.
    Replaced,
    /// It took its leave.
    Deregistered,
    /// Its lease ran out.
    Expired,
}

/// Something that happened to a [`Registration`](crate::Registration); reported through
/// [`Observe`](towpath_core::Observe).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RegistrationEvent {
    /// It is registered: for the first time, again, or as something else.
    Registered,
    /// The registry does not know the lease any more: it registers again.
    Lost,
    /// The registry was not reached, or refused. It is tried again.
    Failed {
        /// Why.
        error: Error,
        /// How often in a row by now.
        failures: u32,
        /// After how long it is tried again.
        retry_in: Duration,
    },
    /// It took its leave.
    Deregistered,
}
