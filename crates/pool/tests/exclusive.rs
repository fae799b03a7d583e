//! One call at a time on each connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Log, Pooled, World, by, call, call_by, ms};
use std::sync::atomic::Ordering::SeqCst;
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::ServiceExt;
use tower_service::Service;
use towpath_core::{ErrorKind, Processed, Request};
use towpath_pool::{
    Ending, ExclusivePool, PoolBuilder, PoolConfig, PoolOptions, PoolStats, Refusal, Retirement,
};
use towpath_testing::time::settle;

fn config(change: impl FnOnce(&mut PoolOptions)) -> PoolConfig {
    let mut options = PoolConfig::exclusive().options();
    change(&mut options);
    PoolConfig::try_new(options).unwrap()
}

fn pool(world: &World, config: PoolConfig) -> ExclusivePool<Pooled> {
    PoolBuilder::new(world.connects()).config(config).name("here").exclusive()
}

#[tokio::test(start_paused = true)]
async fn each_call_has_a_connection_for_itself_and_there_are_no_more_than_may_be() {
    let world = World::default();
    let pool = pool(&world, config(|o| o.max = 5));
    let calls: Vec<_> = (0..100).map(|_| tokio::spawn(pool.clone().oneshot(call_by(10, 5_000)))).collect();
    let begun = Instant::now();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!((world.made(), world.most.load(SeqCst)), (5, 5));
    assert!(begun.elapsed() < ms(250), "{:?}", begun.elapsed());
    let stats = pool.handle().stats();
    assert_eq!((stats.open, stats.idle, stats.in_flight, stats.waiting), (5, 5, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_one_that_was_used_last_is_used_next_and_the_others_become_idle() {
    let (world, log) = (World::default(), Log::default());
    let config = config(|o| (o.min, o.idle_timeout) = (1, Some(ms(10_000))));
    let pool = PoolBuilder::new(world.connects()).config(config).observe(log.clone()).exclusive();
    let three: Vec<_> = (1..4).map(|n| tokio::spawn(pool.clone().oneshot(call(n * 10)))).collect();
    for call in three {
        call.await.unwrap().unwrap();
    }
    let last = by(&pool.clone().oneshot(call(0)).await.unwrap());
    for _ in 0..25 {
        sleep(ms(1_000)).await;
        assert_eq!(by(&pool.clone().oneshot(call(0)).await.unwrap()), last);
    }
    assert_eq!((world.open(), log.retired(Retirement::Idle)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn first_come_first_served() {
    let world = World::default();
    let pool = pool(&world, config(|o| o.max = 1));
    let held = tokio::spawn(pool.clone().oneshot(call(100)));
    settle().await;
    let mut calls: Vec<_> = (0..10).map(|_| task::spawn(pool.clone().oneshot(call_by(1, 60_000)))).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    held.await.unwrap().unwrap();
    for n in 0..10 {
        let woken: Vec<_> = calls.iter().map(|call| call.is_woken()).collect();
        assert!(woken.iter().enumerate().all(|(at, woken)| *woken == (at == n)), "{n}: {woken:?}");
        assert_pending!(calls[n].poll());
        // Who comes when one is free but promised does not overtake.
        let mut late = task::spawn(pool.clone().oneshot(call_by(1, 60_000)));
        assert_pending!(late.poll());
        drop(late);
        sleep(ms(2)).await;
        assert_ready_ok!(calls[n].poll());
    }
}

// Who waits, is woken by whichever comes first.

#[tokio::test(start_paused = true)]
async fn one_that_is_given_back_comes_before_a_new_one() {
    let world = World::default();
    let pool = pool(&world, PoolConfig::exclusive());
    let first = tokio::spawn(pool.clone().oneshot(call(50)));
    settle().await;
    world.delay.store(1_000, SeqCst);
    let (begun, second) = (Instant::now(), pool.clone().oneshot(call(0)));
    assert_eq!(by(&second.await.unwrap()), 0);
    assert_eq!(begun.elapsed(), ms(50));
    first.await.unwrap().unwrap();
    sleep(ms(1_000)).await;
    assert_eq!(pool.handle().stats().idle, 2, "the new one is there for the next");
}

#[tokio::test(start_paused = true)]
async fn a_new_one_comes_before_one_that_is_given_back() {
    let world = World::default();
    let pool = pool(&world, PoolConfig::exclusive());
    let first = tokio::spawn(pool.clone().oneshot(call(50_000)));
    settle().await;
    world.delay.store(1_000, SeqCst);
    let begun = Instant::now();
    assert_eq!(by(&pool.clone().oneshot(call(0)).await.unwrap()), 1);
    assert_eq!(begun.elapsed(), ms(1_000));
    first.abort();
}

// Cancellation, by name.

#[tokio::test(start_paused = true)]
async fn dropped_before_it_is_polled() {
    let world = World::default();
    let mut pool = pool(&world, config(|o| o.max = 1));
    drop(pool.call(call(0)));
    settle().await;
    assert_eq!(world.tried(), 0);
    assert!(pool.oneshot(call(0)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn dropped_while_pending_it_leaves_the_line() {
    let world = World::default();
    world.delay.store(100, SeqCst);
    let pool = pool(&world, config(|o| o.max = 1));
    let mut calls: Vec<_> = (0..3).map(|_| task::spawn(pool.clone().oneshot(call(0)))).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    drop(calls.remove(0));
    assert_eq!(pool.handle().stats().waiting, 2);
    sleep(ms(101)).await;
    assert!(calls[0].is_woken() && !calls[1].is_woken());
    assert_ready_ok!(calls[0].poll());
    assert!(calls[1].is_woken());
    assert_ready_ok!(calls[1].poll());
}

#[tokio::test(start_paused = true)]
async fn dropped_after_its_turn_has_come_it_passes_it_on() {
    let world = World::default();
    let pool = pool(&world, config(|o| o.max = 1));
    let held = tokio::spawn(pool.clone().oneshot(call(10)));
    settle().await;
    let mut calls: Vec<_> = (0..3).map(|_| task::spawn(pool.clone().oneshot(call_by(0, 9_000)))).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    held.await.unwrap().unwrap();
    for _ in 0..2 {
        assert!(calls[0].is_woken() && !calls[1].is_woken());
        drop(calls.remove(0));
    }
    assert!(calls[0].is_woken());
    drop(calls);
    assert_eq!(pool.handle().stats().idle, 1);
    assert_eq!(by(&pool.oneshot(call(0)).await.unwrap()), 0);
}

#[tokio::test(start_paused = true)]
async fn dropped_under_way_it_gives_the_connection_back() {
    let world = World::default();
    let pool = pool(&world, config(|o| o.max = 1));
    let mut held = task::spawn(pool.clone().call(call(1_000)));
    assert_pending!(held.poll());
    settle().await;
    assert_pending!(held.poll());
    assert_eq!(world.line(0).in_flight(), 1);
    let mut next = task::spawn(pool.clone().oneshot(call_by(0, 9_000)));
    assert_pending!(next.poll());
    drop(held);
    assert_eq!(by(&assert_ready_ok!(next.poll())), 0);
}

#[tokio::test(start_paused = true)]
async fn a_readied_clone_that_is_dropped_gives_its_connection_back() {
    let world = World::default();
    let config = config(|o| o.max = 1);
    let pool = PoolBuilder::new(world.connects()).config(config).waits_in_ready().exclusive();
    let mut one = pool.clone();
    ServiceExt::<Request>::ready(&mut one).await.unwrap();
    let mut other = task::spawn(pool.clone());
    assert_pending!(other.enter(|cx, mut pool| Service::<Request>::poll_ready(&mut *pool, cx)));
    // A clone of it is not ready.
    drop(one.clone());
    assert!(!other.is_woken());
    drop(one);
    assert!(other.is_woken());
    assert_ready_ok!(other.enter(|cx, mut pool| Service::<Request>::poll_ready(&mut *pool, cx)));
    let answer = other.enter(|_, mut pool| pool.call(call(0)));
    assert_eq!(by(&answer.await.unwrap()), 0);
    assert_eq!(pool.handle().stats().idle, 1);
}

// What becomes of connections.

#[tokio::test(start_paused = true)]
async fn one_whose_answer_is_still_read_is_lent_to_nobody() {
    let world = World::default();
    world.body.store(100, SeqCst);
    let pool = pool(&world, config(|o| o.max = 2));
    let begun = Instant::now();
    for _ in 0..2 {
        pool.clone().oneshot(call(0)).await.unwrap();
    }
    assert_eq!((world.made(), begun.elapsed()), (2, ms(0)), "the second call has a connection of its own");
    pool.clone().oneshot(call(0)).await.unwrap();
    assert_eq!((world.made(), begun.elapsed()), (2, ms(100)), "the third waits until a body was read");
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_while_idle_or_lent_is_not_lent_again() {
    let world = World::default();
    let pool = pool(&world, config(|o| o.max = 1));
    pool.clone().oneshot(call(0)).await.unwrap();
    world.line(0).end(Ending::Broken);
    assert_eq!(by(&pool.clone().oneshot(call(0)).await.unwrap()), 1, "before anybody has looked");
    let broken = tokio::spawn(pool.clone().oneshot(call(100)));
    settle().await;
    let waits = tokio::spawn(pool.clone().oneshot(call_by(0, 9_000)));
    settle().await;
    world.line(1).end(Ending::Broken);
    assert_eq!(broken.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionLost);
    assert_eq!(by(&waits.await.unwrap().unwrap()), 2);
    settle().await;
    let PoolStats { open, idle, in_flight, .. } = pool.handle().stats();
    assert_eq!((open, idle, in_flight, world.open()), (1, 1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_goaway_costs_no_call() {
    let world = World::default();
    let pool = pool(&world, config(|o| o.max = 2));
    let last = tokio::spawn(pool.clone().oneshot(Request::new("Last", "1000".into())));
    let begun = tokio::spawn(pool.clone().oneshot(call(1_000)));
    settle().await;
    world.line(0).end(Ending::GoingAway);
    assert_eq!(by(&begun.await.unwrap().unwrap()), 1, "it goes on");
    assert!(by(&last.await.unwrap().unwrap()) >= 1, "it is made anew");
}

#[tokio::test(start_paused = true)]
async fn a_line_has_an_end_and_a_wait_too() {
    let (world, log) = (World::default(), Log::default());
    let config = config(|o| (o.max, o.max_waiting, o.acquire_timeout) = (1, 2, ms(300)));
    let pool =
        PoolBuilder::new(world.connects()).config(config).observe(log.clone()).name("here").exclusive();
    let held = tokio::spawn(pool.clone().oneshot(call(1_000)));
    settle().await;
    let late = tokio::spawn(pool.clone().oneshot(call_by(0, 100)));
    let slow = tokio::spawn(pool.clone().oneshot(call(0)));
    settle().await;
    let full = pool.clone().oneshot(call(0)).await.unwrap_err();
    let begun = Instant::now();
    let (late, slow) = (late.await.unwrap().unwrap_err(), slow.await.unwrap().unwrap_err());
    assert!(begun.elapsed() >= ms(300) && begun.elapsed() <= ms(301));
    let kinds = [&full, &late, &slow].map(|error| error.kind());
    assert_eq!(kinds, [ErrorKind::NoConnection, ErrorKind::DeadlineExceeded, ErrorKind::NoConnection]);
    assert!([&full, &late, &slow].iter().all(|error| error.processed() == Processed::No));
    assert!(slow.to_string().contains("with 1 connections open"), "{slow}");
    assert_eq!([Refusal::Full, Refusal::Late, Refusal::TimedOut].map(|why| log.refused(why)), [1, 1, 1]);
    assert!(held.await.unwrap().is_ok());
    assert!(pool.oneshot(call(0)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_old_one_is_replaced_and_finishes_its_call_first() {
    let (world, log) = (World::default(), Log::default());
    let config = config(|o| (o.min, o.max, o.max_age) = (1, 1, Some(ms(10_000))));
    let pool = PoolBuilder::new(world.connects()).config(config).observe(log.clone()).exclusive();
    let long = tokio::spawn(pool.clone().oneshot(call(20_000)));
    sleep(ms(10_001)).await;
    assert_eq!(world.open(), 2, "one more while it is replaced");
    let other = pool.clone().oneshot(call_by(0, 9_000)).await.unwrap();
    assert!(by(&other) > 0);
    assert_eq!(by(&long.await.unwrap().unwrap()), 0);
    settle().await;
    assert_eq!(world.open(), 1);
    assert!(log.retired(Retirement::Aged) >= 1);
}

#[tokio::test(start_paused = true)]
async fn idle_ones_are_asked_for_a_sign_of_life() {
    let (world, log) = (World::default(), Log::default());
    world.pings.store(1, SeqCst);
    let config = config(|o| (o.min, o.max) = (3, 3));
    let pool = PoolBuilder::new(world.connects()).config(config).observe(log.clone()).exclusive();
    pool.ready().await.unwrap();
    sleep(ms(31_000)).await;
    assert_eq!((world.pinged.load(SeqCst), pool.handle().stats().idle), (3, 3));
    world.pings.store(2, SeqCst);
    sleep(ms(30_000)).await;
    // While one is asked it is lent to nobody.
    assert_eq!(pool.handle().stats().idle, 0);
    sleep(ms(20_000)).await;
    assert_eq!((log.retired(Retirement::Silent), world.open(), world.made()), (3, 3, 6));
    assert_eq!(pool.handle().stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn closed_it_drops_what_is_idle_and_then_what_comes_back() {
    let world = World::default();
    let pool = pool(&world, PoolConfig::exclusive());
    let long = tokio::spawn(pool.clone().oneshot(call(100)));
    let short = tokio::spawn(pool.clone().oneshot(call(0)));
    short.await.unwrap().unwrap();
    assert_eq!(world.open(), 2);
    pool.close();
    assert_eq!(world.open(), 1);
    assert!(long.await.unwrap().is_ok());
    assert_eq!(world.open(), 0);
    let error = pool.oneshot(call(0)).await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::Draining, Processed::No));
}

#[test]
fn it_outlives_a_runtime() {
    let world = World::default();
    let pool = pool(&world, PoolConfig::exclusive());
    for n in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(by(&runtime.block_on(pool.clone().oneshot(call(0))).unwrap()), n);
    }
    let mut call = task::spawn(pool.oneshot(call(0)));
    assert!(assert_ready!(call.poll()).is_err());
}
