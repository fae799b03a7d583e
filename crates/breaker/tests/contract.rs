//! The layer keeps the contract.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use std::{convert::Infallible, time::Duration};
use tower::{layer::Layer, limit::ConcurrencyLimitLayer};
use towpath_breaker::{
    Breaker, BreakerConfig, BreakerLayer, BreakerOptions, ByMethod, ResponseFuture, Window,
};
use towpath_core::{Answer, Class, DefaultClassify, Error, FromContext, Request, Response};
use towpath_testing::{Contract, assert_send, assert_sync, assert_unpin};

/// One that does not open by what the kit does.
fn config() -> BreakerConfig {
    BreakerConfig::try_new(BreakerOptions { min_calls: u32::MAX, ..BreakerOptions::default() }).unwrap()
}

#[test]
fn one_breaker() {
    Contract::new(|| BreakerLayer::new(config())).verify();
    Contract::new(|| BreakerLayer::new(config()).honour_context()).verify();
}

#[test]
fn a_breaker_for_each_method() {
    Contract::new(|| BreakerLayer::new(config()).per_method().honour_context()).verify();
}

#[test]
fn a_gate() {
    Contract::new(|| BreakerLayer::new(config()).as_gate()).verify();
}

#[test]
fn calls_one_by_one() {
    let options = BreakerOptions { window: Window::Calls(1_024), min_calls: 1_024, ..config().options() };
    let config = BreakerConfig::try_new(options).unwrap();
    Contract::new(move || BreakerLayer::new(config.clone())).verify();
}

/// The kit's failing services open it, and its calls are turned away: a probe is still a whole call.
#[test]
fn half_open_most_of_the_time() {
    let options = BreakerOptions {
        consecutive_failures: Some(1),
        open: Duration::from_millis(1),
        open_max: Duration::from_millis(1),
        ..BreakerOptions::default()
    };
    let config = BreakerConfig::try_new(options).unwrap();
    Contract::new(move || BreakerLayer::new(config.clone()))
        .recovers_within(Duration::from_millis(2))
        .verify();
}

#[test]
fn foreign_requests_and_an_error_type_that_stays() {
    let layer = || {
        BreakerLayer::new(config())
            .classify(|_: Result<&String, &Infallible>| Class::SUCCESS)
            .on_reject(Answer(|error: Error| error.to_string()))
    };
    Contract::<_, u8, String, Infallible>::with_types(layer, || 7, || "seven".into()).verify();
}

#[test]
fn with_a_limit_below_and_above() {
    let narrow = || ConcurrencyLimitLayer::new(2);
    Contract::new(|| (BreakerLayer::new(config()), narrow())).verify();
    Contract::new(|| (narrow(), BreakerLayer::new(config()).as_gate(), narrow())).verify();
}

#[test]
fn the_auto_traits() {
    type Inner = tower::util::BoxCloneSyncService<Request, Response, towpath_core::BoxError>;
    assert_send::<Breaker<Inner>>();
    assert_sync::<Breaker<Inner>>();
    assert_unpin::<Breaker<Inner>>();
    assert_send::<ResponseFuture<Inner, Request, ByMethod, DefaultClassify, FromContext, ()>>();
    assert_sync::<BreakerLayer>();
    fn is_layer<L: Layer<Inner>>() {}
    is_layer::<BreakerLayer>();
}
