//! What a breaker does, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

mod common;

use common::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use towpath_breaker::{
    BreakerConfig, BreakerEvent, BreakerLayer, BreakerOptions, Counts, Reason, State, Window,
};
use towpath_core::{BoxError, Class, Processed, Response};

// When it opens.

#[tokio::test(start_paused = true)]
async fn twenty_calls_of_which_half_fail() {
    let mut bench = Bench::new(BreakerConfig::default());
    bench.all(&[Good; 10]).await;
    bench.all(&[Fail; 9]).await;
    assert_eq!(bench.state(), State::Closed);
    bench.all(&[Fail]).await;
    assert_eq!(bench.changes(), [(State::Open, Reason::FailureRate)]);
    let error = refusal((bench.service)(Good).await).unwrap();
    assert_eq!(error.processed(), Processed::No);
    assert!(error.to_string().contains("10 of 20 calls failed, next probe in "), "{error}");
    let after = error.retry_after().unwrap();
    assert!(after > ms(4_499) && after <= ms(5_000), "{after:?}");
    assert_eq!((bench.rejected.load(SeqCst), bench.handle.rejected()), (1, 1));
    assert!(!Class::of_error(&error).useful, "not to be retried on the spot");
}

/// Pitfall 13.
#[tokio::test(start_paused = true)]
async fn the_same_failures_fast_and_slow_give_the_same_decision() {
    for gap in [1, 400] {
        let mut bench = Bench::new(config(|_| ()));
        for n in 1..=20 {
            assert_eq!(bench.state(), State::Closed, "before failure {n}, {gap} ms apart");
            bench.all(&[Fail]).await;
            advance(ms(gap)).await;
        }
        assert_eq!(bench.changes(), [(State::Open, Reason::FailureRate)], "{gap} ms apart");
    }
}

/// Pitfall 13.
#[tokio::test(start_paused = true)]
async fn three_calls_a_minute_never_open_it() {
    let mut bench = Bench::new(BreakerConfig::default());
    for _ in 0..60 {
        bench.all(&[Good, Fail, Fail]).await;
        advance(ms(60_000)).await;
    }
    assert_eq!(bench.changes(), []);
}

