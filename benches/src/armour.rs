//! A client and a server with everything on.
//!
//! The client: a deadline, a breaker of the method and one of the endpoint, retry, a limit, a balancer and a pool, metrics for
//! Prometheus, spans for 1 % of the calls. The server: admission, metrics, spans.

use crate::Failure;
use std::net::SocketAddr;
use tower::layer::util::{Identity, Stack};
use towpath::{
    Client, ClientPolicies, Endpoint, Server, ServerBuilder, ServerMetrics, ServerPolicies, ServerTrace,
    Tracing,
    limit::ConcurrencyConfig,
    metrics::{MetricsLayer, Prometheus},
    policies::ServerStack,
    trace::{TraceConfig, TraceLayer},
};
use towpath_core::Fixed;

/// Whoever samples pays for a span as well.
pub fn spans_have_a_subscriber() {
    // It is there already, after the first time.
    let _ = tracing_subscriber::util::SubscriberInitExt::try_init(tracing_subscriber::registry());
}

/// To one endpoint, which is balanced all the same. It connects at the first call.
///
/// # Errors
/// If the address is none.
pub fn client(address: SocketAddr) -> Result<Client, Failure> {
    let mut policies = ClientPolicies::default();
    policies.concurrency = Some(ConcurrencyConfig::default());
    let client = Client::builder().idempotent("*").policies(policies);
    let client = client.metrics(Prometheus::new().metrics(), "echo").trace(Tracing::default());
    Ok(client.follow("echo", Fixed::new([Endpoint::new(format!("mcp://{address}"))]))?)
}

/// Its layers, for a connection of one's own.
pub fn layers() -> Stack<Stack<ServerStack, MetricsLayer>, TraceLayer> {
    let counted = MetricsLayer::server(Prometheus::new().metrics(), "");
    Stack::new(
        Stack::new(ServerPolicies::default().stack(), counted),
        TraceLayer::server(TraceConfig::default()),
    )
}

/// The same, as one has them.
pub fn server() -> ServerBuilder<ServerTrace<ServerMetrics<Stack<ServerStack, Identity>>>> {
    Server::builder()
        .policies(ServerPolicies::default())
        .metrics(Prometheus::new().metrics(), "")
        .trace(Tracing::default())
}
