//! Ours, as a user stacks them over our requests; observed by nobody.

use super::{
    By, Policy,
    subject::{Callers, Immediate, clones, clones_with},
};
use crate::Failure;
use bytes::Bytes;
use std::time::Duration;
use tower::{Layer, layer::util::Stack};
use towpath_admin::{RecordConfig, Recorder};
use towpath_auth::{AttachLayer, StaticTokens, Token, TokensConfig, VerifyLayer};
use towpath_balance::{BalanceConfig, Balancer};
use towpath_breaker::{BreakerConfig, BreakerLayer};
use towpath_core::{DefaultClassify, Endpoint, FromContext, Identity, Request, Response};
use towpath_dedupe::{DedupeConfig, DedupeLayer};
use towpath_fallback::FallbackLayer;
use towpath_limit::{
    AdmissionConfig, AdmissionLayer, ConcurrencyConfig, ConcurrencyLimitLayer, RateConfig, RateLimitLayer,
    ThrottleConfig, ThrottleLayer,
};
use towpath_metrics::{Metrics, MetricsLayer, Prometheus};
use towpath_retry::{RetryConfig, RetryLayer};
use towpath_timeout::{DeadlineLayer, TimeoutConfig, TimeoutLayer};
use towpath_trace::{TraceConfig, TraceLayer};

const INNER: Immediate = Immediate::new();
const SECOND: Duration = Duration::from_secs(1);
/// More calls than there ever are at once.
const MANY: u32 = 1_024;
/// More calls a millisecond than can be made.
const PER_MS: u32 = 1_000_000;

pub(super) fn policies() -> Vec<Policy> {
    let ours = |layer, note, start| Policy { layer, by: By::Ours, note, start };
    vec![
        Policy { layer: "baseline", by: By::Baseline, note: "", start: || Ok(clones(INNER)) },
        ours("deadline", "", || Ok(clones(DeadlineLayer::new(limit()?).layer(INNER)))),
        ours("timeout", "", || Ok(clones(TimeoutLayer::new(limit()?).layer(INNER)))),
        ours("retry", "", || Ok(clones(retry().layer(INNER)))),
        ours("breaker", "", || Ok(clones(BreakerLayer::new(BreakerConfig::default()).layer(INNER)))),
        ours("breaker", "of each method", || {
            Ok(clones(BreakerLayer::new(BreakerConfig::prompt()).per_method().honour_context().layer(INNER)))
        }),
        ours("concurrency limit", "", || Ok(clones(concurrency()?.layer(INNER)))),
        ours("rate limit", "", || {
            let rate = RateConfig::try_new(PER_MS, Duration::from_millis(1))?.with_burst(PER_MS)?;
            Ok(clones(RateLimitLayer::new(rate).layer(INNER)))
        }),
        ours("adaptive admission", "", || {
            Ok(clones(AdmissionLayer::new(AdmissionConfig::default()).layer(INNER)))
        }),
        ours("throttle", "", || Ok(clones(ThrottleLayer::new(ThrottleConfig::default()).layer(INNER)))),
        ours("fallback", "", || Ok(clones(FallbackLayer::value(Response::new(Bytes::new())).layer(INNER)))),
        ours("auth", "attached", || Ok(clones(AttachLayer::new(token()?).layer(INNER)))),
        ours("auth", "attached and verified", || {
            let tokens = StaticTokens::new(TokensConfig::new().with(&token()?, Identity::new("caller"))?);
            Ok(clones(AttachLayer::new(token()?).layer(VerifyLayer::new(tokens).layer(INNER))))
        }),
        ours("dedupe", "calls without a key", || {
            Ok(clones(DedupeLayer::new(DedupeConfig::default()).layer(INNER)))
        }),
        ours("balance over 10", "", || Ok(balance(10))),
        ours("balance over 10 000", "", || Ok(balance(10_000))),
        ours("trace", "of calls and attempts, 1 % sampled", || Ok(clones(traces().layer(INNER)))),
        ours("metrics", "of calls and attempts, no recorder", || {
            Ok(clones(counts(&Metrics::new()).layer(INNER)))
        }),
        ours("metrics", "of calls and attempts, for Prometheus", || {
            Ok(clones(counts(Prometheus::new().metrics()).layer(INNER)))
        }),
        ours("trace and metrics", "no recorder", || {
            Ok(clones(traces().layer(counts(&Metrics::new()).layer(INNER))))
        }),
        ours("trace and metrics", "for Prometheus", || {
            Ok(clones(traces().layer(counts(Prometheus::new().metrics()).layer(INNER))))
        }),
        ours("admin", "records calls and attempts", || {
            let recorder = Recorder::new(RecordConfig::default());
            Ok(clones(recorder.calls().layer(recorder.attempts().layer(INNER))))
        }),
        ours("all stacked", "", || stack(Bytes::new())),
        ours("all stacked, traced and counted", "no recorder", || seen(&Metrics::new())),
        ours("all stacked, traced and counted", "for Prometheus", || seen(Prometheus::new().metrics())),
        // Of which each clone is counted.
        ours("all stacked, a body of 64 B", "", || stack(Bytes::from(vec![7; 64]).clone())),
    ]
}

