//! Whoever calls, repeats and gives up, on however many threads: what has a key is applied once.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not #[test] themselves

use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::task::yield_now;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use towpath_core::{BoxError, Request, Response, context::Field};
use towpath_dedupe::{DedupeConfig, DedupeLayer};

const KEYS: usize = 40;
const CALLERS: usize = 16;
const TRIES: usize = 60;

type Service_ = BoxCloneSyncService<Request, Response, BoxError>;

/// How often each key was applied.
type Applied = Arc<Mutex<HashMap<Bytes, u32>>>;

fn request(key: usize) -> Request {
    let mut request = Request::new("Orders.Place", Bytes::from(format!("order {key}")));
    request.context_mut().set_field(Field::IdempotencyKey, Some(format!("key {key}").into()));
    request
}

/// Takes its time, fails and panics now and then, and applies in its last step, as a transaction does. `early`: in
/// the middle, so that who gives up afterwards leaves it half done.
fn orders(early: bool) -> (Applied, Service_) {
    let applied = Applied::default();
    let book = applied.clone();
    let service = service_fn(move |request: Request| {
        let book = book.clone();
        async move {
            for _ in 0..fastrand::usize(0..4) {
                yield_now().await;
            }
            match fastrand::u8(0..20) {
                0 => return Err("refused".into()),
                1 => panic!("on purpose"),
                _ => {}
            }
            let number = {
                let mut book = book.lock().unwrap();
                let times = book.entry(request.body().clone()).or_default();
                *times += 1;
                *times
            };
            if early {
                for _ in 0..fastrand::usize(0..4) {
                    yield_now().await;
                }
            }
            Ok(Response::new(Bytes::from(number.to_string())))
        }
    });
    (applied, Service_::new(service))
}

async fn storm(service: Service_, applied: Applied) {
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let service = service.clone();
        callers.push(tokio::spawn(async move {
            let mut answered = Vec::new();
            for _ in 0..TRIES {
                let key = fastrand::usize(0..KEYS);
                let mut service = service.clone();
                let call = tokio::spawn(async move { service.ready().await?.call(request(key)).await });
                // Some give up, at whatever moment.
                if fastrand::bool() {
                    for _ in 0..fastrand::usize(0..4) {
                        yield_now().await;
                    }
                    call.abort();
                }
                if let Ok(Ok(response)) = call.await {
                    answered.push((key, response.into_body()));
                }
            }
            answered
        }));
    }
    let mut seen = 0;
    for caller in callers {
        for (key, answer) in caller.await.unwrap() {
            seen += 1;
            assert_eq!(&answer[..], b"1", "key {key} was applied again");
        }
    }
    assert!(seen > CALLERS * TRIES / 10, "only {seen} were answered");
    let applied = applied.lock().unwrap();
    assert!(applied.len() > KEYS / 2 && applied.values().all(|times| *times == 1), "{applied:?}");
}

fn quiet() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or_default();
        if text != "on purpose" {
            eprintln!("{info}");
        }
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_applies_in_one_step_is_applied_once() {
    quiet();
    for _ in 0..8 {
        let (applied, orders) = orders(false);
        let layer = DedupeLayer::new(DedupeConfig::default());
        storm(Service_::new(layer.layer(orders)), applied).await;
        let handle = layer.handle();
        handle.clear();
        assert_eq!((handle.keys(), handle.bytes()), (0, 0), "somebody was left waiting");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn detached_even_what_applies_in_the_middle_is_applied_once() {
    quiet();
    for _ in 0..8 {
        let (applied, orders) = orders(true);
        let layer = DedupeLayer::new(DedupeConfig::default()).detached();
        storm(Service_::new(layer.layer(orders)), applied).await;
    }
}
