//! Those of tower-resilience.

use super::{MANY, PER_SECOND, SECOND, peer, tower_layers::Budgeted};
use crate::{
    Failure,
    policies::{
        Policy,
        subject::{Callers, Immediate, clones, clones_with},
    },
};
use bytes::Bytes;
use tower::{Layer, limit::ConcurrencyLimit, retry::Retry, timeout::Timeout};
use tower_resilience::{
    adaptive::{AdaptiveLimiterLayer, Aimd, Vegas},
    bulkhead::BulkheadLayer,
    circuitbreaker::CircuitBreakerLayer,
    coalesce::CoalesceLayer,
    fallback::FallbackLayer,
    ratelimiter::RateLimiterLayer,
    retry::{RetryBudgetBuilder, RetryLayer},
    timelimiter::TimeLimiterLayer,
};
use towpath_core::{Error, Request, Response};

/// They ask for an error type that is an `Error`.
const INNER: Immediate<Error> = Immediate::new();

pub(super) fn policies() -> Vec<Policy> {
    let resilience = |layer, note, start| peer(layer, "tower-resilience", note, start);
    vec![
        resilience("timeout", "", || {
            Ok(clones(TimeLimiterLayer::builder().timeout_duration(SECOND).build().layer(INNER)))
        }),
        resilience("retry", "", || Ok(clones(retry(false)?.layer(INNER)))),
        resilience("retry", "with its budget", || Ok(clones(retry(true)?.layer(INNER)))),
        resilience("breaker", "", || Ok(clones(breaker()?.layer(INNER)))),
        resilience("concurrency limit", "", || {
            let layer = BulkheadLayer::builder().max_concurrent_calls(MANY).reject_when_full().build()?;
            Ok(clones(layer.layer(INNER)))
        }),
        resilience("rate limit", "", || {
            let builder = RateLimiterLayer::builder().limit_for_period(PER_SECOND as usize);
            Ok(clones(builder.refresh_period(SECOND).build()?.layer(INNER)))
        }),
        resilience("adaptive admission", "AIMD", || Ok(clones(adaptive()?.layer(INNER)))),
        resilience("adaptive admission", "Vegas", || {
            let vegas = Vegas::builder().initial_limit(MANY / 2).max_limit(MANY).build()?;
            Ok(clones(AdaptiveLimiterLayer::new(vegas).layer(INNER)))
        }),
        resilience("fallback", "", || {
            Ok(clones(FallbackLayer::value_fn(|| Response::new(Bytes::new())).layer(INNER)))
        }),
        resilience("dedupe", "coalesce: joins calls, keeps no answers", || {
            let layer = CoalesceLayer::new(|request: &Request| request.method().clone());
            Ok(clones(layer.layer(INNER)))
        }),
        peer("all stacked", "tower and tower-resilience", "", || stack(Bytes::new())),
        peer("all stacked, a body of 64 B", "tower and tower-resilience", "", || stack(shared())),
    ]
}

/// A body of which each clone is counted.
fn shared() -> Bytes {
    Bytes::from(vec![7; 64]).clone()
}

fn retry(budget: bool) -> Result<RetryLayer<Request, Response, Error>, Failure> {
    let builder = RetryLayer::builder().max_attempts(3).fixed_backoff(SECOND);
    Ok(match budget {
        // The cheaper one of its two.
        true => builder.budget(RetryBudgetBuilder::new().aimd().max_budget(100).build()?).build(),
        false => builder.build(),
    })
}

/// As many calls and as high a rate as ours has for its defaults.
fn breaker() -> Result<CircuitBreakerLayer, Failure> {
    let builder = CircuitBreakerLayer::builder().failure_rate_threshold(0.5).sliding_window_size(100);
    Ok(builder.minimum_number_of_calls(20).build()?)
}

fn adaptive() -> Result<AdaptiveLimiterLayer<Aimd>, Failure> {
    let aimd = Aimd::builder().initial_limit(MANY / 2).max_limit(MANY).latency_threshold(SECOND).build()?;
    Ok(AdaptiveLimiterLayer::new(aimd))
}

/// The same list as ours, each the faster one of what the two have: timeout, retry and limit are tower's.
fn stack(body: Bytes) -> Result<Callers, Failure> {
    let endpoint_breaker = breaker()?.layer(INNER);
    let limit = ConcurrencyLimit::new(endpoint_breaker, MANY);
    let retry = Retry::new(Budgeted::default(), limit);
    let method_breaker = breaker()?.layer(retry);
    let admission = adaptive()?.layer(method_breaker);
    let timeout = Timeout::new(admission, SECOND);
    let fallback = FallbackLayer::value_fn(|| Response::new(Bytes::new())).layer(timeout);
    Ok(clones_with(fallback, body))
}
