//! What the layers do with time, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, advance, sleep};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn,
    util::BoxCloneSyncService,
};
use tower_test::{assert_request_eq, mock};
use towpath_core::{Answer, BoxError, Error, ErrorKind, Processed, Request, context};
use towpath_testing::time::timed;
use towpath_timeout::{
    DeadlineLayer, FindDeadline, FromContext, Limit, Phase, Span, TimedOut, TimeoutConfig, TimeoutLayer,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn config(millis: u64) -> TimeoutConfig {
    TimeoutConfig::try_new(ms(millis)).unwrap()
}

fn request() -> Request<()> {
    Request::new("A.B", ())
}

fn due_in(millis: u64) -> Request<()> {
    let mut request = request();
    request.context_mut().set_deadline(Some(Instant::now() + ms(millis)));
    request
}

#[track_caller]
fn own(error: &BoxError) -> &Error {
    let error = Error::find(&**error).expect("an error of the layer");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    error
}

/// Hands out the events that it observed.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<TimedOut>>>);

impl Events {
    fn observer(&self) -> impl Fn(&TimedOut) + Clone + use<> {
        let events = self.0.clone();
        move |event| events.lock().unwrap().push(*event)
    }

    fn seen(&self) -> Vec<(Phase, Duration)> {
        self.0.lock().unwrap().iter().map(|event| (event.phase, event.allowed)).collect()
    }
}

// TimeoutLayer.

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_passed_on() {
    let (mut service, mut handle) = mock::spawn_with(|mock| TimeoutLayer::new(config(100)).layer(mock));
    assert!(service.poll_ready().is_ready());
    let call = tokio::spawn(service.call("ping"));
    assert_request_eq!(handle, "ping").send_response("pong");
    assert_eq!(call.await.unwrap().unwrap(), "pong");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_service_is_passed_on() {
    let failing = service_fn(|_: ()| async { Err::<(), BoxError>("its own".into()) });
    let error = TimeoutLayer::new(config(100)).layer(failing).oneshot(()).await.unwrap_err();
    assert_eq!(error.to_string(), "its own");
}

#[tokio::test(start_paused = true)]
async fn time_is_up_to_the_millisecond_and_the_outcome_unknown() {
    let events = Events::default();
    let hanging = service_fn(|_: &str| pending::<Result<(), BoxError>>());
    let service = TimeoutLayer::new(config(250)).observe(events.observer()).layer(hanging);
    let (outcome, took) = timed(service.oneshot("x")).await;
    let error = outcome.unwrap_err();
    assert_eq!(own(&error).processed(), Processed::Unknown);
    assert!(error.to_string().contains("no answer within 250ms"), "{error}");
    assert!((ms(250)..=ms(251)).contains(&took), "{took:?}");
    assert_eq!(events.seen(), [(Phase::Called, ms(250))]);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_permit_counts_and_nothing_was_processed() {
    let events = Events::default();
    let hanging = service_fn(|_: &str| pending::<Result<(), BoxError>>());
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(config(100)).observe(events.observer()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(hanging);
    let mut first = pin!(service.clone().oneshot("first"));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    advance(ms(50)).await;
    let (outcome, took) = timed(service.clone().oneshot("second")).await;
    // The first one had its permit for 50 ms of the second one's time, then it was given up, too: but
    // nobody polled it, so that the permit was not free.
    assert_eq!(own(&outcome.unwrap_err()).processed(), Processed::No);
    assert!((ms(100)..=ms(101)).contains(&took), "{took:?}");
    assert_eq!(events.seen(), [(Phase::Waiting, ms(100))]);
    assert_eq!(own(&first.await.unwrap_err()).processed(), Processed::Unknown);
    assert_eq!(events.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_inner_future_is_dropped_when_time_is_up() {
    struct Alive(Arc<AtomicUsize>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    let alive = Arc::new(AtomicUsize::new(0));
    let gauge = alive.clone();
    let hanging = service_fn(move |_: ()| {
        gauge.fetch_add(1, SeqCst);
        let guard = Alive(gauge.clone());
        async move {
            let _guard = guard;
            pending::<Result<(), BoxError>>().await
        }
    });
    let mut call = pin!(TimeoutLayer::new(config(10)).layer(hanging).call(()));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending());
    assert_eq!(alive.load(SeqCst), 1);
    advance(ms(11)).await;
    assert!(call.as_mut().poll(&mut cx).is_ready());
    assert_eq!(alive.load(SeqCst), 0, "while the outer future is still there");
    assert!(call.as_mut().poll(&mut cx).is_pending());
}

#[test]
fn an_answer_at_the_first_poll_needs_no_timer() {
    // Outside a runtime a timer would panic.
    let quick = service_fn(|n: u32| std::future::ready(Ok::<_, BoxError>(n)));
    let mut call = pin!(TimeoutLayer::new(config(10)).layer(quick).call(3));
    let answer = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(answer, Poll::Ready(Ok(3))));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_there_counts_however_late() {
    let service = service_fn(|_: ()| async {
        sleep(ms(10)).await;
        Ok::<_, BoxError>("there")
    });
    let mut call = pin!(TimeoutLayer::new(config(10)).layer(service).call(()));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    advance(ms(1_000)).await;
    assert_eq!(call.await.unwrap(), "there");
}

#[tokio::test(start_paused = true)]
async fn the_time_before_the_first_poll_counts() {
    let hanging = service_fn(|_: ()| pending::<Result<(), BoxError>>());
    let call = TimeoutLayer::new(config(100)).layer(hanging).call(());
    advance(ms(60)).await;
    let (outcome, took) = timed(call).await;
    own(&outcome.unwrap_err());
    assert!((ms(40)..=ms(41)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_inner_future_does_not_hold_the_timer_up() {
    // It spends the task's whole budget in every poll: a timer on the same budget would never be seen.
    async fn busy((): ()) -> Result<(), BoxError> {
        let start = Instant::now();
        while start.elapsed() < ms(150) {
            tokio::task::consume_budget().await;
        }
        Ok(())
    }
    let clock = tokio::spawn(async {
        for _ in 0..200 {
            advance(ms(1)).await;
        }
    });
    let outcome =
        tokio::spawn(TimeoutLayer::new(config(100)).layer(service_fn(busy)).call(())).await.unwrap();
    own(&outcome.unwrap_err());
    clock.abort();
}

#[tokio::test(start_paused = true)]
async fn an_infallible_service_stays_infallible() {
    let hanging = service_fn(|_: ()| pending::<Result<String, Infallible>>());
    let layer =
        TimeoutLayer::new(config(5)).on_reject(Answer(|error: Error| error.kind().code().to_string()));
    let Ok(text) = layer.layer(hanging).oneshot(()).await;
    assert_eq!(text, "MCP-W-101");
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_context_and_own_limit_holds_and_goes_on() {
    let left = service_fn(|request: Request<()>| async move {
        Ok::<_, BoxError>(request.context().remaining(Instant::now()))
    });
    let service = TimeoutLayer::new(config(100)).honour_context().layer(left);
    assert_eq!(service.clone().oneshot(due_in(30)).await.unwrap(), Some(ms(30)));
    assert_eq!(service.clone().oneshot(due_in(300)).await.unwrap(), Some(ms(100)));
    assert_eq!(service.oneshot(request()).await.unwrap(), Some(ms(100)));

    let hanging = service_fn(|_: Request<()>| pending::<Result<(), BoxError>>());
    let service = TimeoutLayer::new(config(100)).honour_context().layer(hanging);
    let (outcome, took) = timed(service.oneshot(due_in(30))).await;
    assert!(own(&outcome.unwrap_err()).detail().contains("30ms"));
    assert!((ms(30)..=ms(31)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_found_in_a_foreign_request() {
    let hanging = service_fn(|_: Instant| pending::<Result<(), BoxError>>());
    let service = TimeoutLayer::new(config(100)).deadline_from(|due: &Instant| Some(*due)).layer(hanging);
    let (outcome, took) = timed(service.oneshot(Instant::now() + ms(40))).await;
    own(&outcome.unwrap_err());
    assert!((ms(40)..=ms(41)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_late_call_is_refused_without_a_call() {
    let events = Events::default();
    let never = service_fn(|_: Request<()>| async { panic!("called") as Result<(), BoxError> });
    let service = TimeoutLayer::new(config(100)).honour_context().observe(events.observer()).layer(never);
    let (outcome, took) = timed(service.oneshot(due_in(0))).await;
    assert_eq!(own(&outcome.unwrap_err()).processed(), Processed::No);
    assert_eq!(took, Duration::ZERO);
    assert_eq!(events.seen(), [(Phase::Late, Duration::ZERO)]);
}

#[tokio::test(start_paused = true)]
async fn a_reading_of_the_clock_is_left_and_taken_back_after_a_wait() {
    let stamp =
        service_fn(|request: Request<()>| async move { Ok::<_, BoxError>(request.context().stamp()) });
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(config(100)).honour_context())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(stamp);
    assert_eq!(service.clone().oneshot(request()).await.unwrap(), Some(Instant::now()));

    // One that holds the permit for 10 ms, and one behind it, whose reading is old by then.
    let slow = service_fn(|request: Request<()>| async move {
        sleep(ms(10)).await;
        Ok::<_, BoxError>(request.context().stamp())
    });
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(config(100)).honour_context())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(slow);
    let start = Instant::now();
    let (first, second) =
        tokio::join!(service.clone().oneshot(request()), service.clone().oneshot(request()));
    assert_eq!((first.unwrap(), second.unwrap()), (Some(start), None));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_at_this_very_moment_has_passed() {
    let span = FromContext.begin(&mut due_in(0), ms(10));
    assert_eq!(span, Span { start: Instant::now(), deadline: Instant::now() });
}

#[tokio::test(start_paused = true)]
async fn an_attempt_s_limit_is_told_from_the_call_s() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let hanging = service_fn(|_: Request<()>| pending::<Result<(), BoxError>>());
    let service = TimeoutLayer::per_attempt(config(100))
        .honour_context()
        .observe(move |event: &TimedOut| seen.lock().unwrap().push((event.limit, event.allowed)))
        .layer(hanging);
    let (outcome, took) = timed(service.clone().oneshot(request())).await;
    assert!(own(&outcome.unwrap_err()).detail().ends_with("100ms of this attempt"));
    assert!((ms(100)..=ms(101)).contains(&took), "{took:?}");
    let (outcome, _) = timed(service.oneshot(due_in(30))).await;
    own(&outcome.unwrap_err());
    assert_eq!(*events.lock().unwrap(), [(Limit::Attempt, ms(100)), (Limit::Inherited, ms(30))]);
}

/// As a retry does it: a clone of the request for each attempt, and the deadline stays with the original.
#[tokio::test(start_paused = true)]
async fn attempts_have_their_own_limit_within_the_call_s() {
    let hanging = service_fn(|_: Request<()>| pending::<Result<(), BoxError>>());
    let attempt = TimeoutLayer::per_attempt(config(100)).honour_context().layer(hanging);
    let retry = service_fn(move |request: Request<()>| {
        let attempt = attempt.clone();
        async move {
            let mut took = Vec::new();
            for _ in 0..10 {
                let mut again = request.clone();
                // The reading of the clock is old when the first attempt is over.
                again.context_mut().set_stamp(None);
                let (outcome, time) = timed(attempt.clone().oneshot(again)).await;
                took.push(time.as_millis());
                own(&outcome.unwrap_err());
                if request.context().remaining(Instant::now()).is_none_or(|left| left.is_zero()) {
                    break;
                }
            }
            Ok::<_, BoxError>(took)
        }
    });
    let service = DeadlineLayer::new(config(250)).layer(retry);
    let took = service.oneshot(request()).await.unwrap();
    assert!(took.len() == 3 && took[2] <= 52, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_config_is_replaced_while_it_is_used() {
    let limit = towpath_core::Live::new(config(100));
    let hanging = service_fn(|_: Request<()>| pending::<Result<(), BoxError>>());
    let service = TimeoutLayer::new(limit.clone()).layer(hanging);
    let before = service.clone().oneshot(request());
    let mut before = pin!(before);
    assert!(before.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    limit.set(config(20));
    let (_, took) = timed(service.clone().oneshot(request())).await;
    assert!((ms(20)..=ms(21)).contains(&took), "{took:?}");
    let (_, took) = timed(before).await;
    assert!((ms(80)..=ms(81)).contains(&took), "a call keeps the limit that it began with: {took:?}");
    // What is not valid does not get that far, and says why.
    let refused = limit.update(|_| TimeoutConfig::try_new(ms(0))).unwrap_err();
    assert!(refused.to_string().contains("too short") && limit.get().timeout() == ms(20));

    let layer = DeadlineLayer::new(config(100));
    let left = service_fn(|request: Request<()>| async move {
        Ok::<_, BoxError>(request.context().remaining(Instant::now()))
    });
    let service = layer.layer(left);
    layer.config().unwrap().set(config(7));
    assert_eq!(service.oneshot(request()).await.unwrap(), Some(ms(7)));
}

// DeadlineLayer.

#[tokio::test(start_paused = true)]
async fn the_smaller_of_own_and_inherited_is_stamped_with_one_reading() {
    let show = service_fn(|request: Request<()>| async move {
        Ok::<_, BoxError>((request.context().deadline(), request.context().stamp()))
    });
    let service = DeadlineLayer::new(config(100)).layer(show);
    let now = Instant::now();
    for (given, holds) in [(30, 30), (100, 100), (300, 100)] {
        let seen = service.clone().oneshot(due_in(given)).await.unwrap();
        assert_eq!(seen, (Some(now + ms(holds)), Some(now)));
    }
    // A reading that is there is the one that counts.
    let mut stamped = request();
    stamped.context_mut().set_stamp(Some(now - ms(20)));
    assert_eq!(service.oneshot(stamped).await.unwrap(), (Some(now + ms(80)), Some(now - ms(20))));
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_of_its_own_it_sets_none() {
    let show =
        service_fn(|request: Request<()>| async move { Ok::<_, BoxError>(request.context().deadline()) });
    let service = DeadlineLayer::inherited().layer(show);
    assert_eq!(service.clone().oneshot(request()).await.unwrap(), None);
    let now = Instant::now();
    assert_eq!(service.clone().oneshot(due_in(30)).await.unwrap(), Some(now + ms(30)));
    let error = service.oneshot(due_in(0)).await.unwrap_err();
    assert_eq!(own(&error).processed(), Processed::No);
}

#[tokio::test(start_paused = true)]
async fn it_spends_no_time_and_no_timer() {
    let hanging = service_fn(|_: Request<()>| pending::<Result<(), BoxError>>());
    let mut call = pin!(DeadlineLayer::new(config(10)).layer(hanging).oneshot(request()));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending());
    advance(ms(1_000)).await;
    assert!(call.as_mut().poll(&mut cx).is_pending(), "it stamps; those below keep the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_late_call_gives_its_permit_back_at_once() {
    let events = Events::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let count = service_fn(move |_: Request<()>| {
        counter.fetch_add(1, SeqCst);
        std::future::ready(Ok::<_, BoxError>(()))
    });
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(config(100)).observe(events.observer()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(count);
    let mut first = service.clone();
    let late = first.ready().await.unwrap().call(due_in(0));
    assert_eq!(own(&late.await.unwrap_err()).processed(), Processed::No);
    assert_eq!(calls.load(SeqCst), 0);
    assert_eq!(events.seen(), [(Phase::Late, Duration::ZERO)]);
    // `first` is still there, and was readied; the one permit is free nevertheless.
    let mut second = service.clone();
    let mut ready = pin!(second.ready());
    assert!(ready.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_late_call_can_be_answered() {
    let never = service_fn(|_: Request<()>| async { panic!("called") as Result<String, Infallible> });
    let layer = DeadlineLayer::inherited().on_reject(Answer(|error: Error| error.detail().to_string()));
    let Ok(text) = layer.layer(never).oneshot(due_in(0)).await;
    assert_eq!(text, "the deadline had passed before the call was started");
}

// From hop to hop.

type Hop = BoxCloneSyncService<Request<()>, Vec<Duration>, BoxError>;

/// Works for 100 ms, then calls the next hop, in the context of its own call as a server does it.
fn hop(hops_below: usize) -> Hop {
    let handler = service_fn(move |request: Request<()>| {
        let context = request.context().clone();
        context::scope(context.clone(), async move {
            let mut left: Vec<_> = context.remaining(Instant::now()).into_iter().collect();
            sleep(ms(100)).await;
            if hops_below > 0 {
                left.extend(hop(hops_below - 1).oneshot(Request::new("Next.Hop", ())).await?);
            }
            Ok::<_, BoxError>(left)
        })
    });
    BoxCloneSyncService::new(DeadlineLayer::new(config(1_000)).layer(handler))
}

#[tokio::test(start_paused = true)]
async fn what_is_left_shrinks_from_hop_to_hop() {
    let left = hop(2).oneshot(due_in(500)).await.unwrap();
    assert_eq!(left.len(), 3);
    for (hop, left) in left.into_iter().enumerate() {
        let ideal = ms(500 - 100 * hop as u64);
        assert!(left <= ideal && left + ms(5) >= ideal, "hop {hop}: {left:?} left of {ideal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_comes_too_late_does_not_start() {
    // 150 ms for hops of 100 ms: the second one starts, the third one does not.
    let error = hop(5).oneshot(due_in(150)).await.unwrap_err();
    assert_eq!(own(&error).processed(), Processed::No);
}
