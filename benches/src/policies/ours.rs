//! Ours, as a user stacks them; observed by nobody.

use super::{
    By, Policy,
    subject::{Immediate, clones},
};
use crate::Failure;
use std::time::Duration;
use tower::Layer;
use towpath_breaker::{BreakerConfig, BreakerLayer};
use towpath_limit::{ConcurrencyConfig, ConcurrencyLimitLayer, RateConfig, RateLimitLayer};
use towpath_timeout::{DeadlineLayer, TimeoutConfig, TimeoutLayer};

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
        ours("breaker", "", || Ok(clones(BreakerLayer::new(BreakerConfig::default()).layer(INNER)))),
        ours("breaker", "of each method", || {
            Ok(clones(BreakerLayer::new(BreakerConfig::prompt()).per_method().honour_context().layer(INNER)))
        }),
        ours("concurrency limit", "", || {
            Ok(clones(ConcurrencyLimitLayer::new(ConcurrencyConfig::try_new(MANY)?).layer(INNER)))
        }),
        ours("rate limit", "", || Ok(clones(RateLimitLayer::new(rate()?).layer(INNER)))),
    ]
}

fn rate() -> Result<RateConfig, Failure> {
    Ok(RateConfig::try_new(PER_MS, Duration::from_millis(1))?.with_burst(PER_MS)?)
}

fn limit() -> Result<TimeoutConfig, Failure> {
    Ok(TimeoutConfig::try_new(SECOND)?)
}
