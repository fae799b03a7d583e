//! Around an axum router, which cannot fail: the layer answers in place of failing.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::advance;
use tower::ServiceExt;
use towpath_breaker::{BreakerConfig, BreakerLayer, State};
use towpath_core::AnswerHttp;
use towpath_testing::Contract;

fn to(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_breaker_for_each_path() {
    let broken = Arc::new(AtomicBool::new(true));
    let flag = broken.clone();
    let pay = move || {
        let broken = flag.load(SeqCst);
        async move { if broken { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK } }
    };
    let layer = BreakerLayer::new(BreakerConfig::default())
        .keyed_by(|request: &Request<Body>| request.uri().path(), 8)
        .on_reject(AnswerHttp);
    let breakers = layer.handle();
    let app = Router::new().route("/pay", get(pay)).route("/read", get(|| async { "read" })).layer(layer);
    let status = async |path| app.clone().oneshot(to(path)).await.unwrap().status();

    for _ in 0..20 {
        assert_eq!(status("/read").await, StatusCode::OK);
        assert_eq!(status("/pay").await, StatusCode::INTERNAL_SERVER_ERROR);
    }
    let Ok(refused) = app.clone().oneshot(to("/pay")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(status("/read").await, StatusCode::OK);
    assert_eq!(breakers.get("/pay").unwrap().state(), State::Open);

    broken.store(false, SeqCst);
    advance(Duration::from_secs(5)).await;
    assert_eq!(status("/pay").await, StatusCode::OK);
    assert_eq!(breakers.get("/pay").unwrap().state(), State::Closed);
}

/// 404, 400 and 409 are no reason to turn anybody away.
#[tokio::test(start_paused = true)]
async fn what_the_caller_did_wrong_opens_nothing() {
    let layer = BreakerLayer::new(BreakerConfig::default()).on_reject(AnswerHttp);
    let handle = layer.handle();
    let app = Router::new().route("/", get(|| async { StatusCode::BAD_REQUEST })).layer(layer);
    for _ in 0..50 {
        let Ok(_) = app.clone().oneshot(to("/")).await;
        let Ok(_) = app.clone().oneshot(to("/nowhere")).await;
    }
    assert_eq!(handle.state(), State::Closed);
    assert_eq!((handle.status().window.calls, handle.status().window.failures), (50, 0));
}

#[test]
fn the_contract_over_http() {
    let layer = || BreakerLayer::new(BreakerConfig::default()).honour_context().on_reject(AnswerHttp);
    Contract::<_, Request<Body>, Response, std::convert::Infallible>::with_types(
        layer,
        || to("/any"),
        || StatusCode::OK.into_response(),
    )
    .verify();
}
