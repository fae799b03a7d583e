//! Of an endpoint that calls do not go to as a rule.
#![allow(clippy::unwrap_used)]

mod common;

use common::{World, call, config, ms};
use tokio::time::sleep;
use tower::ServiceExt;
use towpath_core::{Endpoint, EndpointStatus};
use towpath_pool::{Ending, PoolBuilder, PoolState};
use towpath_testing::time::settle;

#[tokio::test(start_paused = true)]
async fn a_spare_keeps_no_connection_that_nobody_uses_and_cuts_none() {
    let (world, endpoint) = (World::default(), Endpoint::new("here"));
    let config = config(|o| (o.min, o.idle_timeout) = (2, Some(ms(5_000))));
    let builder = PoolBuilder::new(world.connects()).config(config).endpoint(endpoint.clone());
    let pool = builder.waits_in_ready().shared();
    pool.ready().await.unwrap();
    settle().await;
    assert_eq!(world.open(), 2);
    let long = tokio::spawn(pool.clone().oneshot(call(60_000)));
    settle().await;
    endpoint.state().set_spare(true);
    settle().await;
    assert_eq!(world.open(), 2, "nothing is closed at once");
    sleep(ms(10_001)).await;
    assert_eq!(world.open(), 1, "the one that nobody uses");
    assert!(long.await.unwrap().is_ok());
    sleep(ms(10_001)).await;
    assert_eq!((world.open(), world.made()), (0, 2));
    assert_eq!(endpoint.state().status(), EndpointStatus::Connecting { next_try: None });
    assert!(matches!(pool.handle().state(), PoolState::Idle));

    // Who calls it all the same has a connection made.
    assert!(pool.clone().oneshot(call(0)).await.is_ok());
    sleep(ms(10_001)).await;
    assert_eq!((world.open(), world.made()), (0, 3));

    endpoint.state().set_spare(false);
    settle().await;
    assert_eq!((world.open(), world.made()), (2, 5), "the minimum is there again");
    sleep(ms(60_000)).await;
    assert_eq!((world.open(), world.made()), (2, 5));
}

#[tokio::test(start_paused = true)]
async fn a_spare_is_not_connected_with_again() {
    let (world, endpoint) = (World::default(), Endpoint::new("here"));
    let pool = PoolBuilder::new(world.connects()).endpoint(endpoint.clone()).waits_in_ready().shared();
    pool.clone().ready().await.unwrap();
    endpoint.state().set_spare(true);
    world.line(0).end(Ending::Broken);
    sleep(ms(60_000)).await;
    assert_eq!((world.open(), world.made()), (0, 1));
    drop(pool);
}
