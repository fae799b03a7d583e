//! Many calls on each connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Log, Pooled, World, by, call, call_by, config, ms};
use std::sync::atomic::Ordering::SeqCst;
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::ServiceExt;
use tower_service::Service;
use towpath_core::{Backoff, Endpoint, EndpointStatus, Error, ErrorKind, Jitter, Live, Processed, Request};
use towpath_pool::{Ending, PoolBuilder, PoolConfig, PoolEvent, PoolState, Refusal, Retirement, SharedPool};
use towpath_testing::time::{settle, timed};

fn pool(world: &World, config: PoolConfig) -> SharedPool<Pooled> {
    PoolBuilder::new(world.connects()).config(config).name("here").shared()
}

fn is_idle(pool: &SharedPool<Pooled>) -> bool {
    matches!(pool.state(), PoolState::Idle)
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_before_the_first_use_and_then_the_minimum_is_there() {
    let world = World::default();
    let pool = pool(&world, config(|o| o.min = 3));
    sleep(ms(100)).await;
    assert!(is_idle(&pool));
    drop(pool.clone().oneshot(call(0)));
    settle().await;
    assert_eq!(world.made(), 0, "a call that is not polled is no use");
    assert_eq!(by(&pool.clone().oneshot(call(0)).await.unwrap()), 0);
    settle().await;
    assert_eq!((world.made(), pool.handle().stats().open), (3, 3));
    assert!(matches!(pool.state(), PoolState::Connected));
}

#[tokio::test(start_paused = true)]
async fn calls_stay_on_the_first_until_it_has_its_share() {
    let world = World::default();
    let pool = pool(&world, config(|o| (o.max, o.calls_per_connection) = (3, 4)));
    pool.ready().await.unwrap();
    let mut calls = Vec::new();
    for n in 0..24 {
        calls.push(tokio::spawn(pool.clone().oneshot(call(1_000))));
        settle().await;
        // The call that finds all full goes on one of them; the next connection is for those after it.
        let expected = [1, 2, 3][usize::from(n > 3) + usize::from(n > 8)];
        assert_eq!(world.made(), expected, "{n}");
    }
    let on: Vec<_> = (0..3).map(|n| world.line(n).in_flight()).collect();
    assert_eq!(on.iter().sum::<usize>(), 24);
    assert!(on.iter().all(|n| (7..=9).contains(n)), "beyond their share they are spread: {on:?}");
    assert_eq!(pool.handle().stats().in_flight, 24);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(by(&pool.oneshot(call(0)).await.unwrap()), 0, "back on the first");
}

#[tokio::test(start_paused = true)]
async fn what_was_opened_for_a_peak_is_closed_when_nobody_uses_it() {
    let (world, log) = (World::default(), Log::default());
    let config = config(|o| (o.calls_per_connection, o.idle_timeout) = (1, Some(ms(10_000))));
    let pool = PoolBuilder::new(world.connects()).config(config).observe(log.clone()).shared();
    pool.ready().await.unwrap();
    let peak: Vec<_> = (0..3).map(|_| tokio::spawn(pool.clone().oneshot(call(100)))).collect();
    settle().await;
    let more = tokio::spawn(pool.clone().oneshot(call(100)));
    for call in peak.into_iter().chain([more]) {
        call.await.unwrap().unwrap();
    }
    let most = world.open();
    assert!((2..=4).contains(&most), "{most}");
    // The first one goes on to be used: that is not what keeps the others open.
    for _ in 0..21 {
        sleep(ms(1_000)).await;
        assert_eq!(by(&pool.clone().oneshot(call(0)).await.unwrap()), 0);
    }
    assert_eq!((world.open(), log.retired(Retirement::Idle)), (1, most - 1));
    sleep(ms(3_600_000)).await;
    assert_eq!((world.open(), world.made()), (1, most), "the minimum stays, and is not made again");
}

#[tokio::test(start_paused = true)]
async fn with_no_minimum_there_is_none_while_nobody_calls() {
    let world = World::default();
    let pool = pool(&world, config(|o| (o.min, o.idle_timeout) = (0, Some(ms(5_000)))));
    for n in 0..3 {
        assert_eq!(by(&pool.clone().oneshot(call(0)).await.unwrap()), n);
        sleep(ms(10_001)).await;
        assert!(is_idle(&pool), "{:?}", pool.state());
        assert_eq!((world.open(), world.made()), (0, n + 1));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_wait_in_the_order_in_which_they_came_and_no_longer_than_they_may() {
    let (world, log) = (World::default(), Log::default());
    world.delay.store(1_000, SeqCst);
    let pool = PoolBuilder::new(world.connects())
        .config(config(|o| (o.max_waiting, o.acquire_timeout) = (3, ms(700))))
        .observe(log.clone())
        .name("here")
        .shared();
    let mut late = task::spawn(pool.clone().oneshot(call_by(0, 500)));
    let mut slow = task::spawn(pool.clone().oneshot(call(0)));
    let mut gone = task::spawn(pool.clone().oneshot(call_by(0, 5_000)));
    assert_pending!(late.poll());
    assert_pending!(slow.poll());
    assert_pending!(gone.poll());
    let full = assert_ready!(task::spawn(pool.clone().oneshot(call(0))).poll()).unwrap_err();
    assert_eq!((full.kind(), full.processed()), (ErrorKind::NoConnection, Processed::No), "{full}");
    drop(gone);
    assert_eq!(pool.handle().stats().waiting, 2);
    let mut next = task::spawn(pool.clone().oneshot(call_by(0, 5_000)));
    assert_pending!(next.poll());
    sleep(ms(501)).await;
    assert!(late.is_woken() && !slow.is_woken());
    let error = assert_ready!(late.poll()).unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::DeadlineExceeded, Processed::No), "{error}");
    sleep(ms(200)).await;
    let error = assert_ready!(slow.poll()).unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::NoConnection, Processed::No), "{error}");
    assert!(error.to_string().contains("at here: waited 70"), "{error}");
    let error = assert_ready!(next.poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoConnection, "the acquire time-out holds for it as well");
    let refused = [Refusal::Full, Refusal::Late, Refusal::TimedOut].map(|why| log.refused(why));
    assert_eq!(refused, [1, 1, 2]);
    assert_eq!(pool.handle().stats().waiting, 0);
    sleep(ms(1_000)).await;
    assert!(pool.oneshot(call(0)).await.is_ok(), "the connect went on without them");
}

