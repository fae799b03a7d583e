//! Towpath's layers around an axum router, and around what its handlers call.
//!
//! A router cannot fail: where a layer turns a call away, it answers. 401 for a caller without a credential, 504 for a
//! call whose time is up, 503 and 429 with `retry-after` for one too many, 503 with `retry-after` while the breaker of
//! a dependency is open. This program serves such a router on a free loopback port, asks it over HTTP, prints the
//! answers, checks them, and ends: `cargo run --example axum_layers`.

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Request, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::{convert::Infallible, hash::Hash, time::Duration};
use tokio::{net::TcpListener, time::sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use towpath_auth::{Identity, StaticTokens, Token, TokensConfig, VerifyLayer};
use towpath_breaker::{BreakerConfig, BreakerLayer};
use towpath_core::{AnswerHttp, BoxError, Error, ErrorKind, OnReject};
use towpath_fallback::{Failure, FallbackLayer};
use towpath_limit::{ConcurrencyConfig, ConcurrencyLimitLayer, KeyHasher, RateConfig, RateLimitLayer};
use towpath_timeout::{TimeoutConfig, TimeoutLayer};

/// What "ann" knows.
const TOKEN: &str = "correct-horse-battery";
const SECOND: Duration = Duration::from_secs(1);

/// What the handlers call: any service from an article's number to its price, with a breaker around it.
type Prices = BoxCloneSyncService<u64, String, BoxError>;

/// A page made of what a dependency says. Where that fails, the failure says which status the page has.
async fn price(State(prices): State<Prices>) -> Response {
    match prices.oneshot(85_123).await {
        Ok(price) => price.into_response(),
        Err(error) => {
            let answer: Result<_, Infallible> =
                AnswerHttp.reject(Error::from_boxed(error, ErrorKind::HandlerFailed));
            let Ok(answer) = answer;
            answer
        }
    }
}

/// A page that always fails.
async fn offers() -> (StatusCode, &'static str) {
    (StatusCode::INTERNAL_SERVER_ERROR, "the database is away")
}

async fn nap() -> &'static str {
    sleep(Duration::from_millis(500)).await;
    "rested"
}

