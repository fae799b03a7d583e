//! Around an axum router, which cannot fail, and over requests as a client of hyper's sends them.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use axum::{
    Router,
    body::{Body, HttpBody},
    http::{Method, Request, Response, StatusCode},
    response::IntoResponse,
    routing::any,
};
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{Layer, ServiceExt, service_fn};
use towpath_core::{AnswerHttp, BoxError, Context, HasContext};
use towpath_retry::{Attempts, RetryConfig, RetryLayer};
use towpath_testing::{Contract, time::timed};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What came in can be sent again if it has no body.
fn without_body(request: &Request<Body>) -> Option<Request<Body>> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut copy = Request::builder().method(method).uri(uri).body(Body::empty()).ok()?;
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    request.body().is_end_stream().then_some(copy)
}

fn to(method: Method, path: &str, body: &'static str) -> Request<Body> {
    let body = if body.is_empty() { Body::empty() } else { Body::from(body) };
    Request::builder().method(method).uri(path).body(body).unwrap()
}

/// Fails twice, then does what it is for.
fn router(calls: Arc<AtomicU16>) -> Router {
    let flaky = move || {
        let n = calls.fetch_add(1, SeqCst);
        async move { if n < 2 { StatusCode::BAD_GATEWAY } else { StatusCode::OK } }
    };
    Router::new()
        .route("/flaky", any(flaky))
        .route("/busy", any(|| async { (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]) }))
        .route("/slow", any(|| async { pending::<()>().await }))
}

#[tokio::test(start_paused = true)]
async fn an_infallible_router_stays_infallible() {
    let calls = Arc::new(AtomicU16::new(0));
    let layer = || {
        RetryLayer::new(RetryConfig::default().with_attempt_timeout(ms(100)).unwrap())
            .honour_context()
            .copy_by(without_body)
            .on_reject(AnswerHttp)
    };
    let app = router(calls.clone()).layer(layer());
    let Ok(answer) = app.clone().oneshot(to(Method::GET, "/flaky", "")).await;
    assert_eq!((answer.status(), calls.swap(0, SeqCst)), (StatusCode::OK, 3));
    assert_eq!(answer.extensions().get::<Attempts>().unwrap().made(), 3);
    // What is not idempotent by its method is not sent again; nor is what has a body that may be a stream.
    for request in [to(Method::POST, "/flaky", ""), to(Method::PUT, "/flaky", "body")] {
        let Ok(answer) = app.clone().oneshot(request).await;
        assert_eq!((answer.status(), calls.swap(0, SeqCst)), (StatusCode::BAD_GATEWAY, 1));
    }
    // What is not processed is, and not before the time that the server asks for.
    let (Ok(answer), took) = timed(app.clone().oneshot(to(Method::POST, "/busy", ""))).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(took >= Duration::from_secs(14), "{took:?}");
    // An attempt that hangs has its own time.
    let (Ok(answer), took) = timed(app.oneshot(to(Method::GET, "/slow", ""))).await;
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!((ms(300)..ms(500)).contains(&took), "{took:?}");
}

/// A client of hyper's takes requests whose body is `Clone` more often than not.
#[tokio::test(start_paused = true)]
async fn the_context_of_an_http_request_is_honoured_and_written() {
    let client = service_fn(|request: Request<String>| async move {
        let context = HasContext::context(&request).unwrap();
        match context.attempt() {
            0 => Err(BoxError::from("connection reset")),
            n => Ok(Response::new(format!("{} at attempt {n}", request.body()))),
        }
    });
    let service = RetryLayer::new(RetryConfig::default()).honour_context().layer(client);
    let request = |idempotent: bool| {
        let mut request = Request::new("body".to_owned());
        *request.method_mut() = Method::POST;
        let mut context = Context::new();
        context.set_idempotent(idempotent);
        request.extensions_mut().insert(context);
        request
    };
    let answer = service.clone().oneshot(request(true)).await.unwrap();
    assert_eq!(answer.body(), "body at attempt 1");
    assert!(service.oneshot(request(false)).await.is_err());
}

#[test]
fn the_contract_over_http() {
    let layer = || {
        let config =
            RetryConfig::default().with_attempt_timeout(ms(500)).unwrap().with_max_attempts(1).unwrap();
        RetryLayer::new(config).honour_context().copy_by(without_body).on_reject(AnswerHttp)
    };
    Contract::<_, Request<Body>, axum::response::Response, std::convert::Infallible>::with_types(
        layer,
        || to(Method::GET, "/any", ""),
        || StatusCode::OK.into_response(),
    )
    .gives_up_after(ms(500))
    .verify();
}