#[tokio::test(start_paused = true)]
async fn one_without_a_deadline_learns_of_a_failed_connect_and_the_others_wait_on() {
    let world = World::default();
    world.refuses.store(true, SeqCst);
    let pool = pool(&world, PoolConfig::default());
    let waits = tokio::spawn(pool.clone().oneshot(call_by(0, 9_000)));
    let error = pool.clone().oneshot(call(0)).await.unwrap_err();
    assert_eq!((error.kind(), error.detail()), (ErrorKind::ConnectFailed, "refused"));
    let PoolState::Connecting { last_error: Some(known), next_try: Some(_), .. } = pool.state() else {
        panic!("{:?}", pool.state());
    };
    assert_eq!(known.detail(), "refused");
    let (error, took) = timed(pool.clone().oneshot(call(0))).await;
    assert_eq!((error.unwrap_err().kind(), took), (ErrorKind::ConnectFailed, ms(0)), "that is known already");
    let (error, took) = timed(pool.clone().oneshot(call_by(0, 300))).await;
    assert_eq!(error.unwrap_err().detail(), "refused", "what is known is more than that time was up");
    assert_eq!(took, ms(300));
    world.refuses.store(false, SeqCst);
    assert!(waits.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_has_no_stale_reading_of_the_clock() {
    let world = World::default();
    world.delay.store(1_000, SeqCst);
    let pool = pool(&world, PoolConfig::default());
    let mut request = call_by(0, 5_000);
    request.context_mut().set_stamp(Some(Instant::now()));
    let start = Instant::now();
    let mut call = task::spawn(pool.clone().call(request));
    assert_pending!(call.poll());
    sleep(ms(1_001)).await;
    assert_ready_ok!(call.poll());
    assert_eq!(world.stamps.lock().unwrap()[0], Some(start + ms(1_001)));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_made_again_at_once_and_then_not_in_a_tight_loop() {
    let (world, log) = (World::default(), Log::default());
    let pool = PoolBuilder::new(world.connects()).observe(log.clone()).shared();
    pool.ready().await.unwrap();
    sleep(ms(60_000)).await;
    world.line(0).end(Ending::Broken);
    settle().await;
    assert_eq!(world.made(), 2, "at once");
    let begun = Instant::now();
    while begun.elapsed() < ms(30_000) {
        let made = world.made();
        world.line(made - 1).end(Ending::Broken);
        sleep(ms(10)).await;
    }
    let made = world.made();
    assert!((6..=40).contains(&made), "{made} connects in 30 s to a peer that hangs up at once");
    assert_eq!(log.count(|event| matches!(event, PoolEvent::Lost { .. })), made);
    assert_eq!(pool.handle().stats().losses, made as u64);
}

#[tokio::test(start_paused = true)]
async fn after_a_goaway_the_connect_waits_and_no_call_is_lost() {
    let mut waits = Vec::new();
    for _ in 0..40 {
        let world = World::default();
        let pool = pool(&world, PoolConfig::default());
        pool.ready().await.unwrap();
        sleep(ms(60_000)).await;
        let begun = tokio::spawn(pool.clone().oneshot(call(300)));
        let last = tokio::spawn(pool.clone().oneshot(Request::new("Last", "300".into())));
        settle().await;
        world.line(0).end(Ending::GoingAway);
        let (next, waited) = timed(pool.clone().oneshot(call(0))).await;
        assert_eq!(by(&next.unwrap()), 1);
        waits.push(waited);
        assert_eq!(by(&begun.await.unwrap().unwrap()), 0, "what was begun is finished where it was");
        assert_eq!(by(&last.await.unwrap().unwrap()), 1, "what was not begun is made anew");
    }
    waits.sort_unstable();
    assert!(waits[39] <= ms(2_502) && waits[39] > ms(1_000) && waits[0] < ms(1_000), "{waits:?}");
}

/// Sent away a second time, it is its caller's turn.
#[tokio::test(start_paused = true)]
async fn a_call_is_made_anew_once() {
    let world = World::default();
    let pool = pool(&world, config(|o| o.reconnect = backoff(1)));
    let call = tokio::spawn(pool.clone().oneshot(Request::new("Last", "60000".into())));
    for n in 0..2 {
        while world.made() <= n || world.line(n).in_flight() == 0 {
            sleep(ms(1)).await;
        }
        world.line(n).end(Ending::GoingAway);
    }
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::Draining, Processed::No));
}

fn backoff(base: u64) -> Backoff {
    Backoff::try_new(ms(base), ms(5_000), 2.0, Jitter::Full).unwrap()
}

#[tokio::test(start_paused = true)]
async fn others_take_the_calls_of_one_that_goes_away_before_anybody_looks() {
    let world = World::default();
    let pool = pool(&world, config(|o| o.min = 2));
    pool.ready().await.unwrap();
    settle().await;
    world.line(0).end(Ending::GoingAway);
    let mut call = task::spawn(pool.clone().oneshot(call(0)));
    assert_eq!(by(&assert_ready_ok!(call.poll())), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_replaced_before_it_is_missed() {
    let (world, log) = (World::default(), Log::default());
    world.delay.store(500, SeqCst);
    let config = config(|o| (o.max, o.max_age) = (1, Some(ms(100_000))));
    let pool = PoolBuilder::new(world.connects()).config(config).observe(log.clone()).shared();
    pool.ready().await.unwrap();
    let slow = tokio::spawn(pool.clone().oneshot(call(99_000)));
    let begun = Instant::now();
    while begun.elapsed() < ms(1_000_000) {
        let (answer, took) = timed(pool.clone().oneshot(call(0))).await;
        assert!(answer.is_ok() && took <= ms(1), "nobody waits: {took:?}");
        sleep(ms(50)).await;
        assert!(world.open() <= 2);
    }
    slow.await.unwrap().unwrap();
    let (made, aged) = (world.made(), log.retired(Retirement::Aged));
    assert!((11..=60).contains(&made) && aged >= made - 2, "{made} {aged}");
}

#[tokio::test(start_paused = true)]
async fn what_is_old_stays_while_no_other_can_be_made() {
    let world = World::default();
    let pool = pool(&world, config(|o| o.max_age = Some(ms(10_000))));
    pool.ready().await.unwrap();
    world.refuses.store(true, SeqCst);
    sleep(ms(60_000)).await;
    assert!(world.tried() > 5);
    assert_eq!(by(&pool.clone().oneshot(call(0)).await.unwrap()), 0);
    assert!(matches!(pool.state(), PoolState::Connected));
    world.refuses.store(false, SeqCst);
    sleep(ms(5_000)).await;
    assert!(by(&pool.oneshot(call(0)).await.unwrap()) > 0);
}

#[tokio::test(start_paused = true)]
async fn ages_are_spread_over_the_whole_range() {
    let world = World::default();
    let (count, max) = (300, ms(1_000_000));
    let config = config(|o| (o.min, o.max, o.max_age) = (count, count, Some(max)));
    let pool = pool(&world, config);
    pool.ready().await.unwrap();
    sleep(ms(1)).await;
    assert_eq!(world.made(), count as usize);
    let mut per_tenth = Vec::new();
    let firsts: Vec<_> = (0..count as usize).map(|n| world.line(n)).collect();
    for _ in 0..10 {
        let before = firsts.iter().filter(|line| line.is_over()).count();
        sleep(max / 10).await;
        per_tenth.push(firsts.iter().filter(|line| line.is_over()).count() - before);
    }
    assert!(per_tenth[0] <= 3 && per_tenth[1..].iter().all(|n| (12..=60).contains(n)), "{per_tenth:?}");
}

#[tokio::test(start_paused = true)]
async fn who_gives_no_sign_of_life_is_replaced() {
    let (world, log) = (World::default(), Log::default());
    world.pings.store(1, SeqCst);
    let pool = PoolBuilder::new(world.connects()).observe(log.clone()).shared();
    pool.ready().await.unwrap();
    sleep(ms(95_000)).await;
    assert_eq!((world.pinged.load(SeqCst), world.made()), (3, 1), "every 30 s");
    for _ in 0..60 {
        pool.clone().oneshot(call(0)).await.unwrap();
        sleep(ms(1_000)).await;
    }
    assert_eq!(world.pinged.load(SeqCst), 3, "one that is used gives signs enough");
    world.pings.store(2, SeqCst);
    // It was used shortly after it was looked at, and is looked at again when it was unused for a whole time.
    sleep(ms(61_000 + 5_000)).await;
    assert_eq!((log.retired(Retirement::Silent), world.made()), (1, 2));
    assert!(world.line(0).is_over());
    assert_eq!(by(&pool.oneshot(call(0)).await.unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn large_bodies_take_a_connection_of_their_own() {
    let world = World::default();
    let pool = pool(&world, PoolConfig::default());
    pool.ready().await.unwrap();
    let bulk = || Request::new("Bulk", "10".into());
    assert_eq!(by(&pool.clone().oneshot(bulk()).await.unwrap()), 0, "nobody waits for that");
    settle().await;
    assert_eq!(world.made(), 2);
    for _ in 0..3 {
        assert_eq!(by(&pool.clone().oneshot(bulk()).await.unwrap()), 1);
        assert_eq!(by(&pool.clone().oneshot(call(0)).await.unwrap()), 0);
    }
    settle().await;
    assert_eq!(world.made(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_closed_because_nobody_used_it_is_made_again_by_the_next_call() {
    let world = World::default();
    let pool = pool(&world, PoolConfig::default());
    for n in 0..3 {
        assert_eq!(by(&pool.clone().oneshot(call(0)).await.unwrap()), n);
        world.line(n).end(Ending::Unused);
        sleep(ms(60_000)).await;
        assert!(is_idle(&pool), "{:?}", pool.state());
        assert_eq!(world.made(), n + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_panics_or_hangs_is_one_that_failed() {
    let world = World::default();
    world.panics.store(true, SeqCst);
    let pool = pool(&world, PoolConfig::default());
    let error = pool.clone().oneshot(call(0)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::ConnectFailed && error.to_string().contains("panicked"), "{error}");
    world.panics.store(false, SeqCst);
    assert!(pool.clone().oneshot(call_by(0, 9_000)).await.is_ok());

    world.line(0).end(Ending::Broken);
    world.delay.store(60_000, SeqCst);
    sleep(ms(5_001)).await;
    let error = pool.clone().oneshot(call(0)).await.unwrap_err();
    assert!(error.to_string().contains("here: no connection within 5000 ms"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn whatever_a_connect_fails_with_is_a_failure_to_connect() {
    let fails = |error: Error| {
        let pool = PoolBuilder::new(move || {
            let error = error.clone();
            async move { Err::<Pooled, _>(error) }
        });
        pool.name("here").shared()
    };
    let other = fails(Error::new(ErrorKind::Overloaded)).connect().await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::ConnectFailed, "{other}");
    assert!(other.to_string().contains("here"), "{other}");
    let kept = fails(Error::new(ErrorKind::Unauthenticated)).connect().await.unwrap_err();
    assert_eq!(kept.kind(), ErrorKind::Unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn closed_it_makes_no_calls_and_finishes_those_under_way() {
    let world = World::default();
    let pool = pool(&world, PoolConfig::default());
    let under_way = tokio::spawn(pool.clone().oneshot(call(100)));
    settle().await;
    let handle = pool.handle();
    pool.clone().close();
    assert!(world.line(0).is_over(), "at once");
    let error = pool.clone().oneshot(call(0)).await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::Draining, Processed::No));
    assert!(pool.ready().await.is_err() && matches!(handle.state(), PoolState::Closed));
    assert!(under_way.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_it_and_ends_the_connecting() {
    let world = World::default();
    let pool = pool(&world, PoolConfig::default());
    let call = tokio::spawn(pool.clone().oneshot(call(100)));
    settle().await;
    drop(pool);
    settle().await;
    assert!(!world.line(0).is_over(), "a call under way holds it");
    assert!(call.await.unwrap().is_ok());
    settle().await;
    assert!(world.line(0).is_over());

    world.refuses.store(true, SeqCst);
    let other = self::pool(&world, PoolConfig::default());
    assert!(other.connect().await.is_err());
    let (tried, handle) = (world.tried(), other.handle());
    drop(other);
    sleep(ms(60_000)).await;
    assert_eq!(world.tried(), tried);
    assert!(matches!(handle.state(), PoolState::Closed));
}

#[test]
fn it_outlives_a_runtime() {
    let world = World::default();
    let pool = pool(&world, PoolConfig::default());
    for n in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(by(&runtime.block_on(pool.clone().oneshot(call(0))).unwrap()), n);
    }
    let mut call = task::spawn(pool.oneshot(call(0)));
    let error = assert_ready!(call.poll()).unwrap_err();
    assert!(error.to_string().contains("needs a tokio runtime"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn it_writes_the_state_of_its_endpoint() {
    let (world, endpoint) = (World::default(), Endpoint::new("mcp://10.0.0.7:80"));
    let pool = PoolBuilder::new(world.connects()).endpoint(endpoint.clone()).waits_in_ready().shared();
    world.refuses.store(true, SeqCst);
    let mut first = task::spawn(pool.clone());
    // As a balancer does with every new one.
    assert_pending!(first.enter(|cx, mut pool| Service::<Request>::poll_ready(&mut *pool, cx)));
    settle().await;
    let EndpointStatus::Connecting { next_try: Some(next) } = endpoint.state().status() else {
        panic!("{endpoint:?}");
    };
    assert!(next > Instant::now() && next <= Instant::now() + ms(2_500));
    world.refuses.store(false, SeqCst);
    sleep(ms(2_501)).await;
    assert_eq!(endpoint.state().status(), EndpointStatus::Ready);
    assert!(first.is_woken());
    assert_ready_ok!(first.enter(|cx, mut pool| Service::<Request>::poll_ready(&mut *pool, cx)));
    world.line(0).end(Ending::Broken);
    world.refuses.store(true, SeqCst);
    settle().await;
    assert!(!endpoint.state().is_ready());
    let tried = world.tried();
    endpoint.state().set_gone();
    sleep(ms(60_000)).await;
    assert_eq!(world.tried(), tried, "no further connect");
    let error = pool.oneshot(call(0)).await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::Draining, Processed::No));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_s_connection_is_kept_although_the_peer_closes_what_nobody_uses() {
    let (world, endpoint) = (World::default(), Endpoint::new("here"));
    let pool = PoolBuilder::new(world.connects()).endpoint(endpoint.clone()).shared();
    pool.ready().await.unwrap();
    world.line(0).end(Ending::Unused);
    sleep(ms(2_501)).await;
    assert_eq!((world.made(), endpoint.state().status()), (2, EndpointStatus::Ready));
}

#[tokio::test(start_paused = true)]
async fn a_config_that_is_replaced_has_effect_at_once() {
    let world = World::default();
    let live = Live::new(config(|o| (o.min, o.max) = (1, 8)));
    let pool = PoolBuilder::new(world.connects()).config(live.clone()).shared();
    pool.ready().await.unwrap();
    live.set(config(|o| (o.min, o.max) = (6, 8)));
    settle().await;
    assert_eq!(world.open(), 6);
    pool.handle().config().set(config(|o| (o.min, o.max) = (1, 2)));
    settle().await;
    assert_eq!(world.open(), 2);
    assert_eq!(by(&pool.oneshot(call(0)).await.unwrap()), 0, "the first ones stay");
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_waits_in_ready_and_goes_takes_its_place_with_it() {
    let world = World::default();
    world.delay.store(100, SeqCst);
    let pool = PoolBuilder::new(world.connects()).waits_in_ready().shared();
    let mut clones: Vec<_> = (0..8).map(|_| task::spawn(pool.clone())).collect();
    for clone in &mut clones {
        assert_pending!(clone.enter(|cx, mut pool| Service::<Request>::poll_ready(&mut *pool, cx)));
    }
    assert_eq!(pool.handle().stats().waiting, 8);
    clones.truncate(3);
    assert_eq!(pool.handle().stats().waiting, 3);
    sleep(ms(101)).await;
    assert!(clones.iter().all(|clone| clone.is_woken()));
    assert_eq!(pool.handle().stats().waiting, 0);
}