fn app() -> Result<Router, BoxError> {
    // Around a call that goes out: after three failures in a row nobody is kept waiting for it.
    let broken = service_fn(|_: u64| async {
        Err::<String, BoxError>(Error::new(ErrorKind::ConnectFailed).at("the price service").into())
    });
    let breaker: BreakerConfig = serde_json::from_str(r#"{"consecutive_failures": 3, "open_ms": 4000}"#)?;
    let judge = |outcome: Result<&String, &BoxError>| match outcome {
        Ok(_) => towpath_core::Class::SUCCESS,
        Err(_) => towpath_core::Class::FAILURE,
    };
    let prices: Prices = BoxCloneSyncService::new(
        ServiceBuilder::new().layer(BreakerLayer::new(breaker).classify(judge)).service(broken),
    );

    // Around routes: each has its own layers, and a layer is one for all calls.
    let nobody = |_: Failure<'_, Response, Infallible>| "no offers today".into_response();
    let at_a_time = ConcurrencyLimitLayer::new(ConcurrencyConfig::try_new(2)?).on_reject(AnswerHttp);
    let by_caller = |request: &Request<Body>, key: &mut KeyHasher| {
        request.headers().get("x-caller").map(|caller| caller.as_bytes()).hash(key);
    };
    let rate = RateLimitLayer::keyed(RateConfig::try_new(1, 10 * SECOND)?, by_caller).on_reject(AnswerHttp);
    // In life the tokens come from a file; they are shown nowhere.
    let token: Token = TOKEN.parse()?;
    let tokens = StaticTokens::new(TokensConfig::new().with(&token, Identity::new("ann of accounts"))?);
    let verify = VerifyLayer::new(tokens).on_reject(AnswerHttp);
    let who = |Extension(caller): Extension<Identity>| async move { format!("you are {caller}") };
    let limit = TimeoutConfig::try_new(Duration::from_secs(1))?;
    Ok(Router::new()
        .route("/nap", get(nap).layer(at_a_time))
        .route("/report", get(|| async { "report" }).layer(rate))
        .route("/offers", get(offers).layer(FallbackLayer::function(nobody)))
        .route("/price", get(price))
        .route("/who", get(who).layer(verify))
        .route("/hang", get(|| async { sleep(60 * SECOND).await }))
        .with_state(prices)
        // Outermost, so that it limits whatever stands below; and a call that brings a deadline keeps it.
        .layer(TimeoutLayer::new(limit).honour_context().on_reject(AnswerHttp)))
}

#[derive(Clone)]
struct Browser {
    client: Client<HttpConnector, Empty<Bytes>>,
    address: String,
}

impl Browser {
    /// Asks for a page as somebody; the status, and a header that is worth a look.
    async fn get(&self, path: &str, caller: &str) -> Result<(u16, String), BoxError> {
        let request = Request::get(format!("http://{}{path}", self.address)).header("x-caller", caller);
        let request = match caller {
            "ann" => request.header("authorization", format!("Bearer {TOKEN}")),
            _ => request,
        };
        let answer = self.client.request(request.body(Empty::new())?).await?;
        let says = remarkable(answer.headers());
        println!("{path:8} {caller:6} {} {says}", answer.status());
        Ok((answer.status().as_u16(), says))
    }
}

fn remarkable(headers: &HeaderMap) -> String {
    let known = ["retry-after", "degraded"].into_iter();
    let there = known.filter_map(|name| Some(format!("{name}: {}", headers.get(name)?.to_str().ok()?)));
    there.collect::<Vec<_>>().join(", ")
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(axum::serve(listener, app()?).into_future());
    let browser = Browser { client: Client::builder(TokioExecutor::new()).build_http(), address };
    let mut seen = Vec::new();

    println!("who has a token is known, who has none is not let in");
    seen.push((browser.get("/who", "ann").await?, (200, "")));
    seen.push((browser.get("/who", "bob").await?, (401, "")));

    println!("its time is up after a second");
    seen.push((browser.get("/hang", "ann").await?, (504, "")));

    println!("two at a time: of three, one is told to come again");
    let naps =
        tokio::join!(browser.get("/nap", "ann"), browser.get("/nap", "bob"), browser.get("/nap", "cyd"));
    let mut naps = [naps.0?, naps.1?, naps.2?];
    naps.sort();
    let [first, second, refused] = naps;
    seen.extend([(first, (200, "")), (second, (200, "")), (refused, (503, "retry-after"))]);

    println!("one in ten seconds for each caller");
    seen.push((browser.get("/report", "ann").await?, (200, "")));
    seen.push((browser.get("/report", "ann").await?, (429, "retry-after")));
    seen.push((browser.get("/report", "bob").await?, (200, "")));

    println!("a page that fails has another one in its place, which says so");
    seen.push((browser.get("/offers", "ann").await?, (200, "degraded: failed; function")));

    println!("a dependency that is down is asked three times, and not again for 4 s");
    for _ in 0..3 {
        seen.push((browser.get("/price", "ann").await?, (502, "")));
    }
    seen.push((browser.get("/price", "ann").await?, (503, "retry-after")));

    // How many seconds it says depends on how fast this machine is.
    let is_right = |(status, says): &(u16, String), expected: &(u16, &str)| {
        *status == expected.0 && says.starts_with(expected.1) && says.is_empty() == expected.1.is_empty()
    };
    let wrong = seen.iter().filter(|(answer, expected)| !is_right(answer, expected)).count();
    if wrong == 0 {
        Ok(())
    } else {
        Err(format!("{wrong} answers are not what was to be shown: {seen:?}").into())
    }
}
