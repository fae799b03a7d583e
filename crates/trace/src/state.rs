//! What the services and the calls of one layer share.

use crate::{Put, Role, TraceConfig, Value, event::Outcome, sample::Limiter};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tokio::time::Instant;
use towpath_core::{EndpointId, Live};

/// What the services of one layer share.
pub(crate) struct State<H> {
    pub(crate) about: About,
    pub(crate) hooks: H,
}

/// Where an endpoint is, by its id.
pub(crate) type Locate = Arc<dyn Fn(Option<EndpointId>) -> Option<Arc<str>> + Send + Sync>;

/// What a layer is, whatever the types of its calls are.
#[derive(Clone)]
pub(crate) struct About {
    pub(crate) role: Role,
    pub(crate) config: Live<TraceConfig>,
    /// Whether anybody observes.
    pub(crate) listens: bool,
    /// What is called, if that is one place.
    pub(crate) target: Option<Arc<str>>,
    pub(crate) locate: Option<Locate>,
    pub(crate) counts: Arc<Counts>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    limiter: Mutex<Limiter>,
    pub(crate) kept: AtomicU64,
    pub(crate) left_out: AtomicU64,
}

impl About {
    pub(crate) fn new(role: Role, config: Live<TraceConfig>) -> Self {
        About { role, config, listens: false, target: None, locate: None, counts: Arc::default() }
    }

    /// Whether one more call may be kept; counts it.
    pub(crate) fn keeps(&self, now: Instant, below: bool) -> bool {
        let mut limiter = self.counts.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = limiter.allows(self.config.get().keep_per_second, now);
        drop(limiter);
        // What is below it would have no parent.
        let keeps = allowed || below;
        let count = if keeps { &self.counts.kept } else { &self.counts.left_out };
        count.fetch_add(1, Relaxed);
        keeps
    }

    /// What every span says beside what its request and its response say.
    pub(crate) fn attributes(
        &self,
        attempt: u16,
        endpoint: Option<EndpointId>,
        outcome: &Outcome<'_>,
        put: &mut Put<'_>,
    ) {
        if self.role == Role::Attempt {
            put("towpath.attempt", Value::Int(attempt.into()));
        }
        if let Some(endpoint) = endpoint {
            put("towpath.endpoint", Value::Int(i64::try_from(endpoint.0).unwrap_or(i64::MAX)));
        }
        let located = self.locate.as_ref().and_then(|locate| locate(endpoint));
        if let Some(address) = located.as_ref().or(self.target.as_ref()) {
            put_address(address, put);
        }
        if let Some(code) = &outcome.code {
            put("rpc.response.status_code", Value::Str(code.as_str()));
        }
        if let Some(error) = outcome.error_type {
            put("error.type", Value::Str(error));
        }
    }
}

/// `mcp://10.0.0.7:8080` is a host and a port; what is neither is named as it is.
fn put_address(address: &str, put: &mut Put<'_>) {
    let place = address.split_once("://").map_or(address, |(_, place)| place);
    match place.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        // The path of a socket may look like one.
        Some((host, Ok(port))) if !host.contains('/') => {
            put("server.address", Value::Str(host.trim_start_matches('[').trim_end_matches(']')));
            put("server.port", Value::Int(port.into()));
        }
        _ => put("server.address", Value::Str(place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let parts = |address: &str| {
            let mut parts = Vec::new();
            put_address(address, &mut |name, value| parts.push(format!("{name} {value:?}")));
            parts.join(", ")
        };
        let tcp = |host: &str| format!("server.address Str({host:?}), server.port Int(8080)");
        assert_eq!(parts("mcp://orders.example:8080"), tcp("orders.example"));
        assert_eq!(parts("10.0.0.7:8080"), tcp("10.0.0.7"));
        assert_eq!(parts("mcps://[::1]:8080"), tcp("::1"));
        assert_eq!(parts("mcp+unix:/run/a:1"), "server.address Str(\"mcp+unix:/run/a:1\")");
        assert_eq!(parts("memory"), "server.address Str(\"memory\")");
    }
}
