//! The layer keeps the contract.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use std::{convert::Infallible, time::Duration};
use tower::{layer::Layer, limit::ConcurrencyLimitLayer, util::BoxCloneSyncService};
use towpath_core::{Answer, BoxError, DefaultClassify, Error, FromContext, Request, Response};
use towpath_retry::{
    ByClone, HedgeAfter, HedgeConfig, Hooks, ResponseFuture, Retry, RetryConfig, RetryHandle, RetryLayer,
};
use towpath_testing::{Contract, assert_send, assert_sync, assert_unpin};

fn config() -> RetryConfig {
    RetryConfig::default()
}

fn hedging() -> RetryConfig {
    let after = HedgeAfter::Fixed(Duration::from_millis(20));
    config().with_hedge(HedgeConfig::try_new(after).unwrap().with_max(2).unwrap())
}

const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn around_anything() {
    Contract::new(|| RetryLayer::new(config())).verify();
    Contract::new(|| RetryLayer::new(config()).honour_context().inner_keeps_deadlines()).verify();
}

#[test]
fn the_deadline_is_kept() {
    Contract::new(|| RetryLayer::new(config()).honour_context()).gives_up_after(LIMIT).verify();
    let idempotent = || RetryLayer::new(config()).honour_context().assume_idempotent();
    Contract::new(idempotent).gives_up_after(LIMIT).verify();
    let limited = || {
        let config = config().with_attempt_timeout(LIMIT / 3).unwrap();
        RetryLayer::new(config).honour_context().assume_idempotent()
    };
    Contract::new(limited).gives_up_after(LIMIT).verify();
}

#[test]
fn with_hedges() {
    let layer = || RetryLayer::new(hedging()).honour_context().assume_idempotent();
    Contract::new(layer).gives_up_after(LIMIT).verify();
}

#[test]
fn foreign_requests_and_an_error_type_that_stays() {
    let layer = || {
        RetryLayer::new(config().with_attempt_timeout(LIMIT).unwrap())
            .on_reject(Answer(|error: Error| error.to_string()))
            .classify(|outcome: Result<&String, &Infallible>| match outcome {
                Ok(_) => towpath_core::Class::SUCCESS,
                Err(never) => match *never {},
            })
    };
    Contract::<_, u8, String, Infallible>::with_types(layer, || 7, || "seven".into())
        .gives_up_after(LIMIT)
        .verify();
}

#[test]
fn with_a_limit_below_and_above() {
    let narrow = || ConcurrencyLimitLayer::new(2);
    let retry = || RetryLayer::new(hedging()).honour_context().assume_idempotent();
    Contract::new(move || (retry(), narrow())).gives_up_after(LIMIT).verify();
    Contract::new(move || (narrow(), retry(), narrow())).verify();
}

#[test]
fn the_auto_traits() {
    type Inner = BoxCloneSyncService<Request, Response, BoxError>;
    type Own = Hooks<(), DefaultClassify, FromContext, ByClone, (), ()>;
    assert_send::<Retry<Inner, Own>>();
    assert_sync::<Retry<Inner, Own>>();
    assert_unpin::<Retry<Inner, Own>>();
    assert_send::<ResponseFuture<Inner, Request, Own>>();
    assert_sync::<RetryLayer>();
    assert_send::<RetryHandle>();
    assert_sync::<RetryHandle>();
    fn is_layer<L: Layer<Inner>>() {}
    is_layer::<RetryLayer>();
}
