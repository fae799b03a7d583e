//! Many calls on each connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Pooled, World, by, call, ms};
use tokio::time::sleep;
use tower::ServiceExt;
use towpath_pool::{PoolBuilder, PoolConfig, PoolOptions, PoolState, SharedPool};
use towpath_testing::time::settle;

fn config(change: impl FnOnce(&mut PoolOptions)) -> PoolConfig {
    let mut options = PoolOptions::default();
    change(&mut options);
    PoolConfig::try_new(options).unwrap()
}

fn pool(world: &World, config: PoolConfig) -> SharedPool<Pooled> {
    PoolBuilder::new(world.connects()).config(config).name("here").shared()
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_before_the_first_use_and_then_the_minimum_is_there() {
    let world = World::default();
    let pool = pool(&world, config(|o| o.min = 3));
    sleep(ms(100)).await;
    assert!(matches!(pool.state(), PoolState::Idle));
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
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(by(&pool.oneshot(call(0)).await.unwrap()), 0, "back on the first");
}
