//! Around an axum router, which cannot fail: the layers answer in place of failing.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;
use towpath_core::{AnswerHttp, Context};
use towpath_testing::{Contract, time::timed};
use towpath_timeout::{DeadlineLayer, TimeoutConfig, TimeoutLayer};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn router() -> Router {
    Router::new()
        .route("/quick", get(|| async { "quick" }))
        .route("/slow", get(|| async { sleep(Duration::from_secs(60)).await }))
}

fn limit(millis: u64) -> TimeoutConfig {
    TimeoutConfig::try_new(ms(millis)).unwrap()
}

fn to(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

fn due_in(path: &str, millis: u64) -> Request<Body> {
    let mut context = Context::new();
    context.set_deadline(Some(Instant::now() + ms(millis)));
    let mut request = to(path);
    request.extensions_mut().insert(context);
    request
}

#[tokio::test(start_paused = true)]
async fn a_fixed_limit_asks_nothing_of_the_request() {
    let app = router().layer(TimeoutLayer::new(limit(200)).on_reject(AnswerHttp));
    let Ok(quick) = app.clone().oneshot(to("/quick")).await;
    assert_eq!(quick.status(), StatusCode::OK);
    let (Ok(slow), took) = timed(app.oneshot(to("/slow"))).await;
    assert_eq!(slow.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!((ms(200)..=ms(201)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_context_in_an_http_request_is_honoured() {
    let app = router().layer(TimeoutLayer::new(limit(200)).honour_context().on_reject(AnswerHttp));
    let (Ok(slow), took) = timed(app.clone().oneshot(due_in("/slow", 50))).await;
    assert_eq!(slow.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!((ms(50)..=ms(51)).contains(&took), "{took:?}");
    let (Ok(_), took) = timed(app.oneshot(to("/slow"))).await;
    assert!((ms(200)..=ms(201)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_late_request_is_refused_before_its_handler() {
    let app = Router::new()
        .route("/never", get(|| async { panic!("the handler ran") as &'static str }))
        .layer(DeadlineLayer::inherited().on_reject(AnswerHttp));
    let Ok(late) = app.oneshot(due_in("/never", 0)).await;
    assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[test]
fn the_contract_over_http() {
    let layer = || TimeoutLayer::new(limit(500)).honour_context().on_reject(AnswerHttp);
    Contract::<_, Request<Body>, Response, std::convert::Infallible>::with_types(
        layer,
        || to("/any"),
        || StatusCode::OK.into_response(),
    )
    .gives_up_after(ms(500))
    .verify();
}