#[tokio::test(start_paused = true)]
async fn what_has_left_the_window_does_not_count() {
    let mut bench = Bench::new(BreakerConfig::default());
    bench.all(&[Fail; 19]).await;
    advance(ms(10_000)).await;
    bench.all(&[Fail; 19]).await;
    assert_eq!(bench.handle.status().window.calls, 19);
    bench.all(&[Fail]).await;
    assert_eq!(bench.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn good_calls_leave_the_window_too() {
    let mut bench = Bench::new(BreakerConfig::default());
    for _ in 0..100 {
        bench.all(&[Good; 10]).await;
        advance(ms(100)).await;
    }
    // A slow one that ends when nothing else does belongs to the bucket in which it ends.
    let slow = bench.start(Slow(9_900));
    sleep(ms(9_900)).await;
    slow.await.unwrap();
    sleep(ms(100)).await;
    let window = bench.handle.status().window;
    assert_eq!((window.calls, window.failures), (1, 0));
    bench.all(&[Fail; 19]).await;
    assert_eq!(bench.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn the_last_calls_one_by_one() {
    let by_calls = |o: &mut BreakerOptions| (o.window, o.min_calls) = (Window::Calls(10), 10);
    let mut bench = Bench::new(config(by_calls));
    bench.all(&[Fail, Fail, Fail, Fail]).await;
    bench.all(&[Good; 7]).await;
    // The first failure has left.
    bench.all(&[Fail]).await;
    assert_eq!(bench.state(), State::Closed);
    advance(ms(3_600_000)).await;
    bench.all(&[Fail, Fail]).await;
    // FF(FF) GGGGGGG FFF, the last ten: GGGGGGGFFF.
    assert_eq!(bench.handle.status().window.failures, 3);
    bench.all(&[Fail]).await;
    assert_eq!(bench.state(), State::Closed);
    bench.all(&[Fail]).await;
    assert_eq!(bench.changes(), [(State::Open, Reason::FailureRate)]);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row() {
    let mut bench = Bench::new(config(|o| o.consecutive_failures = Some(3)));
    bench.all(&[Fail, Fail, Good, Fail, Fail, Answer, Fail, Soft, Caller, Nothing, Fail]).await;
    assert_eq!((bench.state(), bench.handle.status().consecutive), (State::Closed, 2));
    bench.all(&[Fail]).await;
    assert_eq!(bench.changes(), [(State::Open, Reason::Consecutive)]);
}

#[tokio::test(start_paused = true)]
async fn soft_failures_count_in_the_rate_only() {
    let mut bench = Bench::new(config(|o| o.consecutive_failures = Some(3)));
    bench.all(&[Soft; 19]).await;
    assert_eq!(bench.handle.status().consecutive, 0);
    bench.all(&[Soft]).await;
    assert_eq!(bench.changes(), [(State::Open, Reason::FailureRate)]);
    assert_eq!(bench.handle.status().tripped.soft, 20);
    advance(ms(5_000)).await;
    bench.all(&[Soft]).await;
    assert_eq!(bench.changes()[2], (State::Open, Reason::ProbeFailed));
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_is_not_counted() {
    let mut bench = Bench::new(BreakerConfig::default());
    bench.all(&[Caller; 50]).await;
    bench.all(&[Nothing; 50]).await;
    assert_eq!(bench.handle.status().window, Counts::default());
    bench.all(&[Answer; 50]).await;
    assert_eq!((bench.handle.status().window.calls, bench.state()), (50, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn slow_calls() {
    let slow = |o: &mut BreakerOptions| (o.slow, o.slow_rate) = (Some(ms(100)), 0.5);
    let mut bench = Bench::new(config(slow));
    for _ in 0..10 {
        bench.all(&[Slow(99), Slow(100)]).await;
    }
    assert_eq!(bench.changes(), [(State::Open, Reason::SlowRate)]);
    let error = refusal((bench.service)(Good).await).unwrap();
    assert!(error.to_string().contains("10 of 20 calls were slow"), "{error}");
    advance(ms(5_000)).await;
    bench.all(&[Slow(100)]).await;
    assert_eq!(bench.changes()[2], (State::Open, Reason::ProbeFailed), "a slow probe is none");
}

#[tokio::test(start_paused = true)]
async fn an_own_policy() {
    let policy = |seen: &towpath_breaker::Seen<'_>| seen.window.soft >= 2;
    let mut bench = Bench::of(BreakerLayer::new(BreakerConfig::default()).trip_when(policy));
    bench.all(&[Fail; 100]).await;
    bench.all(&[Soft, Soft]).await;
    assert_eq!(bench.changes().len(), 1);
    assert_eq!(bench.state(), State::Open);
}

// How it closes.

/// Pitfall 10: a herd of probes.
#[tokio::test(start_paused = true)]
async fn of_a_thousand_callers_exactly_k_are_probes() {
    for k in [1, 3, 10] {
        let mut bench = Bench::new(config(|o| o.probes = k));
        bench.trip().await;
        advance(ms(4_999)).await;
        assert!(!bench.call(Good).await);
        advance(ms(1)).await;
        let calls: Vec<_> = (0..1_000).map(|_| bench.start(Slow(50))).collect();
        assert_eq!(bench.rejected.load(SeqCst), 1_001 - usize::from(k), "k = {k}");
        assert_eq!(bench.state(), State::HalfOpen);
        sleep(ms(50)).await;
        let good = {
            let mut good = 0;
            for (n, call) in calls.into_iter().enumerate() {
                // The calls that were turned away have given their answer already.
                if n < usize::from(k) {
                    good += usize::from(call.await.is_ok());
                    let state = if n + 1 < usize::from(k) { State::HalfOpen } else { State::Closed };
                    assert_eq!(bench.state(), state);
                    if state == State::HalfOpen {
                        assert!(!bench.call(Good).await, "no more than k in all");
                    }
                }
            }
            good
        };
        assert_eq!(good, usize::from(k));
    }
}

/// Pitfall 10: an old answer decides a probe.
#[tokio::test(start_paused = true)]
async fn an_old_answer_decides_nothing() {
    let mut bench = Bench::new(config(|o| o.probes = 1));
    let (good, bad) = (bench.start(Slow(5_100)), bench.start(SlowFail(5_300)));
    let before = bench.start(SlowFail(1_000));
    bench.trip().await;
    sleep(ms(1_000)).await;
    assert!(before.await.is_err());
    sleep(ms(4_000)).await;
    let probe = bench.start(Slow(200));
    assert_eq!(bench.state(), State::HalfOpen);
    sleep(ms(100)).await;
    assert!(good.await.is_ok());
    assert_eq!(bench.state(), State::HalfOpen, "a slow success from before the trip closes nothing");
    sleep(ms(100)).await;
    assert!(probe.await.is_ok());
    assert_eq!(bench.state(), State::Closed);
    bench.all(&[Fail; 19]).await;
    sleep(ms(100)).await;
    assert!(bad.await.is_err());
    assert_eq!(bench.state(), State::Closed, "nor does a slow failure from then open it");
    assert_eq!(bench.handle.status().window.calls, 19);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_or_says_nothing_is_replaced() {
    let mut bench = Bench::new(BreakerConfig::default());
    bench.trip().await;
    advance(ms(5_000)).await;
    for _ in 0..3 {
        let probe = bench.start(Hang);
        assert!(!bench.call(Good).await);
        drop(probe);
        bench.all(&[Caller, Nothing]).await;
        assert_eq!(bench.state(), State::HalfOpen);
    }
    bench.all(&[Good]).await;
    assert_eq!(bench.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_without_an_answer_has_failed_in_the_end() {
    let mut bench = Bench::new(config(|o| o.probe_timeout = ms(2_000)));
    bench.trip().await;
    advance(ms(5_000)).await;
    let hanging = bench.start(Hang);
    advance(ms(1_999)).await;
    let refused = refusal((bench.service)(Good).await).unwrap();
    assert_eq!(refused.retry_after(), Some(ms(1)));
    assert!(refused.to_string().contains("the next probe is under way"), "{refused}");
    advance(ms(1)).await;
    assert!(!bench.call(Good).await);
    assert_eq!(bench.changes()[2], (State::Open, Reason::ProbeUnanswered));
    drop(hanging);
    assert_eq!(bench.state(), State::Open);
    advance(ms(10_000)).await;
    bench.all(&[Good]).await;
    assert_eq!(bench.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_service_panics_is_replaced() {
    let layer = BreakerLayer::new(config(|o| o.consecutive_failures = Some(1)));
    let handle = layer.handle();
    let service = layer.layer(service_fn(|how: &'static str| async move {
        match how {
            "panic" => panic!("as it was told to"),
            "fail" => Err::<Response, BoxError>("failed".into()),
            _ => Ok(Response::new("good".into())),
        }
    }));
    assert!(service.clone().oneshot("fail").await.is_err());
    advance(ms(5_000)).await;
    assert!(tokio::spawn(service.clone().oneshot("panic")).await.is_err());
    assert_eq!(handle.state(), State::HalfOpen);
    assert!(service.clone().oneshot("good").await.is_ok());
    assert_eq!(handle.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_open_time_grows_and_is_forgotten_after_a_healthy_stretch() {
    let mut bench = Bench::new(config(|o| o.open_max = ms(15_000)));
    let open_for = |bench: &Bench| bench.handle.status().until.unwrap().duration_since(Instant::now());
    bench.trip().await;
    for expected in [5_000, 10_000, 15_000, 15_000] {
        assert_eq!(open_for(&bench), ms(expected));
        advance(ms(expected)).await;
        bench.all(&[Fail]).await;
    }
    advance(ms(15_000)).await;
    bench.all(&[Good]).await;
    // Closed for less than it was open.
    advance(ms(14_999)).await;
    bench.trip().await;
    assert_eq!(open_for(&bench), ms(15_000));
    advance(ms(15_000)).await;
    bench.all(&[Good]).await;
    advance(ms(15_000)).await;
    bench.trip().await;
    assert_eq!(open_for(&bench), ms(5_000));
}

#[tokio::test(start_paused = true)]
async fn chance_takes_some_of_the_open_time() {
    let mut times = Vec::new();
    for _ in 0..200 {
        let mut bench = Bench::new(config(|o| o.jitter = 0.5));
        bench.trip().await;
        times.push(bench.handle.status().until.unwrap().duration_since(Instant::now()));
    }
    let (least, most) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
    assert!(least >= ms(2_500) && least < ms(3_000), "{least:?}");
    assert!(most <= ms(5_000) && most > ms(4_500), "{most:?}");
}

#[tokio::test(start_paused = true)]
async fn a_growing_share_after_closing() {
    let mut bench = Bench::new(config(|o| o.ramp = ms(10_000)));
    bench.trip().await;
    advance(ms(5_000)).await;
    bench.all(&[Good]).await;
    let mut shares = Vec::new();
    for _ in 0..10 {
        let mut admitted = 0;
        for _ in 0..100 {
            admitted += u32::from(bench.call(Good).await);
            advance(ms(10)).await;
        }
        shares.push(admitted);
    }
    assert!((10..=12).contains(&shares[0]) && (93..=96).contains(&shares[9]), "{shares:?}");
    assert!(shares.is_sorted(), "{shares:?}");
    assert!((500..=510).contains(&shares.iter().sum::<u32>()), "{shares:?}");
    bench.all(&[Good; 100]).await;
    assert_eq!(bench.changes().len(), 3, "it is closed all the while");
}

/// Pitfall 10: a backend that is good for a second and bad for a second, for a minute. Answers with the share of
/// the good time that was used, and the changes.
async fn flapping(
    config: BreakerConfig,
    gap: Duration,
    gap_after_failure: Duration,
    phase: Duration,
) -> (f64, usize) {
    let start = Instant::now();
    let layer = BreakerLayer::new(config).classify(|outcome: Result<&(), &BoxError>| match outcome {
        Ok(()) => Class::SUCCESS,
        Err(_) => Class::FAILURE,
    });
    let changes = Arc::new(AtomicUsize::new(0));
    let count = changes.clone();
    let layer = layer.observe(move |event: &BreakerEvent| {
        count.fetch_add(usize::from(matches!(event, BreakerEvent::Changed(_))), SeqCst);
    });
    let is_good = move || (start.elapsed() + phase).as_secs().is_multiple_of(2);
    let mut service = layer.layer(service_fn(move |_: ()| async move {
        if is_good() { Ok::<(), BoxError>(()) } else { Err("bad".into()) }
    }));
    let (mut good, mut used) = (Duration::ZERO, Duration::ZERO);
    while start.elapsed() < ms(60_000) {
        let is_good = is_good();
        let outcome = service.call(()).await;
        let pause = if outcome.is_ok() { gap } else { gap_after_failure };
        good += pause * u32::from(is_good);
        used += pause * u32::from(is_good && outcome.is_ok());
        sleep(pause).await;
    }
    (used.as_secs_f64() / good.as_secs_f64(), changes.load(SeqCst))
}

#[tokio::test(start_paused = true)]
async fn a_flapping_backend_is_used_while_it_is_good() {
    for (gap, after_failure) in [(10, 10), (20, 1), (2, 2), (5, 40)] {
        for phase in [0, 1_333] {
            let (used, changes) =
                flapping(BreakerConfig::prompt(), ms(gap), ms(after_failure), ms(phase)).await;
            assert!(used >= 0.85, "{used}");
            assert!(changes <= 600, "{changes}");
        }
    }
}

/// With the default it is left alone, more and more.
/// Who wrote a closure may have written one that takes its time, or counts.
#[tokio::test(start_paused = true)]
async fn what_an_outcome_means_is_asked_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let layer = BreakerLayer::new(config(|_| {})).classify(move |outcome: Result<&Do, &BoxError>| {
        count.fetch_add(1, SeqCst);
        meaning(outcome)
    });
    let mut service = layer.layer(service_fn(backend));
    for what in [Good, Fail, Answer, Soft, Caller, Nothing, Slow(5), SlowFail(5)] {
        let _ = service.call(what).await;
        assert_eq!(asked.swap(0, SeqCst), 1, "{what:?}");
    }
    let window = layer.handle().status().window;
    assert_eq!((window.calls, window.failures, window.soft), (6, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_flapping_backend_that_others_stand_in_for_is_left_alone() {
    let (used, changes) = flapping(BreakerConfig::default(), ms(10), ms(5), ms(0)).await;
    assert!(changes <= 10 && used < 0.2, "{changes} {used}");
}
