//! What the limits do with calls and with time, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

mod common;

use common::{Events, Workers, config, due_in, ms, own, request, waits};
use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use towpath_core::{BoxError, ErrorKind, Live, Processed, Request};
use towpath_limit::{
    ConcurrencyConfig, ConcurrencyLimitLayer, KeyHasher, LimitEvent, QueueOrder, RateConfig, RateLimitLayer,
    Refusal, WhenFull,
};
use towpath_testing::time::{settle, timed};

// ConcurrencyLimitLayer.

#[tokio::test(start_paused = true)]
async fn above_the_limit_calls_are_refused_at_once() {
    let events = Events::default();
    let layer = ConcurrencyLimitLayer::new(config(2, WhenFull::Reject)).observe(events.observer());
    let (handle, service) = (layer.handle(), layer.layer(Workers::new(9, ms(100))));
    let calls: Vec<_> = (0..2).map(|_| tokio::spawn(service.clone().oneshot(request()))).collect();
    settle().await;
    let (outcome, took) = timed(service.clone().oneshot(request())).await;
    let error = own(outcome);
    assert_eq!((error.kind(), error.processed()), (ErrorKind::Overloaded, Processed::No));
    assert_eq!((error.retry_after(), took), (Some(ms(100)), Duration::ZERO));
    assert!(error.to_string().contains("all 2 places are taken"), "{error}");
    assert_eq!((handle.in_flight(), handle.waiting(), handle.refused()), (2, 0, 1));
    assert_eq!(events.refused(), [(Refusal::Full, Duration::ZERO)]);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(handle.in_flight(), 0);
    service.oneshot(request()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_its_time_and_is_told_for_how_long() {
    let events = Events::default();
    let layer = ConcurrencyLimitLayer::new(config(1, waits(1, 50, QueueOrder::OldestFirst)));
    let layer = layer.observe(events.observer());
    let (handle, service) = (layer.handle(), layer.layer(Workers::new(9, ms(80))));
    let first = tokio::spawn(service.clone().oneshot(request()));
    settle().await;
    let second = tokio::spawn(timed(service.clone().oneshot(request())));
    settle().await;
    // The queue has one place.
    assert!(own(service.clone().oneshot(request()).await).to_string().contains("all 1 places"));
    let (outcome, took) = second.await.unwrap();
    let error = own(outcome);
    assert_eq!((error.kind(), error.processed(), took), (ErrorKind::Overloaded, Processed::No, ms(50)));
    assert!(error.to_string().contains("waited 50ms for one of 1 places"), "{error}");
    first.await.unwrap().unwrap();
    assert_eq!(events.refused(), [(Refusal::Full, ms(0)), (Refusal::TimedOut, ms(50))]);
    assert_eq!((handle.in_flight(), handle.waiting(), handle.refused()), (0, 0, 2));
    assert!(events.seen().contains(&LimitEvent::Queued { waiting: 1 }));
}

#[tokio::test(start_paused = true)]
async fn no_call_waits_beyond_its_deadline() {
    let layer = ConcurrencyLimitLayer::new(config(1, waits(9, 500, QueueOrder::OldestFirst)));
    let service = layer.honour_context().layer(Workers::new(9, ms(80)));
    let first = tokio::spawn(service.clone().oneshot(request()));
    settle().await;
    let (outcome, took) = timed(service.clone().oneshot(due_in(30))).await;
    let error = own(outcome);
    assert_eq!((error.kind(), error.processed()), (ErrorKind::DeadlineExceeded, Processed::No));
    assert!((ms(30)..=ms(31)).contains(&took), "{took:?}");
    assert!(error.to_string().contains("waited 30ms"), "{error}");
    // One that comes too late does not wait at all.
    let (outcome, took) = timed(service.clone().oneshot(due_in(0))).await;
    assert_eq!((own(outcome).kind(), took), (ErrorKind::DeadlineExceeded, ms(0)));
    // One with time enough gets through, and its reading of the clock is not the old one.
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let inner = {
        let seen = seen.clone();
        service_fn(move |request: Request<()>| {
            seen.lock().unwrap().push(request.context().stamp());
            async {
                sleep(ms(80)).await;
                Ok::<_, BoxError>(towpath_core::Response::new(()))
            }
        })
    };
    let layer = ConcurrencyLimitLayer::new(config(1, waits(9, 500, QueueOrder::OldestFirst)));
    let service = layer.honour_context().layer(inner);
    let stamped = || {
        let mut request = request();
        request.context_mut().set_stamp(Some(Instant::now()));
        request
    };
    let (at, calls) =
        (Instant::now(), [stamped(), stamped()].map(|r| tokio::spawn(service.clone().oneshot(r))));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), [Some(at), None]);
    first.await.unwrap().unwrap();
}

