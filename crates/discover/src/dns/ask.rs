//! What is asked of a resolver, and what it answers.

use std::{future::Future, net::IpAddr, time::Duration};
use towpath_core::BoxError;

/// An answer that is certain: no records means that there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer<T> {
    pub(super) records: Vec<T>,
    /// For how long it holds; also for there being none.
    pub(super) ttl: Duration,
}

/// A record of a service (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Srv {
    pub(super) target: String,
    pub(super) port: u16,
    pub(super) priority: u16,
    pub(super) weight: u16,
    /// Addresses of the target that came with the answer.
    pub(super) known: Vec<IpAddr>,
}

/// Which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    V4,
    V6,
}

/// Asks a resolver. An answer is what it says now: nothing is kept.
pub(super) trait Ask: Send + 'static {
    /// The addresses of a name.
    fn addresses(
        &self,
        name: &str,
        kind: Kind,
    ) -> impl Future<Output = Result<Answer<IpAddr>, BoxError>> + Send + 'static;

    /// The services of a name.
    fn services(&self, name: &str) -> impl Future<Output = Result<Answer<Srv>, BoxError>> + Send + 'static;
}
