//! Towpath's layers around a client of hyper's, over plain HTTP/1: last good answers, a deadline, a breaker, retries
//! within a budget, and a limit, in front of a server that misbehaves as it is told.
//!
//! What goes over the socket is hyper's own; the layers know `http::Request` and `http::Response`. This program
//! starts the server on a free loopback port, makes calls through good times and bad ones, prints what came of
//! them, checks it, and ends: `cargo run --example hyper_client`.

use axum::{Router, http::StatusCode, routing::get};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, Error as HyperError},
    rt::TokioExecutor,
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{net::TcpListener, time::sleep};
use tower::{Service, ServiceBuilder, ServiceExt};
use towpath_breaker::{BreakerConfig, BreakerEvent, BreakerLayer};
use towpath_core::{Backoff, BoxError, Error, ErrorKind, Jitter};
use towpath_fallback::{FallbackLayer, LastGoodConfig};
use towpath_limit::{ConcurrencyConfig, ConcurrencyLimitLayer};
use towpath_retry::{RetryConfig, RetryLayer};
use towpath_timeout::{TimeoutConfig, TimeoutLayer};

type Request = axum::http::Request<Empty<Bytes>>;
type Response = axum::http::Response<Bytes>;

/// How the server behaves.
const WELL: u8 = 0;
const FLAKY: u8 = 1;
const HANGING: u8 = 2;
const DOWN: u8 = 3;

#[derive(Clone, Default)]
struct Shop {
    mood: Arc<AtomicU8>,
    asked: Arc<AtomicU32>,
}

/// The server's only page.
async fn price(shop: Shop) -> Result<&'static str, StatusCode> {
    let n = shop.asked.fetch_add(1, Relaxed);
    match shop.mood.load(Relaxed) {
        FLAKY if n.is_multiple_of(6) => Err(StatusCode::SERVICE_UNAVAILABLE),
        HANGING if n.is_multiple_of(6) => {
            sleep(Duration::from_secs(60)).await;
            Ok("late")
        }
        DOWN => Err(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Ok("2.55"),
    }
}

/// What hyper fails with, in words that the layers share: whether the call may be made again depends on it.
fn in_our_words(error: HyperError) -> BoxError {
    let kind = if error.is_connect() { ErrorKind::ConnectFailed } else { ErrorKind::ConnectionLost };
    Error::new(kind).with_source(error).into()
}

/// The whole answer, so that it can be kept, and so that every limit above reaches to its last byte.
async fn collect<B>(answer: axum::http::Response<B>) -> Result<Response, BoxError>
where
    B: axum::body::HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let (head, body) = answer.into_parts();
    let body =
        body.collect().await.map_err(|error| Error::new(ErrorKind::ConnectionLost).with_source(error))?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Makes `calls` calls, one after another, and says how many were answered afresh, how many by what was kept, and
/// how many failed.
async fn play<S, F>(service: &S, address: &str, calls: u32) -> Result<(u32, u32, u32), BoxError>
where
    S: Service<Request, Response = Response, Error = BoxError, Future = F> + Clone,
    F: Future<Output = Result<Response, BoxError>>,
{
    let (mut fresh, mut kept, mut failed) = (0, 0, 0);
    for _ in 0..calls {
        let request = axum::http::Request::get(format!("http://{address}/price")).body(Empty::new())?;
        match service.clone().oneshot(request).await {
            Ok(answer) if answer.status() != StatusCode::OK => failed += 1,
            Ok(answer) if answer.headers().contains_key("degraded") => kept += 1,
            Ok(_) => fresh += 1,
            Err(error) => {
                println!("  {error}");
                failed += 1;
            }
        }
    }
    Ok((fresh, kept, failed))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let shop = Shop::default();
    let page = get({
        let shop = shop.clone();
        move || price(shop)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(axum::serve(listener, Router::new().route("/price", page)).into_future());

    // hyper's client with its pool; what it says is put into words, and the body collected.
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let http = hyper.map_err(in_our_words).and_then(collect);

    // Only GETs have an answer that is good for another call, and only to the same URI.
    let same_page =
        |request: &Request| (request.method() == axum::http::Method::GET).then(|| request.uri().clone());
    let fallback = FallbackLayer::last_good(LastGoodConfig::default(), same_page).honour_context();
    let breaker = BreakerLayer::new(serde_json::from_str::<BreakerConfig>(
        r#"{"consecutive_failures": 5, "open_ms": 200}"#,
    )?)
    .keyed_by(|request: &Request| request.uri().path(), 16)
    .honour_context()
    .observe(|event: &BreakerEvent| {
        if let BreakerEvent::Changed(change) = event {
            println!("  the breaker of {} is {}", change.name, change.to);
        }
    });
    // GET is idempotent by itself: hyper's requests need not say so.
    let attempts = RetryConfig::default()
        .with_backoff(Backoff::try_new(millis(5), millis(50), 2.0, Jitter::Full)?)
        .with_attempt_timeout(millis(250))?;
    let retry = RetryLayer::new(attempts).honour_context();
    let limit = ConcurrencyLimitLayer::new(ConcurrencyConfig::try_new(16)?).honour_context();
    let (fallbacks, retries) = (fallback.handle(), retry.handle());

    let service = ServiceBuilder::new()
        .layer(fallback)
        .layer(TimeoutLayer::new(TimeoutConfig::try_new(millis(2_000))?).honour_context())
        .layer(breaker)
        .layer(retry)
        .layer(limit)
        .service(http);

    let mut as_expected = true;
    for (mood, calls, says) in [
        (WELL, 20, "the server is well"),
        (FLAKY, 30, "every sixth answer is 503: tried again"),
        (HANGING, 12, "every sixth call hangs: given up after 250 ms, and tried again"),
        (DOWN, 100, "every answer is 500: the breaker opens, and kept answers stand for them"),
        (WELL, 20, "the server is well again"),
    ] {
        println!("{says}");
        shop.mood.store(mood, Relaxed);
        // The breaker asks by itself whether it is over: as soon as its time has come, one call gets through.
        for _ in 0..100 {
            if mood != WELL || play(&service, &address, 1).await?.0 == 1 {
                break;
            }
            sleep(millis(50)).await;
        }
        let (asked, retried) = (shop.asked.load(Relaxed), retries.counts().retries);
        let (fresh, kept, failed) = play(&service, &address, calls).await?;
        let asked = shop.asked.load(Relaxed) - asked;
        let retried = retries.counts().retries - retried;
        println!(
            "  {calls} calls: {fresh} fresh, {kept} kept, {failed} failed; {retried} retries, {asked} on the wire"
        );
        as_expected &= failed == 0
            && match mood {
                DOWN => kept == calls && asked < calls / 2,
                FLAKY | HANGING => fresh == calls && retried > 0,
                _ => fresh == calls,
            };
    }
    println!("{} answers were kept ones", fallbacks.counts().answered);
    if as_expected { Ok(()) } else { Err("this is not what was to be shown".into()) }
}
