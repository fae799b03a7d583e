//! All layers keep the contract.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use std::{convert::Infallible, hash::Hash, time::Duration};
use tower::layer::Layer;
use towpath_core::{Answer, DefaultClassify, Error, FromContext, Request, Response};
use towpath_limit::{
    Admission, AdmissionConfig, AdmissionFuture, AdmissionLayer, AnyAnswer, ConcurrencyConfig,
    ConcurrencyLimit, ConcurrencyLimitFuture, ConcurrencyLimitLayer, KeyHasher, LimitBy, QueueOrder,
    RateConfig, RateLimit, RateLimitFuture, RateLimitLayer, ReportLoadLayer, Throttle, ThrottleConfig,
    ThrottleFuture, ThrottleLayer, WhenFull,
};
use towpath_testing::{Contract, assert_send, assert_sync, assert_unpin, contract::Rule};

const SECOND: Duration = Duration::from_secs(1);

fn config(limit: u32, when_full: WhenFull) -> ConcurrencyConfig {
    ConcurrencyConfig::try_new(limit).unwrap().with_when_full(when_full).unwrap()
}

fn wait(order: QueueOrder) -> WhenFull {
    WhenFull::Wait { queue: 100, timeout: SECOND, order }
}

fn ways() -> [WhenFull; 4] {
    let waits = [QueueOrder::OldestFirst, QueueOrder::NewestFirst].map(wait);
    [WhenFull::Reject, WhenFull::Backpressure, waits[0], waits[1]]
}

#[test]
fn the_concurrency_limit() {
    for when_full in ways() {
        for limit in [1, 3] {
            let layer = move || ConcurrencyLimitLayer::new(config(limit, when_full));
            Contract::new(layer).limits_to(limit as usize).verify();
            Contract::new(move || layer().honour_context()).limits_to(limit as usize).verify();
        }
    }
}

/// 10 000 random steps each, from other seeds: in the end all permits are back.
#[test]
fn random_sequences_end_with_all_permits_back() {
    for (seed, when_full) in ways().into_iter().cycle().take(12).enumerate() {
        let layer = move || ConcurrencyLimitLayer::new(config(2, when_full));
        Contract::new(layer).limits_to(2).seed(seed as u64).verify();
    }
}

#[test]
fn the_rate_limit() {
    let rate = RateConfig::try_new(100, SECOND).unwrap().with_burst(30).unwrap();
    Contract::new(move || RateLimitLayer::new(rate)).recovers_within(SECOND).verify();
    Contract::new(move || RateLimitLayer::new(rate).honour_context()).recovers_within(SECOND).verify();
    let by_method = |request: &Request, key: &mut KeyHasher| request.method().as_str().hash(key);
    Contract::new(move || RateLimitLayer::keyed(rate, by_method)).recovers_within(SECOND).verify();
    let waits = rate.with_burst(2).unwrap().with_max_wait(SECOND).unwrap();
    Contract::new(move || RateLimitLayer::new(waits)).recovers_within(2 * SECOND).verify();
}

fn admission(limit: u32) -> AdmissionConfig {
    AdmissionConfig::try_new(LimitBy::Fixed(limit)).unwrap()
}

#[test]
fn the_admission() {
    for limit in [1, 3] {
        let waits = admission(limit).with_delay(SECOND, SECOND).unwrap();
        for config in [waits, admission(limit), admission(limit).with_queue(0).unwrap()] {
            let layer = move || AdmissionLayer::new(config);
            Contract::new(layer).limits_to(limit as usize).verify();
            Contract::new(move || layer().honour_context()).limits_to(limit as usize).verify();
        }
    }
    // What it finds out changes with time: as new is one that was not called.
    Contract::new(|| AdmissionLayer::new(AdmissionConfig::default()).honour_context())
        .without(Rule::PermitsComeBack, "the limit is another one after 10 000 calls")
        .verify();
}

#[test]
fn the_throttle() {
    Contract::new(|| ThrottleLayer::new(ThrottleConfig::default())).verify();
    Contract::new(|| ThrottleLayer::new(ThrottleConfig::default()).honour_context()).verify();
}

#[test]
fn foreign_requests_and_an_error_type_that_stays() {
    let layer = || {
        let layer = ConcurrencyLimitLayer::new(config(2, WhenFull::Reject));
        layer.on_reject(Answer(|error: Error| error.to_string()))
    };
    Contract::<_, u8, String, Infallible>::with_types(layer, || 7, || "seven".into()).verify();
    let rate = RateConfig::try_new(100, SECOND).unwrap().with_burst(30).unwrap();
    let layer = move || RateLimitLayer::new(rate).on_reject(Answer(|error: Error| error.to_string()));
    Contract::<_, u8, String, Infallible>::with_types(layer, || 7, || "seven".into())
        .recovers_within(SECOND)
        .verify();
}

#[test]
fn with_a_limit_below_and_above() {
    for when_full in ways() {
        let narrow = move || ConcurrencyLimitLayer::new(config(2, when_full));
        let wide = move || ConcurrencyLimitLayer::new(config(3, when_full));
        Contract::new(move || (wide(), narrow())).limits_to(2).verify();
        Contract::new(move || (narrow(), wide())).limits_to(2).verify();
        Contract::new(move || (AdmissionLayer::new(admission(3)), narrow())).limits_to(2).verify();
    }
}

#[test]
fn the_auto_traits() {
    type Inner = tower::util::BoxCloneSyncService<Request, Response, towpath_core::BoxError>;
    assert_send::<ConcurrencyLimit<Inner>>();
    assert_sync::<ConcurrencyLimit<Inner>>();
    assert_unpin::<ConcurrencyLimit<Inner>>();
    assert_send::<ConcurrencyLimitFuture<Inner, Request, (), ()>>();
    assert_send::<RateLimit<Inner>>();
    assert_sync::<RateLimit<Inner>>();
    assert_send::<RateLimitFuture<Inner, Request, (), ()>>();
    assert_sync::<ConcurrencyLimitLayer<FromContext>>();
    assert_send::<Admission<Inner>>();
    assert_sync::<Admission<Inner>>();
    assert_send::<AdmissionFuture<Inner, Request, (), AnyAnswer, (), ()>>();
    assert_send::<Throttle<Inner, (), DefaultClassify>>();
    assert_sync::<Throttle<Inner, (), DefaultClassify>>();
    assert_send::<ThrottleFuture<std::future::Ready<()>, DefaultClassify, (), ()>>();
    fn is_layer<L: Layer<Inner>>() {}
    is_layer::<ConcurrencyLimitLayer>();
    is_layer::<RateLimitLayer>();
    is_layer::<AdmissionLayer>();
    is_layer::<ThrottleLayer>();
}

#[test]
fn the_load_report() {
    Contract::new(ReportLoadLayer::new).verify();
}
