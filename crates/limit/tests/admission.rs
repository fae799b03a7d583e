//! Who is let in, on a paused clock. (How many, under too much to do: `overload.rs`.)

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

mod common;

use common::{Events, Workers, due_in, ms, own, request};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{advance, sleep};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};
use towpath_core::{BoxError, DefaultClassify, Error, ErrorKind, Priority, Processed, Request, Response};
use towpath_limit::{
    Adapt, AdaptiveConfig, AdmissionConfig, AdmissionLayer, Aimd, LimitBy, LimitEvent, Refusal, Window,
};
use towpath_testing::time::{settle, timed};

fn fixed(limit: u32) -> AdmissionConfig {
    AdmissionConfig::try_new(LimitBy::Fixed(limit)).unwrap()
}

fn of(priority: u8) -> Request<()> {
    let mut request = request();
    request.context_mut().set_priority(Priority::new(priority));
    request
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_in_a_burst_and_not_in_a_queue_that_stands() {
    let events = Events::default();
    let layer = AdmissionLayer::new(fixed(1)).honour_context().observe(events.observer());
    let (handle, service) = (layer.handle(), layer.layer(Workers::new(9, ms(10_000))));
    let first = tokio::spawn(service.clone().oneshot(request()));
    settle().await;
    let (outcome, took) = timed(service.clone().oneshot(request())).await;
    let error = own(outcome);
    assert_eq!((error.kind(), error.processed(), took), (ErrorKind::Overloaded, Processed::No, ms(100)));
    assert_eq!(error.retry_after(), Some(ms(100)));
    assert!(error.to_string().contains("waited 100ms for one of 1 places"), "{error}");
    // From here on the queue stands, for an interval after the last that was refused.
    for _ in 0..3 {
        assert_eq!(timed(service.clone().oneshot(request())).await.1, ms(20));
    }
    advance(ms(100)).await;
    assert_eq!(timed(service.clone().oneshot(request())).await.1, ms(100));
    assert_eq!(timed(service.clone().oneshot(due_in(7))).await.1, ms(7));
    let refused: Vec<_> = events.refused().into_iter().map(|(why, _)| why).collect();
    assert_eq!(refused, [[Refusal::TimedOut; 5].as_slice(), &[Refusal::Late]].concat());
    assert_eq!((handle.in_flight(), handle.waiting(), handle.refused()), (1, 0, [0, 0, 0, 0, 6, 0, 0, 0]));
    first.abort();
    drop(first.await);
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn in_a_queue_that_stands_the_newest_goes_first() {
    let service = AdmissionLayer::new(fixed(1)).layer(Workers::new(9, ms(130)));
    let first = tokio::spawn(service.clone().oneshot(request()));
    settle().await;
    // Refused at 100 ms; those who come from then on stand in line for 20 ms, the newest first.
    assert!(service.clone().oneshot(request()).await.is_err());
    advance(ms(15)).await;
    let mut older = task::spawn(service.clone().oneshot(request()));
    assert_pending!(older.poll());
    let mut newer = task::spawn(service.clone().oneshot(request()));
    assert_pending!(newer.poll());
    advance(ms(15)).await;
    first.await.unwrap().unwrap();
    assert!(newer.is_woken() && !older.is_woken());
}

#[tokio::test(start_paused = true)]
async fn what_is_left_to_higher_priorities_is_theirs() {
    let layer = AdmissionLayer::new(fixed(10).with_queue(0).unwrap()).honour_context();
    let (handle, service) = (layer.handle(), layer.layer(Workers::new(99, ms(1_000))));
    let mut calls = Vec::new();
    for (priority, most) in [(0, 5), (1, 6), (2, 7), (3, 8), (4, 10), (7, 10)] {
        for _ in 0..10 {
            calls.push(tokio::spawn(service.clone().oneshot(of(priority))));
        }
        settle().await;
        assert_eq!(handle.in_flight(), most, "priority {priority}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_highest_priority_goes_first_and_in_a_full_queue_the_lowest_makes_room() {
    let config = fixed(1).with_queue(2).unwrap().with_shares([100; 8]).unwrap();
    let service = AdmissionLayer::new(config).honour_context().layer(Workers::new(9, ms(30)));
    let order = Arc::new(Mutex::new(Vec::new()));
    let call = |priority| {
        let (service, order) = (service.clone(), order.clone());
        tokio::spawn(async move {
            let outcome = service.oneshot(of(priority)).await;
            order.lock().unwrap().push((priority, outcome.is_ok()));
            outcome
        })
    };
    let mut calls = Vec::new();
    for priority in [4, 1, 2, 7, 1] {
        calls.push(call(priority));
        settle().await;
    }
    assert!(own(calls.remove(1).await.unwrap()).to_string().contains("better claim"));
    assert!(own(calls.remove(3).await.unwrap()).to_string().contains("all 1 places"));
    for call in calls {
        call.await.unwrap().ok();
    }
    assert_eq!(*order.lock().unwrap(), [(1, false), (1, false), (4, true), (7, true), (2, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_ones_own_is_asked_and_its_changes_are_told() {
    let (events, seen) = (Events::default(), Arc::new(Mutex::new(Vec::new())));
    let own = {
        let seen = seen.clone();
        move |window: &Window| {
            seen.lock().unwrap().push(*window);
            window.limit + 1
        }
    };
    let layer = AdmissionLayer::new(fixed(10)).adapt_by(own).honour_context().observe(events.observer());
    let (handle, service) = (layer.handle(), layer.layer(Workers::new(99, ms(10))));
    for _ in 0..30 {
        let calls: Vec<_> = (0..10).map(|_| tokio::spawn(service.clone().oneshot(request()))).collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3);
    let in_flight: Vec<_> = seen.iter().map(|window| window.in_flight().round() as u32).collect();
    assert_eq!((in_flight, seen[1].latency, seen[1].length), (vec![9, 10, 10], ms(10), ms(100)));
    let changes = [(10, 11), (11, 12), (12, 13)].map(|(from, to)| LimitEvent::LimitChanged { from, to });
    assert_eq!(events.seen(), changes);
    assert_eq!((handle.limit(), handle.latency()), (13, ms(10)));
    // A config in place of another leaves it alone.
    handle.config().set(fixed(3));
    assert_eq!(handle.limit(), 13);
}

#[tokio::test(start_paused = true)]
async fn what_tells_nothing_is_not_measured() {
    let asked = Arc::new(AtomicU32::new(0));
    let own = {
        let asked = asked.clone();
        move |window: &Window| {
            asked.fetch_add(1, SeqCst);
            assert_eq!((window.latency, window.dropped), (ms(5), 50));
            window.limit
        }
    };
    let layer = AdmissionLayer::new(fixed(5)).adapt_by(own).classify(DefaultClassify::new());
    // At once, with an error, refused below, and one that counts.
    let number = AtomicU32::new(0);
    let number = Arc::new(number);
    let service = layer.honour_context().layer(service_fn(move |_: Request| {
        let number = number.fetch_add(1, SeqCst);
        async move {
            match number % 4 {
                0 => return Ok(Response::default()),
                1 => return Err::<Response, BoxError>(Error::new(ErrorKind::Overloaded).into()),
                2 => sleep(ms(3)).await,
                _ => sleep(ms(5)).await,
            }
            if number % 4 == 2 { Err("lost".into()) } else { Ok(Response::default()) }
        }
    }));
    for _ in 0..200 {
        service.clone().oneshot(Request::new("A.B", "".into())).await.ok();
    }
    assert_eq!(asked.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn another_config_has_effect_at_once() {
    let layer = AdmissionLayer::new(fixed(1));
    let (handle, service) = (layer.handle(), layer.layer(Workers::new(9, ms(1_000))));
    let mut calls: Vec<_> = (0..4).map(|_| task::spawn(service.clone().oneshot(request()))).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    handle.config().set(fixed(3));
    assert_eq!((handle.limit(), handle.in_flight(), handle.waiting()), (3, 3, 1));
    let bounds = AdaptiveConfig::try_new(1, 7, 9).unwrap();
    handle.config().set(AdmissionConfig::try_new(LimitBy::Aimd(bounds)).unwrap());
    assert_eq!((handle.limit(), handle.in_flight(), handle.waiting()), (7, 4, 0));
    // What does not change the bounds leaves what was found out.
    handle.config().update(|config| config.with_queue(9)).unwrap();
    assert_eq!(handle.limit(), 7);
    let refused = handle.config().update(|config| config.with_delay(Duration::ZERO, ms(1)));
    assert!(refused.unwrap_err().to_string().starts_with("target_ms: 0ns is not"));
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    advance(ms(1_000)).await;
    assert_ready!(calls[0].poll()).unwrap();
}

/// A rule that is written by wrapping one of ours.
#[test]
fn rules_can_be_wrapped() {
    struct Halved(Aimd);
    impl Adapt for Halved {
        fn adapt(&mut self, window: &Window) -> u32 {
            self.0.adapt(window) / 2
        }
    }
    let layer =
        AdmissionLayer::new(AdmissionConfig::default()).adapt_by(Halved(Aimd::new(Default::default())));
    assert_eq!(layer.handle().limit(), 20);
}
