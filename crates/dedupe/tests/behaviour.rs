//! What the layer does, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use bytes::Bytes;
use std::{
    future::{Future, pending},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use towpath_core::{
    BoxError, CodecId, Error, ErrorCode, ErrorKind, Fault, Identity, Processed, Request, Response, context,
    context::Field,
};
use towpath_dedupe::{DedupeConfig, DedupeEvent, DedupeLayer, REPLAYED, WhenFull};
use towpath_testing::time::{settle, timed};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn request(key: &'static str, body: &'static str) -> Request {
    let mut request = Request::new("Orders.Place", Bytes::from_static(body.as_bytes()));
    request.context_mut().set_field(Field::IdempotencyKey, Some(Bytes::from_static(key.as_bytes())));
    request
}

fn plain(body: &'static str) -> Request {
    Request::new("Orders.Place", Bytes::from_static(body.as_bytes()))
}

type Handler = tower::util::BoxCloneSyncService<Request, Response, BoxError>;

/// Counts its calls from 1, and answers with what `answer` makes of the count.
fn counting<F, Fut>(answer: F) -> (Arc<AtomicU32>, Handler)
where
    F: Fn(u32) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, BoxError>> + Send + 'static,
{
    let count = Arc::new(AtomicU32::new(0));
    let counter = count.clone();
    let handler = service_fn(move |_: Request| answer(counter.fetch_add(1, SeqCst) + 1));
    (count, Handler::new(handler))
}

fn text(n: u32) -> Response {
    Response::new(Bytes::from(n.to_string()))
}

/// Answers after 10 ms.
fn slow() -> (Arc<AtomicU32>, Handler) {
    counting(|n| async move {
        sleep(ms(10)).await;
        Ok(text(n))
    })
}

#[track_caller]
fn said(outcome: Result<Response, BoxError>) -> (String, bool) {
    let response = outcome.unwrap();
    let replayed = response.metadata().get_str(REPLAYED) == Some("true");
    (String::from_utf8(response.into_body().to_vec()).unwrap(), replayed)
}

#[track_caller]
fn own(outcome: Result<Response, BoxError>) -> Error {
    let error = outcome.unwrap_err();
    Error::find(&*error).expect("an error of the layer").clone()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn a_repetition_gets_the_first_answer_until_it_is_too_old() {
    let (count, handler) = slow();
    let layer = DedupeLayer::new(DedupeConfig::default());
    let handle = layer.handle();
    let service = layer.layer(handler);
    let call = |request| service.clone().oneshot(request);
    assert_eq!(said(call(request("k", "x")).await), ("1".into(), false));
    let (again, took) = timed(call(request("k", "x"))).await;
    assert_eq!((said(again), took), (("1".into(), true), Duration::ZERO));
    assert_eq!(said(call(request("other", "x")).await), ("2".into(), false));
    assert_eq!(said(call(plain("x")).await), ("3".into(), false));
    assert_eq!(said(call(plain("x")).await), ("4".into(), false));
    advance(Duration::from_secs(600) - ms(31)).await;
    assert_eq!(said(call(request("k", "x")).await), ("1".into(), true));
    advance(ms(1)).await;
    assert_eq!(said(call(request("k", "x")).await), ("5".into(), false));
    let counts = handle.counts();
    assert_eq!((counts.made, counts.replayed, count.load(SeqCst)), (3, 2, 5));
    handle.clear();
    assert_eq!((handle.keys(), handle.bytes()), (0, 0));
    assert_eq!(said(call(request("k", "x")).await), ("6".into(), false));
}

#[tokio::test(start_paused = true)]
async fn calls_that_come_meanwhile_wait_for_the_one_that_is_made() {
    let (count, handler) = slow();
    let layer = DedupeLayer::new(DedupeConfig::default());
    let (one, other) = (layer.layer(handler.clone()), layer.layer(handler));
    let calls: Vec<_> = (0..50)
        .map(|n| {
            tokio::spawn(if n % 2 == 0 { one.clone() } else { other.clone() }.oneshot(request("k", "x")))
        })
        .collect();
    let mut replayed = 0;
    for call in calls {
        let (answer, again) = said(call.await.unwrap());
        assert_eq!(answer, "1");
        replayed += u32::from(again);
    }
    assert_eq!((count.load(SeqCst), replayed), (1, 49));
    assert_eq!(layer.handle().counts().joined, 49);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_for_one_call() {
    let (count, handler) = slow();
    let service = DedupeLayer::new(DedupeConfig::default()).layer(handler);
    let call = |request| service.clone().oneshot(request);
    let mut first = pin!(call(request("k", "x")));
    assert!(poll(first.as_mut()).is_pending());
    let method = |method: &'static str| {
        let mut other = request("k", "x");
        other.set_method(method);
        other
    };
    let refused = async || {
        for other in [request("k", "y"), method("Orders.Cancel")] {
            let error = own(call(other).await);
            assert_eq!((error.kind(), error.processed()), (ErrorKind::Malformed, Processed::No));
        }
    };
    // While it is made, and afterwards.
    refused().await;
    assert_eq!(said(first.await), ("1".into(), false));
    refused().await;
    let empty = own(call(request("", "x")).await);
    assert_eq!(empty.detail(), "an idempotency key has 1 to 255 bytes");
    let mut long = request("k", "x");
    long.context_mut().set_field(Field::IdempotencyKey, Some(vec![b'k'; 256].into()));
    own(call(long).await);
    assert_eq!(count.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_the_answer_of_another_one() {
    let (_, handler) = slow();
    let layer = DedupeLayer::new(DedupeConfig::default());
    let service = layer.layer(handler.clone());
    let from = |set: &dyn Fn(&mut Request)| {
        let mut request = request("k", "x");
        set(&mut request);
        service.clone().oneshot(request)
    };
    let field = |field, value: &'static [u8]| {
        move |r: &mut Request| r.context_mut().set_field(field, Some(Bytes::from_static(value)))
    };
    let shop = |r: &mut Request| r.extensions_mut().insert(Identity::new("shop"));
    assert_eq!(said(from(&|_| ()).await).0, "1");
    assert_eq!(said(from(&field(Field::Authorization, b"Bearer a")).await).0, "2");
    assert_eq!(said(from(&field(Field::Authorization, b"Bearer b")).await).0, "3");
    assert_eq!(said(from(&field(Field::SessionId, b"Bearer a")).await).0, "4");
    assert_eq!(said(from(&shop).await).0, "5");
    // Whoever is verified is the same with another token.
    let renewed = |r: &mut Request| {
        shop(r);
        field(Field::Authorization, b"Bearer new")(r);
    };
    assert_eq!(said(from(&renewed).await), ("5".into(), true));
    assert_eq!(said(from(&field(Field::Authorization, b"Bearer a")).await), ("2".into(), true));

    // As whoever set it up has it.
    let tenant = |r: &Request| r.metadata().get_bytes("tenant");
    let (_, handler) = slow();
    let service = DedupeLayer::new(DedupeConfig::default()).owner(tenant).layer(handler);
    for (tenant, expected) in [("a", "1"), ("b", "2"), ("a", "1")] {
        let mut request = request("k", "x");
        request.metadata_mut().insert("tenant", tenant).unwrap();
        assert_eq!(said(service.clone().oneshot(request).await).0, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_is_final_is_kept() {
    let code = ErrorCode::from_static("ORD-E-102");
    let outcomes: [fn(ErrorCode) -> Result<Response, BoxError>; 5] = [
        |_| Err(Error::new(ErrorKind::Overloaded).into()),
        |_| Err("the database is gone".into()),
        |code| Ok(Fault::new(code, "later").with_retry_after(Some(ms(5))).into_response(CodecId::JSON)),
        |code| Ok(Fault::new(code, "not now").with_not_processed(true).into_response(CodecId::JSON)),
        |code| Ok(Fault::new(code, "no stock").into_response(CodecId::JSON)),
    ];
    let (count, handler) = counting(move |n| async move { outcomes[n as usize - 1](code) });
    let service = DedupeLayer::new(DedupeConfig::default()).layer(handler);
    let call = || service.clone().oneshot(request("k", "x"));
    assert_eq!(own(call().await).kind(), ErrorKind::Overloaded);
    assert_eq!(call().await.unwrap_err().to_string(), "the database is gone");
    for _ in 0..2 {
        assert!(call().await.unwrap().is_fault());
    }
    let first = call().await.unwrap();
    let again = call().await.unwrap();
    assert!(first.is_fault() && again.is_fault() && first.body() == again.body());
    assert_eq!((again.codec(), again.metadata().get_str(REPLAYED)), (CodecId::JSON, Some("true")));
    assert_eq!(count.load(SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn if_the_first_one_comes_to_nothing_one_of_those_who_wait_is_made() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let (count, handler) = counting(|n| async move {
        sleep(ms(10)).await;
        match n {
            1 => pending().await,
            2 => Err("no".into()),
            3 => panic!("on purpose"),
            n => Ok(text(n)),
        }
    });
    let layer = DedupeLayer::new(DedupeConfig::default())
        .observe(move |event: &DedupeEvent| seen.lock().unwrap().push(*event));
    let service = layer.layer(handler);
    let calls: Vec<_> = (0..8).map(|_| tokio::spawn(service.clone().oneshot(request("k", "x")))).collect();
    settle().await;
    assert_eq!(count.load(SeqCst), 1);
    calls[0].abort();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(match call.await {
            Err(gone) if gone.is_cancelled() => "gone".to_owned(),
            Err(_) => "panic".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(response)) => said(Ok(response)).0,
        });
    }
    outcomes.sort();
    assert_eq!(outcomes, ["4", "4", "4", "4", "4", "gone", "no", "panic"]);
    assert_eq!(count.load(SeqCst), 4);
    let took_over = events.lock().unwrap().iter().filter(|event| **event == DedupeEvent::TookOver).count();
    assert_eq!(took_over, 3);
    assert_eq!(layer.handle().keys(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_polled_holds_nobody_up() {
    let (count, handler) = slow();
    let layer = DedupeLayer::new(DedupeConfig::default());
    let mut service = layer.layer(handler);
    let mut first = Box::pin(service.call(request("k", "x")));
    assert!(poll(first.as_mut()).is_pending());
    let idle = service.call(request("k", "x"));
    let third = tokio::spawn(service.clone().oneshot(request("k", "x")));
    settle().await;
    drop(first);
    assert_eq!(said(third.await.unwrap()), ("2".into(), false));
    // It was not polled when the answer came; it has it, though it was cleared meanwhile.
    layer.handle().clear();
    assert_eq!(said(idle.await), ("2".into(), true));
    assert_eq!(count.load(SeqCst), 2);

    // One that is dropped instead leaves nothing behind.
    let first = service.call(request("l", "x"));
    let waits = service.call(request("l", "x"));
    drop((first, waits));
    layer.handle().clear();
    assert_eq!(layer.handle().keys(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_keeps_its_deadline() {
    let (_, handler) = counting(|_| pending());
    let layer = DedupeLayer::new(DedupeConfig::default());
    let service = layer.layer(handler);
    let first = tokio::spawn(service.clone().oneshot(request("k", "x")));
    settle().await;
    let mut due = request("k", "x");
    due.context_mut().set_deadline(Some(Instant::now() + ms(50)));
    let (outcome, took) = timed(service.clone().oneshot(due)).await;
    let error = own(outcome);
    assert_eq!((error.kind(), error.processed()), (ErrorKind::DeadlineExceeded, Processed::Unknown));
    assert!(took <= ms(51), "{took:?}");
    first.abort();
    let _ = first.await;
    assert_eq!(layer.handle().keys(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_holds_no_permit_and_one_that_takes_over_gets_one() {
    let (count, handler) = counting(|n| async move {
        sleep(ms(10)).await;
        if n == 1 { Err("no".into()) } else { Ok(text(n)) }
    });
    let service = ServiceBuilder::new()
        .layer(DedupeLayer::new(DedupeConfig::default()))
        .layer(ConcurrencyLimitLayer::new(2))
        .service(handler);
    let mut calls: Vec<_> =
        (0..5).map(|_| tokio::spawn(service.clone().oneshot(request("k", "x")))).collect();
    settle().await;
    // The first has one of the two permits.
    let (other, took) = timed(service.clone().oneshot(request("other", "x"))).await;
    assert_eq!((said(other).0.as_str(), took), ("2", ms(10)));
    assert_eq!(calls.remove(0).await.unwrap().unwrap_err().to_string(), "no");
    // While both permits are taken, the one that takes over waits: for its permit, no longer than it may.
    for call in calls {
        assert_eq!(said(call.await.unwrap()).0, "3");
    }
    assert_eq!(count.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_over_keeps_its_deadline() {
    let (_, handler) = counting(|_| async move {
        sleep(ms(1_000)).await;
        Ok(text(0))
    });
    let service = ServiceBuilder::new()
        .layer(DedupeLayer::new(DedupeConfig::default()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(handler);
    let first = tokio::spawn(service.clone().oneshot(request("k", "x")));
    settle().await;
    let hog = tokio::spawn(service.clone().oneshot(request("hog", "x")));
    settle().await;
    let mut due = request("k", "x");
    due.context_mut().set_deadline(Some(Instant::now() + ms(50)));
    let call = tokio::spawn(timed(service.clone().call(due)));
    settle().await;
    first.abort();
    let (outcome, took) = call.await.unwrap();
    assert_eq!(own(outcome).kind(), ErrorKind::DeadlineExceeded);
    assert!(took <= ms(51), "{took:?}");
    hog.abort();
}

#[tokio::test(start_paused = true)]
async fn too_large_an_answer_is_known_to_have_been_given() {
    let (count, handler) = counting(|_| async move {
        sleep(ms(10)).await;
        Ok(Response::new(Bytes::from(vec![b'x'; 1_000])))
    });
    let config = DedupeConfig::default().with_max_bytes(1 << 20, 999).unwrap();
    let service = DedupeLayer::new(config).layer(handler);
    let call = || service.clone().oneshot(request("k", "x"));
    let (first, second) = tokio::join!(call(), call());
    assert_eq!((first.unwrap().body().len(), second.unwrap().body().len()), (1_000, 1_000));
    let error = own(call().await);
    assert_eq!((error.kind(), error.processed()), (ErrorKind::TooLarge, Processed::Yes));
    assert_eq!(count.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn when_there_is_no_room() {
    let (_, handler) = slow();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let two = DedupeConfig::default().with_max_entries(2).unwrap();
    let layer =
        DedupeLayer::new(two.clone()).observe(move |event: &DedupeEvent| seen.lock().unwrap().push(*event));
    let handle = layer.handle();
    let service = layer.layer(handler);
    let call = |key| service.clone().oneshot(request(key, "x"));
    for (key, expected) in [("a", "1"), ("b", "2"), ("c", "3"), ("b", "2"), ("a", "4")] {
        assert_eq!(said(call(key).await).0, expected, "{key}");
    }
    assert_eq!(handle.counts().evicted, 2);
    assert!(events.lock().unwrap().contains(&DedupeEvent::Evicted(ms(10))));

    // From here on the old ones stay. A config that makes no sense changes nothing.
    handle.config().set(two.clone().with_when_full(WhenFull::Refuse));
    let refused: Result<_, serde_json::Error> =
        handle.config().update(|_| serde_json::from_str(r#"{"age_ms": 0}"#));
    assert!(refused.is_err());
    let error = own(call("d").await);
    assert_eq!((error.kind(), error.processed()), (ErrorKind::Overloaded, Processed::No));
    assert!(error.retry_after().is_some_and(|after| after > Duration::from_secs(599)), "{error:?}");
    assert_eq!(said(call("a").await), ("4".into(), true));

    // Calls that are being made are never what gives way.
    handle.config().set(two);
    let made: Vec<_> = ["e", "f"].map(|key| tokio::spawn(service.clone().oneshot(request(key, "x")))).into();
    settle().await;
    assert_eq!(own(call("g").await).kind(), ErrorKind::Overloaded);
    for call in made {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn some_methods_can_ask_for_a_key() {
    let (_, handler) = slow();
    let config = DedupeConfig::default().with_required(["Orders.*"].into_iter().collect());
    let service = DedupeLayer::new(config).layer(handler);
    let error = own(service.clone().oneshot(plain("x")).await);
    assert_eq!(
        (error.kind(), error.detail()),
        (ErrorKind::Malformed, "Orders.Place asks for an idempotency key")
    );
    assert_eq!(said(service.clone().oneshot(request("k", "x")).await).0, "1");
    assert_eq!(said(service.oneshot(Request::new("Users.Get", Bytes::new())).await).0, "2");
}

#[tokio::test(start_paused = true)]
async fn a_detached_call_goes_on_when_its_caller_gives_up() {
    let (count, handler) = counting(|n| async move {
        // In the context of the call, as a handler has it.
        assert_eq!(context::Context::inherit().attempt(), 3);
        sleep(ms(10)).await;
        if n == 2 {
            panic!("on purpose");
        }
        Ok(text(n))
    });
    let service = DedupeLayer::new(DedupeConfig::default()).detached().layer(handler);
    let mut context = context::Context::new();
    context.set_attempt(3);
    context::scope(context, async {
        let mut first = Box::pin(service.clone().oneshot(request("k", "x")));
        assert!(poll(first.as_mut()).is_pending());
        drop(first);
        assert_eq!(said(service.clone().oneshot(request("k", "x")).await), ("1".into(), true));
        assert_eq!(count.load(SeqCst), 1);

        // A panic is the caller's, whoever makes the call.
        let panicked = towpath_core::context::spawn(service.clone().oneshot(request("l", "x"))).await;
        assert!(panicked.unwrap_err().is_panic());
        assert_eq!(said(service.clone().oneshot(request("l", "x")).await), ("3".into(), false));
    })
    .await;
}

#[test]
fn without_a_key_or_with_an_answer_one_poll_is_enough() {
    let echo = service_fn(|request: Request| async { Ok::<_, BoxError>(Response::new(request.into_body())) });
    let mut service = DedupeLayer::new(DedupeConfig::default()).layer(echo);
    for request in [plain("x"), request("k", "x"), request("k", "x")] {
        let mut call = pin!(service.call(request));
        assert!(matches!(poll(call.as_mut()), Poll::Ready(Ok(_))));
    }
}
