//! Both layers keep the contract.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use std::{convert::Infallible, time::Duration};
use tower::{layer::Layer, limit::ConcurrencyLimitLayer};
use towpath_core::{Answer, Error, Request, Response};
use towpath_testing::{Contract, assert_send, assert_sync, assert_unpin};
use towpath_timeout::{
    Deadline, DeadlineFuture, DeadlineLayer, FromContext, Timeout, TimeoutConfig, TimeoutFuture, TimeoutLayer,
};

const LIMIT: Duration = Duration::from_secs(5);

fn config() -> TimeoutConfig {
    TimeoutConfig::try_new(LIMIT).unwrap()
}

#[test]
fn the_deadline_layer() {
    Contract::new(|| DeadlineLayer::new(config())).verify();
    Contract::new(DeadlineLayer::inherited).verify();
}

#[test]
fn the_timeout_layer() {
    Contract::new(|| TimeoutLayer::new(config())).gives_up_after(LIMIT).verify();
}

#[test]
fn the_timeout_layer_with_the_deadline_of_the_call() {
    let second = Duration::from_secs(1);
    Contract::new(|| TimeoutLayer::new(config()).honour_context()).gives_up_after(second).verify();
    let find = |request: &Request| request.context().deadline();
    Contract::new(move || TimeoutLayer::new(config()).deadline_from(find)).gives_up_after(second).verify();
}

#[test]
fn foreign_requests_and_an_error_type_that_stays() {
    let layer = || TimeoutLayer::new(config()).on_reject(Answer(|error: Error| error.to_string()));
    Contract::<_, u8, String, Infallible>::with_types(layer, || 7, || "seven".into())
        .gives_up_after(LIMIT)
        .verify();
}

#[test]
fn with_a_limit_below_and_above() {
    let narrow = || ConcurrencyLimitLayer::new(2);
    Contract::new(|| (TimeoutLayer::new(config()), narrow())).gives_up_after(LIMIT).verify();
    Contract::new(|| (narrow(), DeadlineLayer::new(config()), narrow())).verify();
    Contract::new(|| (narrow(), TimeoutLayer::new(config()).honour_context())).gives_up_after(LIMIT).verify();
}

#[test]
fn the_auto_traits() {
    type Inner = tower::util::BoxCloneSyncService<Request, Response, towpath_core::BoxError>;
    assert_send::<Timeout<Inner>>();
    assert_sync::<Timeout<Inner>>();
    assert_unpin::<Timeout<Inner>>();
    assert_send::<Deadline<Inner>>();
    assert_sync::<Deadline<Inner>>();
    assert_send::<TimeoutFuture<Inner, Request, FromContext, (), (), ()>>();
    assert_send::<DeadlineFuture<std::future::Ready<()>, Response, Infallible, ()>>();
    assert_sync::<TimeoutLayer>();
    fn is_layer<L: Layer<Inner>>() {}
    is_layer::<TimeoutLayer>();
    is_layer::<DeadlineLayer>();
}
