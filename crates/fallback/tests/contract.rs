//! The layer keeps the contract, whatever it answers with.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use bytes::Bytes;
use std::{convert::Infallible, time::Duration};
use tower::{limit::ConcurrencyLimitLayer, service_fn};
use towpath_core::{BoxError, Class, Request, Response};
use towpath_fallback::{
    Fallback, FallbackLayer, LastGoodConfig, Marked, SameCall, Value, WhenFailed, WholeRequest,
};
use towpath_testing::{Contract, assert_send, assert_sync, assert_unpin};

fn empty() -> Response {
    Response::new(Bytes::new())
}

#[test]
fn a_value() {
    Contract::new(|| FallbackLayer::value(empty())).verify();
    Contract::new(|| FallbackLayer::value(empty()).honour_context()).verify();
}

#[test]
fn a_function_of_the_request() {
    Contract::new(|| {
        FallbackLayer::function_of(
            WholeRequest,
            |request: Request, _: towpath_fallback::Failure<'_, Response, BoxError>| {
                Response::new(request.into_body())
            },
        )
    })
    .verify();
}

#[test]
fn another_service() {
    let other =
        service_fn(|request: Request| async move { Ok::<_, BoxError>(Response::new(request.into_body())) });
    Contract::new(move || FallbackLayer::service(other)).verify();
    Contract::new(move || FallbackLayer::service(other).honour_context()).verify();
}

#[test]
fn the_last_good_answer() {
    let key = || SameCall::of(["*"]);
    Contract::new(move || FallbackLayer::last_good(LastGoodConfig::default(), key()).honour_context())
        .verify();
}

#[test]
fn foreign_types_and_an_error_type_that_stays() {
    let layer = || {
        FallbackLayer::value("seven".to_owned())
            .classify(|_: Result<&String, &Infallible>| Class::SUCCESS)
            .mark(())
    };
    Contract::<_, u8, String, Infallible>::with_types(layer, || 7, || "seven".into()).verify();
}

#[test]
fn with_a_limit_below_and_above() {
    let narrow = || ConcurrencyLimitLayer::new(2);
    Contract::new(|| (FallbackLayer::value(empty()), narrow())).verify();
    Contract::new(|| (narrow(), FallbackLayer::value(empty()), narrow())).limits_to(2).verify();
    let other = service_fn(|_: Request| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok::<_, BoxError>(empty())
    });
    Contract::new(move || (FallbackLayer::service(other).honour_context(), narrow())).verify();
}

#[test]
fn the_auto_traits() {
    type Inner = tower::util::BoxCloneSyncService<Request, Response, BoxError>;
    type Service =
        Fallback<Inner, Value<Response>, (), towpath_core::DefaultClassify, WhenFailed, Marked, ()>;
    assert_send::<Service>();
    assert_sync::<Service>();
    assert_unpin::<Service>();
    assert_send::<<Service as tower::Service<Request>>::Future>();
}