async fn order_of_turns(order: QueueOrder) -> Vec<usize> {
    let service =
        ConcurrencyLimitLayer::new(config(1, waits(9, 1_000, order))).layer(Workers::new(9, ms(10)));
    let (turns, mut calls) = (Arc::new(std::sync::Mutex::new(Vec::new())), Vec::new());
    for number in 0..4 {
        let (service, turns) = (service.clone(), turns.clone());
        calls.push(tokio::spawn(async move {
            service.oneshot(request()).await.unwrap();
            turns.lock().unwrap().push(number);
        }));
        settle().await;
    }
    for call in calls {
        call.await.unwrap();
    }
    Arc::into_inner(turns).unwrap().into_inner().unwrap()
}

#[tokio::test(start_paused = true)]
async fn turns_come_in_the_order_that_was_chosen() {
    assert_eq!(order_of_turns(QueueOrder::OldestFirst).await, [0, 1, 2, 3]);
    assert_eq!(order_of_turns(QueueOrder::NewestFirst).await, [0, 3, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn with_the_newest_first_a_full_queue_drops_the_oldest() {
    let layer = ConcurrencyLimitLayer::new(config(1, waits(1, 1_000, QueueOrder::NewestFirst)));
    let service = layer.layer(Workers::new(9, ms(10)));
    let mut calls: Vec<_> = (0..3).map(|_| task::spawn(service.clone().oneshot(request()))).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    assert!(calls[1].is_woken());
    let error = own(assert_ready!(calls[1].poll()));
    assert!(error.kind() == ErrorKind::Overloaded && error.to_string().contains("better claim"), "{error}");
    advance(ms(10)).await;
    assert_ready!(calls[0].poll()).unwrap();
    assert!(calls[2].is_woken());
}

#[tokio::test(start_paused = true)]
async fn backpressure_is_in_poll_ready() {
    let layer = ConcurrencyLimitLayer::new(config(1, WhenFull::Backpressure));
    let (handle, service) = (layer.handle(), layer.layer(Workers::new(9, ms(10))));
    let mut one = service.clone();
    one.ready().await.unwrap();
    assert_eq!(handle.in_flight(), 1);
    // What is readied is not cloned.
    let mut other = one.clone();
    let mut waiting = task::spawn(async { other.ready().await.map(drop) });
    assert_pending!(waiting.poll());
    assert_eq!((handle.in_flight(), handle.waiting()), (1, 1));
    let call = one.call(request());
    assert_pending!(waiting.poll());
    call.await.unwrap();
    assert!(waiting.is_woken());
    assert_ready!(waiting.poll()).unwrap();
    drop(waiting);
    drop(other);
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_lets_those_go_who_wait_and_a_lowered_one_holds() {
    for when_full in [waits(9, 60_000, QueueOrder::OldestFirst), WhenFull::Backpressure] {
        let live = Live::new(config(1, when_full));
        let layer = ConcurrencyLimitLayer::new(live.clone());
        let (handle, service) = (layer.handle(), layer.layer(Workers::new(9, ms(10))));
        let mut calls: Vec<_> = (0..5).map(|_| task::spawn(service.clone().oneshot(request()))).collect();
        for call in &mut calls {
            assert_pending!(call.poll());
        }
        assert_eq!((handle.in_flight(), handle.waiting()), (1, 4));
        live.set(config(3, when_full));
        assert_eq!((handle.limit(), handle.in_flight(), handle.waiting()), (3, 3, 2));
        assert!(calls[1].is_woken() && calls[2].is_woken() && !calls[3].is_woken());
        live.set(config(1, when_full));
        drop(calls.drain(..2));
        assert_eq!((handle.in_flight(), handle.waiting()), (1, 2));
        drop(calls.remove(0));
        assert_eq!((handle.in_flight(), handle.waiting()), (1, 1));
        let refused = live.update(|_| serde_json::from_str::<ConcurrencyConfig>(r#"{"limit": 0}"#));
        assert!(refused.unwrap_err().to_string().starts_with("limit: 0 is not"));
        assert_eq!(handle.limit(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_way_of_waiting_can_be_replaced() {
    let layer = ConcurrencyLimitLayer::new(config(1, WhenFull::Reject));
    let (handle, service) = (layer.handle(), layer.layer(Workers::new(9, ms(10))));
    let mut first = task::spawn(service.clone().oneshot(request()));
    assert_pending!(first.poll());
    assert!(service.clone().oneshot(request()).await.is_err());
    handle.config().set(config(1, waits(1, 100, QueueOrder::OldestFirst)));
    let mut second = task::spawn(service.clone().oneshot(request()));
    assert_pending!(second.poll());
    // One that waits in poll_ready goes on waiting there.
    handle.config().set(config(1, WhenFull::Backpressure));
    let mut clone = service.clone();
    let mut third = task::spawn(async { clone.ready().await.map(drop) });
    assert_pending!(third.poll());
    handle.config().set(config(1, WhenFull::Reject));
    assert_pending!(third.poll());
    drop((first, second));
    assert_ready!(third.poll()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_one_for_all_that_a_layer_makes() {
    let layer = ConcurrencyLimitLayer::new(config(1, WhenFull::Reject));
    let (one, other) = (layer.layer(Workers::new(9, ms(10))), layer.clone().layer(Workers::new(9, ms(10))));
    let call = tokio::spawn(one.oneshot(request()));
    settle().await;
    assert!(other.oneshot(request()).await.is_err());
    call.await.unwrap().unwrap();
}

// RateLimitLayer.

fn rate(calls: u32, burst: u32) -> RateConfig {
    RateConfig::try_new(calls, ms(1_000)).unwrap().with_burst(burst).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_burst_then_evenly_and_the_time_is_exact() {
    let events = Events::default();
    let layer = RateLimitLayer::new(rate(10, 3)).observe(events.observer());
    let (handle, service) = (layer.handle(), layer.layer(Workers::new(9, ms(0))));
    let call = || service.clone().oneshot(request());
    for _ in 0..3 {
        call().await.unwrap();
    }
    let error = own(call().await);
    assert_eq!((error.kind(), error.processed()), (ErrorKind::RateLimited, Processed::No));
    assert_eq!(error.retry_after(), Some(ms(100)));
    advance(ms(100) - Duration::from_nanos(1)).await;
    assert_eq!(own(call().await).retry_after(), Some(Duration::from_nanos(1)));
    advance(Duration::from_nanos(1)).await;
    call().await.unwrap();
    assert_eq!(own(call().await).retry_after(), Some(ms(100)));
    advance(handle.recovery()).await;
    for _ in 0..3 {
        call().await.unwrap();
    }
    assert!(call().await.is_err());
    assert_eq!((handle.refused(), events.refused().len()), (4, 4));
    // Another rate holds from the next call on.
    handle.config().set(rate(1_000, 3));
    advance(ms(300)).await;
    for _ in 0..3 {
        call().await.unwrap();
    }
    assert_eq!(own(call().await).retry_after(), Some(ms(1)));
}

#[tokio::test(start_paused = true)]
async fn a_call_above_the_rate_waits_if_its_time_comes_soon_enough() {
    let config = rate(10, 1).with_max_wait(ms(250)).unwrap();
    let service = RateLimitLayer::new(config).honour_context().layer(Workers::new(9, ms(0)));
    let mut calls: Vec<_> = (0..3).map(|_| Box::pin(timed(service.clone().oneshot(request())))).collect();
    let (last, (first, second)) = (calls.pop().unwrap(), (calls.remove(0), calls.remove(0)));
    let mut last = task::spawn(last);
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.0.is_ok(), first.1, second.0.is_ok(), second.1), (true, ms(0), true, ms(100)));
    // It waits up to its place at 200 ms, is dropped, and another one has that place.
    assert_pending!(last.poll());
    let booked = own(service.clone().oneshot(due_in(50)).await);
    assert_eq!((booked.kind(), booked.retry_after()), (ErrorKind::RateLimited, Some(ms(200))));
    drop(last);
    let (outcome, took) = timed(service.clone().oneshot(request())).await;
    assert_eq!((outcome.is_ok(), took), (true, ms(100)));
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_rate_of_its_own() {
    let by_method = |request: &Request<()>, key: &mut KeyHasher| request.method().as_str().hash(key);
    let config = rate(10, 2).with_max_keys(16).unwrap();
    let layer = RateLimitLayer::keyed(config, by_method);
    let (handle, service) = (layer.handle(), layer.layer(Workers::new(9, ms(0))));
    let call = |method: String| service.clone().oneshot(Request::new(method, ()));
    for method in ["A.B", "A.C"] {
        call(method.into()).await.unwrap();
        call(method.into()).await.unwrap();
        assert_eq!(own(call(method.into()).await).retry_after(), Some(ms(100)));
    }
    // More keys than there is room for: each of them had two calls if it was known, and few otherwise.
    let passed = AtomicUsize::new(0);
    for n in 0..1_000 {
        for _ in 0..2 {
            passed.fetch_add(call(format!("Many.M{n}")).await.is_ok().into(), SeqCst);
        }
    }
    assert!(handle.keys() <= 16, "{}", handle.keys());
    let passed = passed.into_inner();
    assert!(passed <= 2 * (16 + 16), "{passed}");
    // Later they are all forgotten, when room is needed.
    advance(ms(1_000)).await;
    for n in 0..1_000 {
        call(format!("New.M{n}")).await.ok();
    }
    assert!(handle.keys() <= 16);
}
