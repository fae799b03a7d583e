//! Around an axum router, over requests and answers whose bodies are whole.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
    routing::post,
};
use bytes::Bytes;
use std::{
    convert::Infallible,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};
use tower::{Layer, Service, ServiceExt, service_fn};
use towpath_core::AnswerHttp;
use towpath_dedupe::{DedupeConfig, DedupeLayer, REPLAYED};
use towpath_testing::Contract;

/// A router takes bodies that stream; the layer has to see all of one.
fn whole(
    router: Router,
) -> impl Service<Request<Bytes>, Response = Response<Bytes>, Error = Infallible, Future: Send> + Clone + Send
{
    service_fn(move |request: Request<Bytes>| {
        let router = router.clone();
        async move {
            let Ok(response) = router.oneshot(request.map(Body::from)).await;
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
            Ok(Response::from_parts(parts, body))
        }
    })
}

fn request(key: &str, body: &'static str) -> Request<Bytes> {
    let request = Request::post("/orders").header("idempotency-key", key).header("authorization", "Bearer x");
    request.body(Bytes::from_static(body.as_bytes())).unwrap()
}

#[tokio::test]
async fn an_order_is_placed_once() {
    static PLACED: AtomicU32 = AtomicU32::new(0);
    let place = async |body: String| match body.as_str() {
        "nothing" => (StatusCode::NOT_FOUND, "no such thing".to_owned()),
        "busy" => (StatusCode::SERVICE_UNAVAILABLE, format!("try {}", PLACED.fetch_add(1, SeqCst) + 1)),
        _ => (StatusCode::CREATED, format!("order {}", PLACED.fetch_add(1, SeqCst) + 1)),
    };
    let router = Router::new().route("/orders", post(place));
    let service = DedupeLayer::new(DedupeConfig::default()).on_reject(AnswerHttp).layer(whole(router));
    let call = async |request| {
        let Ok(response) = service.clone().oneshot(request).await;
        let replayed = response.headers().contains_key(REPLAYED);
        (response.status().as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap(), replayed)
    };
    assert_eq!(call(request("a", "apples")).await, (201, "order 1".into(), false));
    assert_eq!(call(request("a", "apples")).await, (201, "order 1".into(), true));
    assert_eq!(call(request("a", "pears")).await.0, 400);
    assert_eq!(call(request("b", "apples")).await, (201, "order 2".into(), false));
    let mut other = request("a", "apples");
    other.headers_mut().insert("authorization", "Bearer y".parse().unwrap());
    assert_eq!(call(other).await, (201, "order 3".into(), false));
    // What is not there will not be there a moment later; who is busy now may not be then.
    assert_eq!(call(request("c", "nothing")).await, (404, "no such thing".into(), false));
    assert_eq!(call(request("c", "nothing")).await, (404, "no such thing".into(), true));
    assert_eq!(call(request("d", "busy")).await, (503, "try 4".into(), false));
    assert_eq!(call(request("d", "busy")).await, (503, "try 5".into(), false));
}

#[test]
fn the_contract_over_http() {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    Contract::<_, Request<Bytes>, Response<Bytes>, Infallible>::with_types(
        || DedupeLayer::new(DedupeConfig::default()).on_reject(AnswerHttp),
        || request(&NEXT.fetch_add(1, SeqCst).to_string(), "x"),
        || Response::new(Bytes::new()),
    )
    .verify();
}
