//! Idempotency keys over real sockets: a call that is repeated is made once.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::soon;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::sleep;
use tower::ServiceBuilder;
use towpath::{
    CallError, Client, ErrorKind, Identity, Processed, Response, Router, Server,
    auth::{AttachLayer, Token, VerifyLayer},
    dedupe::{DedupeConfig, DedupeLayer, REPLAYED},
};

const SLOW: Duration = Duration::from_millis(150);

/// Places orders; how many were placed is counted for each.
#[derive(Clone, Default)]
struct Orders {
    placed: Arc<Mutex<HashMap<String, u32>>>,
    begun: Arc<AtomicU32>,
}

impl Orders {
    fn placed(&self, order: &str) -> u32 {
        self.placed.lock().unwrap().get(order).copied().unwrap_or_default()
    }

    fn router(&self, takes: Duration) -> Router {
        let orders = self.clone();
        Router::new().route("Orders.Place", move |body: Bytes| {
            let (orders, order) = (orders.clone(), String::from_utf8_lossy(&body).into_owned());
            async move {
                orders.begun.fetch_add(1, SeqCst);
                // Half of the work is before it is placed, half of it afterwards.
                sleep(takes / 2).await;
                let number = {
                    let mut placed = orders.placed.lock().unwrap();
                    let number = placed.entry(order.clone()).or_default();
                    *number += 1;
                    *number
                };
                sleep(takes / 2).await;
                format!("{order} {number}")
            }
        })
    }
}

macro_rules! serve {
    ($router:expr, $layer:expr) => {{
        let server = Server::builder().layer($layer).bind("127.0.0.1:0").await.unwrap();
        let url = format!("mcp://{}", server.local_addr());
        tokio::spawn(server.serve($router).into_future());
        url
    }};
}

fn layer() -> DedupeLayer<Response> {
    DedupeLayer::new(DedupeConfig::default())
}

async fn place(client: &Client, key: &str, order: &str) -> Result<String, CallError> {
    let call = client.request("Orders.Place").raw(order.to_owned()).idempotency_key(key.to_owned());
    soon(call.send()).await
}

#[tokio::test]
async fn a_repetition_over_another_connection_gets_the_first_answer() {
    let orders = Orders::default();
    let url = serve!(orders.router(Duration::ZERO), layer());
    let (one, other) = (Client::connect(&url).await.unwrap(), Client::connect(&url).await.unwrap());
    assert_eq!(place(&one, "k", "apples").await.unwrap(), "apples 1");
    assert_eq!(place(&other, "k", "apples").await.unwrap(), "apples 1");
    let raw = one.request("Orders.Place").raw("apples").idempotency_key("k");
    let response = soon(raw.send_raw()).await.unwrap();
    assert_eq!(response.metadata().get_str(REPLAYED), Some("true"));
    let accepted = one.request("Orders.Place").raw("apples").idempotency_key("k").send_async::<String>();
    let accepted = soon(accepted).await.unwrap();
    assert_eq!(soon(accepted).await.unwrap(), "apples 1");
    assert_eq!(place(&one, "l", "apples").await.unwrap(), "apples 2");

    let error = place(&one, "k", "pears").await.unwrap_err();
    let error = error.error().unwrap();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::Malformed, Processed::No));
    assert!(error.is_remote() && error.detail().contains("another call"), "{error}");
    assert_eq!((orders.placed("apples"), orders.placed("pears")), (2, 0));
}

#[tokio::test]
async fn a_caller_whose_time_was_up_repeats_the_call_and_gets_its_answer() {
    let orders = Orders::default();
    let layer = layer().detached();
    let handle = layer.handle();
    let url = serve!(orders.router(SLOW), layer);
    let client = Client::connect(&url).await.unwrap();
    let call = client.request("Orders.Place").raw("apples").idempotency_key("k").timeout(SLOW / 4);
    let late = soon(call.send::<String>()).await.unwrap_err();
    assert_eq!(late.error().unwrap().kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(place(&client, "k", "apples").await.unwrap(), "apples 1");
    assert_eq!((orders.placed("apples"), orders.begun.load(SeqCst)), (1, 1));
    assert_eq!(handle.counts().made, 1);
}

#[tokio::test]
async fn a_key_is_whose_who_shows_the_credential() {
    let orders = Orders::default();
    let verify = VerifyLayer::new(|token: &Token, _: &towpath::Request| {
        Ok(Identity::new(String::from_utf8_lossy(token.secret())))
    });
    let layer = ServiceBuilder::new().layer(verify).layer(layer()).into_inner();
    let url = serve!(orders.router(Duration::ZERO), layer);
    for (who, expected) in [("shop", "apples 1"), ("other", "apples 2"), ("shop", "apples 1")] {
        let attach = AttachLayer::new(who.parse::<Token>().unwrap());
        let client = Client::builder().layer(attach).connect(&url).await.unwrap();
        assert_eq!(place(&client, "k", "apples").await.unwrap(), expected, "{who}");
    }
}

/// Connections that are cut, callers that give up and repeat: each order is placed once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_gives_up_and_repeats_orders_once() {
    let orders = Orders::default();
    let url = serve!(orders.router(Duration::from_millis(8)), layer().detached());
    let callers = (0..8).map(|caller| {
        let url = url.clone();
        tokio::spawn(async move {
            for order in 0..12 {
                // Half of the orders are another caller's, too.
                let order =
                    if order % 2 == 0 { format!("shared {order}") } else { format!("{caller} {order}") };
                // More and more time, so that a busy machine gets there as well.
                let mut most = 16;
                let answer = loop {
                    most += 8;
                    let client = Client::connect(&url).await.unwrap();
                    let give_up = Duration::from_millis(fastrand::u64(0..most));
                    let call = place(&client, &order, &order);
                    if let Ok(Ok(answer)) = tokio::time::timeout(give_up, call).await {
                        break answer;
                    }
                };
                assert_eq!(answer, format!("{order} 1"));
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        soon(caller).await.unwrap();
    }
    let placed = orders.placed.lock().unwrap();
    assert_eq!(placed.len(), 6 + 8 * 6);
    assert!(placed.values().all(|times| *times == 1), "{placed:?}");
}
