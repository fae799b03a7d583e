//! Around an axum router, which cannot fail: the layers answer in place of failing.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{hash::Hash, time::Duration};
use tokio::time::sleep;
use tower::ServiceExt;
use towpath_core::{AnswerHttp, Context, Priority};
use towpath_limit::{
    AdmissionConfig, AdmissionLayer, ConcurrencyConfig, ConcurrencyLimitLayer, KeyHasher, LimitBy,
    RateConfig, RateLimitLayer, ThrottleConfig, ThrottleLayer,
};
use towpath_testing::{Contract, time::settle};

const SECOND: Duration = Duration::from_secs(1);

fn router() -> Router {
    Router::new()
        .route("/quick", get(|| async { "quick" }))
        .route("/slow", get(|| async { sleep(Duration::from_secs(60)).await }))
}

fn to(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

fn narrow() -> ConcurrencyLimitLayer<(), AnswerHttp> {
    ConcurrencyLimitLayer::new(ConcurrencyConfig::try_new(1).unwrap()).on_reject(AnswerHttp)
}

/// A router clones its layers for each route, and its services for each call: the limit is one for all.
#[tokio::test(start_paused = true)]
async fn a_limit_of_all_routes_answers_503_with_retry_after() {
    let app = router().layer(narrow());
    let slow = tokio::spawn(app.clone().oneshot(to("/slow")));
    settle().await;
    let Ok(refused) = app.clone().oneshot(to("/quick")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    let Ok(slow) = slow.await.unwrap();
    assert_eq!(slow.status(), StatusCode::OK);
    let Ok(quick) = app.oneshot(to("/quick")).await;
    assert_eq!(quick.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_rate_by_caller_answers_429_with_retry_after() {
    let by_caller = |request: &Request<Body>, key: &mut KeyHasher| {
        request.headers().get("x-caller").map(|caller| caller.as_bytes()).hash(key);
    };
    let rate = RateConfig::try_new(1, 3 * SECOND).unwrap();
    let app = router().layer(RateLimitLayer::keyed(rate, by_caller).on_reject(AnswerHttp));
    let call = |caller: &'static str| {
        let mut request = to("/quick");
        request.headers_mut().insert("x-caller", caller.parse().unwrap());
        app.clone().oneshot(request)
    };
    for caller in ["a", "b"] {
        let Ok(answer) = call(caller).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let Ok(refused) = call("a").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "3");
    tokio::time::advance(3 * SECOND).await;
    let Ok(answer) = call("a").await;
    assert_eq!(answer.status(), StatusCode::OK);
}

/// A server with four workers' worth of work, and more calls than that: those that find no room are told so.
#[tokio::test(start_paused = true)]
async fn an_admission_answers_503_and_lets_the_important_in() {
    let config = AdmissionConfig::try_new(LimitBy::Fixed(4)).unwrap().with_queue(0).unwrap();
    let app = router().layer(AdmissionLayer::new(config).honour_context().on_reject(AnswerHttp));
    let call = |priority| {
        let mut context = Context::new();
        context.set_priority(Priority::new(priority));
        let mut request = to("/slow");
        request.extensions_mut().insert(context);
        tokio::spawn(app.clone().oneshot(request))
    };
    let mut calls: Vec<_> = (0..3).map(|_| call(0)).collect();
    settle().await;
    calls.push(call(7));
    settle().await;
    let Ok(refused) = calls.remove(2).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    for call in calls {
        let Ok(answer) = call.await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[test]
fn the_contract_over_http() {
    type Over<M> = Contract<M, Request<Body>, Response, std::convert::Infallible>;
    let answer = || StatusCode::OK.into_response();
    Over::with_types(|| narrow().honour_context(), || to("/any"), answer).verify();
    let admission = AdmissionConfig::try_new(LimitBy::Fixed(2)).unwrap();
    let layer = move || AdmissionLayer::new(admission).honour_context().on_reject(AnswerHttp);
    Over::with_types(layer, || to("/any"), answer).limits_to(2).verify();
    let layer = || ThrottleLayer::new(ThrottleConfig::default()).on_reject(AnswerHttp);
    Over::with_types(layer, || to("/any"), answer).verify();
    let rate = RateConfig::try_new(100, SECOND).unwrap().with_burst(30).unwrap();
    let layer = move || RateLimitLayer::new(rate).honour_context().on_reject(AnswerHttp);
    Over::with_types(layer, || to("/any"), answer).recovers_within(SECOND).verify();
}