fn balance(endpoints: usize) -> Callers {
    let make = |endpoint: Endpoint| {
        endpoint.state().set_ready();
        INNER
    };
    let endpoints = (0..endpoints).map(|n| Endpoint::new(format!("mcp://10.0.0.{n}:1")));
    let balancer = Balancer::new(BalanceConfig::default()).honour_context();
    clones(balancer.fixed::<_, _, Request>(endpoints, make))
}

/// For calls and, below, for attempts. Nobody subscribes to spans.
pub(super) fn traces() -> Stack<TraceLayer, TraceLayer> {
    let config = TraceConfig::default();
    Stack::new(TraceLayer::attempt(config.clone()), TraceLayer::client(config))
}

/// For calls and, below, for attempts.
fn counts(metrics: &Metrics) -> Stack<MetricsLayer, MetricsLayer> {
    Stack::new(MetricsLayer::attempt(metrics, "orders"), MetricsLayer::client(metrics, "orders"))
}

fn limit() -> Result<TimeoutConfig, Failure> {
    Ok(TimeoutConfig::try_new(SECOND)?)
}

fn retry() -> RetryLayer<(), DefaultClassify, FromContext> {
    RetryLayer::new(RetryConfig::default()).honour_context()
}

fn concurrency() -> Result<ConcurrencyLimitLayer, Failure> {
    Ok(ConcurrencyLimitLayer::new(ConcurrencyConfig::try_new(MANY)?))
}

fn token() -> Result<Token, Failure> {
    Ok("correct-horse-battery".parse()?)
}

/// As below, and all calls and attempts are traced and counted: what [`stack`] costs less is what that costs where the clock
/// is read anyway.
fn seen(metrics: &Metrics) -> Result<Callers, Failure> {
    let config = TraceConfig::default();
    let endpoint_breaker = BreakerLayer::new(BreakerConfig::default()).honour_context().layer(INNER);
    let limited = concurrency()?.honour_context().layer(endpoint_breaker);
    let counted = MetricsLayer::attempt(metrics, "orders").layer(limited);
    let traced = TraceLayer::attempt(config.clone()).layer(counted);
    let retry = retry().inner_keeps_deadlines().layer(traced);
    let method_breaker =
        BreakerLayer::new(BreakerConfig::prompt()).per_method().honour_context().layer(retry);
    let admission = AdmissionLayer::new(AdmissionConfig::default()).honour_context().layer(method_breaker);
    let deadline = DeadlineLayer::new(limit()?).layer(admission);
    let fallback = FallbackLayer::value(Response::new(Bytes::new())).layer(deadline);
    let counted = MetricsLayer::client(metrics, "orders").layer(fallback);
    Ok(clones(TraceLayer::client(config).layer(counted)))
}

/// In the order in which a client has them. What waits below a deadline of the stack keeps it itself.
fn stack(body: Bytes) -> Result<Callers, Failure> {
    let endpoint_breaker = BreakerLayer::new(BreakerConfig::default()).honour_context().layer(INNER);
    let limited = concurrency()?.honour_context().layer(endpoint_breaker);
    let retry = retry().inner_keeps_deadlines().layer(limited);
    let method_breaker =
        BreakerLayer::new(BreakerConfig::prompt()).per_method().honour_context().layer(retry);
    let admission = AdmissionLayer::new(AdmissionConfig::default()).honour_context().layer(method_breaker);
    let deadline = DeadlineLayer::new(limit()?).layer(admission);
    let fallback = FallbackLayer::value(Response::new(Bytes::new())).layer(deadline);
    Ok(clones_with(fallback, body))
}
