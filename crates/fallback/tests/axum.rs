//! Around an axum router, which cannot fail: an answer of 503 is a failure too.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
};
use tower::{Layer, ServiceExt, service_fn};
use towpath_core::BoxError;
use towpath_fallback::{Degraded, Failure, FallbackLayer, LastGoodConfig};
use towpath_testing::Contract;

fn to(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

fn sorry(_: Failure<'_, Response, Infallible>) -> Response {
    "try later".into_response()
}

#[tokio::test]
async fn a_failing_page_is_replaced_and_a_missing_one_is_not() {
    let app = Router::new()
        .route("/good", get(|| async { "good" }))
        .route("/down", get(|| async { (StatusCode::BAD_GATEWAY, "the database is away") }))
        .layer(FallbackLayer::function(sorry));
    let ask = async |path| {
        let Ok(answer) = app.clone().oneshot(to(path)).await;
        answer
    };
    assert_eq!(ask("/good").await.headers().get("degraded"), None);
    assert_eq!(ask("/missing").await.status(), 404);
    let answer = ask("/down").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["degraded"]),
        (200, &"failed; function".parse().unwrap())
    );
    let degraded = answer.extensions().get::<Degraded>().unwrap();
    assert_eq!(degraded.error().unwrap().to_string(), "the answer was 502 Bad Gateway");
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "try later");
}

/// A client whose bodies are collected below the layer.
#[tokio::test]
async fn the_last_good_page() {
    let status = Arc::new(AtomicU16::new(200));
    let now = status.clone();
    let client = service_fn(move |_: Request<Body>| {
        let status = StatusCode::from_u16(now.load(SeqCst)).unwrap();
        let answer =
            http::Response::builder().status(status).header("etag", "7").body(Bytes::from_static(b"page"));
        std::future::ready(Ok::<_, BoxError>(answer.unwrap()))
    });
    let key = |request: &Request<Body>| {
        (request.method() == http::Method::GET).then(|| request.uri().path().to_owned())
    };
    let service = FallbackLayer::last_good(LastGoodConfig::default(), key).layer(client);
    service.clone().oneshot(to("/a")).await.unwrap();
    status.store(503, SeqCst);
    let answer = service.clone().oneshot(to("/a")).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["etag"], answer.body()),
        (200, &"7".parse().unwrap(), &Bytes::from("page"))
    );
    assert_eq!(answer.headers()["degraded"], "failed; last-good; age=0");
    assert_eq!(service.oneshot(to("/b")).await.unwrap().status(), 503);
}

#[test]
fn the_contract_over_http() {
    Contract::<_, Request<Body>, Response, Infallible>::with_types(
        || FallbackLayer::function(sorry).honour_context(),
        || to("/any"),
        || StatusCode::OK.into_response(),
    )
    .verify();
}
