//! How pools of connections go wrong, and that these do not: a test for each known way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Calling, Log, Pooled, World, call, call_by, config, ms};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_test::{assert_ready_ok, task};
use tower::{ServiceExt, limit::ConcurrencyLimit};
use towpath_core::{Context, Endpoint, EndpointStatus, Error, Request, Response};
use towpath_pool::{
    Call, Connection, Ending, Exclusive, PoolBuilder, PoolConfig, PoolOptions, PoolState, Retirement,
};
use towpath_testing::time::{settle, timed};

// ---- 3: a pool and a limit wait for each other -----------------------------------------------------------

/// A connection whose calls need a permit as well, of which there are fewer than connections.
struct Narrow(Pooled, Arc<Semaphore>);

impl Connection for Narrow {
    type Closed = <Pooled as Connection>::Closed;

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn closed(&self) -> Self::Closed {
        self.0.closed()
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Call<Request> for Narrow {
    type Response = Response;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

    fn context(request: &Request) -> Option<&Context> {
        Some(request.context())
    }
}

impl Exclusive<Request> for Narrow {
    fn call(&mut self, request: Request) -> Self::Future {
        let (calling, permits): (Calling, _) = (self.0.call(request), self.1.clone());
        Box::pin(async move {
            let _permit = permits.acquire_owned().await.unwrap();
            sleep(ms(10)).await;
            calling.await
        })
    }
}

/// 512 callers for 30 s, every third of whom gives up at some time, while connections break: answers in every 200 ms.
async fn goes_on<C, F>(world: World, call: C)
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = bool> + Send,
{
    let done = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..512u64 {
        let (call, done, mut rng) = (call.clone(), done.clone(), fastrand::Rng::with_seed(caller));
        callers.spawn(async move {
            loop {
                let patience = if caller % 3 == 0 { ms(rng.u64(0..2_000)) } else { ms(60_000) };
                match timeout(patience, call()).await {
                    Ok(true) => _ = done.fetch_add(1, SeqCst),
                    // Who fails at once does not try again at once.
                    Ok(false) => sleep(ms(10)).await,
                    Err(_) => {}
                }
            }
        });
    }
    let begun = Instant::now();
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..150 {
        let before = done.load(SeqCst);
        sleep(ms(200)).await;
        let answered = done.load(SeqCst) - before;
        assert!(answered > 0, "nothing for 200 ms, {:?} after the start", begun.elapsed());
        if round % 10 == 0 {
            let made = world.made();
            world.line(rng.usize(made.saturating_sub(64)..made)).end(Ending::Broken);
        }
    }
    callers.abort_all();
    while callers.join_next().await.is_some() {}
    settle().await;
    assert_eq!(world.calls.load(SeqCst), 0);
}

fn of_64() -> PoolConfig {
    let options = PoolOptions { max: 64, ..PoolConfig::exclusive().options() };
    PoolConfig::try_new(options).unwrap()
}

#[tokio::test(start_paused = true)]
async fn p03_with_a_limit_below_there_are_always_answers() {
    let (world, permits) = (World::default(), Arc::new(Semaphore::new(4)));
    let connect = {
        let world = world.clone();
        move || {
            let (connecting, permits) = (world.clone().connect(), permits.clone());
            async move { connecting.await.map(|pooled| Narrow(pooled, permits)) }
        }
    };
    let pool = PoolBuilder::new(connect).config(of_64()).exclusive();
    goes_on(world, move || {
        let call = pool.clone().oneshot(call_by(10, 60_000));
        async move { call.await.is_ok() }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn p03_with_a_limit_above_there_are_always_answers() {
    let world = World::default();
    let pool = PoolBuilder::new(world.connects()).config(of_64()).waits_in_ready().exclusive();
    let stack = ConcurrencyLimit::new(pool, 4);
    goes_on(world, move || {
        let call = stack.clone().oneshot(call_by(10, 60_000));
        async move { call.await.is_ok() }
    })
    .await;
}

// ---- 5: pending endpoints advance only when calls come ----------------------------------------------------

#[tokio::test(start_paused = true)]
async fn p05_who_was_away_is_connected_before_the_next_call() {
    let (world, endpoint) = (World::default(), Endpoint::new("here"));
    world.delay.store(300, SeqCst);
    let pool = PoolBuilder::new(world.connects()).endpoint(endpoint.clone()).shared();
    let exclusive = PoolBuilder::new(world.connects()).exclusive();
    pool.ready().await.unwrap();
    exclusive.clone().oneshot(call(0)).await.unwrap();
    let made = world.made();
    world.refuses.store(true, SeqCst);
    (0..made).for_each(|n| world.line(n).end(Ending::Broken));
    sleep(ms(30_000)).await;
    assert!(!endpoint.state().is_ready());
    world.refuses.store(false, SeqCst);
    sleep(ms(30_000)).await;
    assert_eq!((world.made(), endpoint.state().status()), (2 * made, EndpointStatus::Ready));
    let (answer, took) = timed(pool.oneshot(call(0))).await;
    assert!(answer.is_ok() && took <= ms(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn p05_who_was_removed_is_left_alone() {
    let (world, endpoint) = (World::default(), Endpoint::new("here"));
    let pool = PoolBuilder::new(world.connects()).endpoint(endpoint.clone()).shared();
    world.refuses.store(true, SeqCst);
    pool.connect().await.unwrap_err();
    sleep(ms(20_000)).await;
    endpoint.state().set_gone();
    settle().await;
    let tried = world.tried();
    sleep(ms(60_000)).await;
    assert_eq!((world.tried(), matches!(pool.state(), PoolState::Closed)), (tried, true));
}

// ---- 6: one that failed once is gone for good -------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn p06_a_connect_that_failed_is_no_lost_endpoint() {
    let (world, endpoint) = (World::default(), Endpoint::new("here"));
    world.refuses.store(true, SeqCst);
    let pool = PoolBuilder::new(world.connects()).endpoint(endpoint.clone()).shared();
    pool.connect().await.unwrap_err();
    sleep(ms(3_600_000)).await;
    let EndpointStatus::Connecting { next_try: Some(next) } = endpoint.state().status() else {
        panic!("{endpoint:?}")
    };
    assert!(next <= Instant::now() + ms(5_000), "an hour later no wait is longer than the longest");
    world.refuses.store(false, SeqCst);
    sleep(ms(10_000)).await;
    assert!(endpoint.state().is_ready() && pool.oneshot(call(0)).await.is_ok());
}

// ---- 15: all come back at once ----------------------------------------------------------------------------

/// 2 000 clients lose one server, in the way given; it is back after `away`.
async fn herd(how: Ending, away: u64) {
    let world = World::default();
    let pools: Vec<_> = (0..2_000).map(|_| PoolBuilder::new(world.connects()).shared()).collect();
    for pool in &pools {
        pool.ready().await.unwrap();
    }
    sleep(ms(60_000)).await;
    world.refuses.store(true, SeqCst);
    let (begun, before) = (Instant::now(), world.tried());
    (0..2_000).for_each(|n| world.line(n).end(how));
    sleep(ms(away)).await;
    world.refuses.store(false, SeqCst);
    // Twice the longest wait.
    sleep(ms(10_000)).await;
    let back = pools.iter().filter(|pool| matches!(pool.state(), PoolState::Connected)).count();
    assert_eq!(back, 2_000);

    let tries = world.tries.lock().unwrap();
    let mut after: Vec<_> = tries[before..].iter().map(|at| *at - begun).collect();
    // A first reconnect after a loss is immediate.
    after.retain(|at| how != Ending::Broken || *at > ms(1));
    after.sort_unstable();
    let most = (0..after.len()).map(|n| after.partition_point(|at| *at < after[n] + ms(100)) - n).max();
    assert!(most.unwrap() <= 200, "{most:?} of 2 000 within 100 ms");
}

#[tokio::test(start_paused = true)]
async fn p15_those_who_lost_a_server_come_back_one_by_one() {
    herd(Ending::Broken, 700).await;
    herd(Ending::Broken, 20_000).await;
}

#[tokio::test(start_paused = true)]
async fn p15_those_who_were_sent_away_come_back_one_by_one() {
    herd(Ending::GoingAway, 0).await;
    herd(Ending::GoingAway, 3_000).await;
}

#[tokio::test(start_paused = true)]
async fn p15_those_who_began_together_do_not_age_together() {
    let (world, max) = (World::default(), ms(600_000));
    let pools: Vec<_> = (0..500)
        .map(|_| PoolBuilder::new(world.connects()).config(config(|o| o.max_age = Some(max))).shared())
        .collect();
    for pool in &pools {
        pool.ready().await.unwrap();
    }
    let before = world.tried();
    sleep(max + ms(1_000)).await;
    let tries = world.tries.lock().unwrap();
    let firsts = &tries[before..];
    let most = (0..=10).map(|tenth| {
        let of = |at: &&Instant| (**at - tries[0]).as_millis() / 60_000 == tenth;
        firsts.iter().filter(of).count()
    });
    assert!(firsts.len() >= 500 && most.max().unwrap() <= 150, "spread over all the time that there is");
}

// ---- 22: many wait for what is made once ------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p22_of_64_first_calls_one_connects_and_all_are_answered() {
    let (world, tried) = (World::default(), Arc::new(AtomicUsize::new(0)));
    let (open, gate) = watch::channel(false);
    let connect = {
        let (world, tried) = (world.clone(), tried.clone());
        move || {
            tried.fetch_add(1, SeqCst);
            let (connecting, mut gate) = (world.clone().connect(), gate.clone());
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                connecting.await
            }
        }
    };
    let pool = PoolBuilder::new(connect).shared();
    let mut calls = JoinSet::new();
    (0..64).for_each(|_| drop(calls.spawn(pool.clone().oneshot(call_by(0, 60_000)))));
    while pool.handle().stats().waiting < 64 {
        tokio::task::yield_now().await;
    }
    open.send(true).unwrap();
    while let Some(answer) = calls.join_next().await {
        answer.unwrap().unwrap();
    }
    assert_eq!(tried.load(SeqCst), 1);
}

// ---- 27: nothing is on by default -------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn p27_with_the_defaults_a_silent_peer_is_replaced_and_no_wait_is_endless() {
    for config in [PoolConfig::default(), PoolConfig::exclusive()] {
        assert!(config.keep_alive.is_some() && config.idle_timeout.is_some(), "{config:?}");
        assert!(config.acquire_timeout < ms(60_000) && config.connect_timeout < ms(60_000), "{config:?}");
        assert!(config.max_waiting < 1_000_000 && config.max < 1_000, "{config:?}");
    }
    let (world, log) = (World::default(), Log::default());
    world.pings.store(2, SeqCst);
    let pool = PoolBuilder::new(world.connects()).observe(log.clone()).shared();
    pool.ready().await.unwrap();
    sleep(ms(36_000)).await;
    assert_eq!((log.retired(Retirement::Silent), world.made()), (1, 2));
    world.pings.store(1, SeqCst);
    let mut next = task::spawn(pool.oneshot(call(0)));
    assert_ready_ok!(next.poll());
}
