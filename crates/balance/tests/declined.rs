//! Endpoints that answer, and say no: an application's fault, which is nobody's failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Answers, Server, Servers, config, ms, request};
use std::time::Duration;
use tower::ServiceExt;
use towpath_balance::{Balance, Balancer, PowerOfTwo};
use towpath_core::{DefaultClassify, FromContext, Request};

type Balanced = Balance<Server, Request, PowerOfTwo, DefaultClassify, FromContext>;

fn balanced(servers: &[Server]) -> Balanced {
    Balancer::new(config(|_| ()))
        .honour_context()
        .fixed(servers.iter().map(Server::endpoint), Servers::new(servers))
}

/// The share of each server in so many calls, one after another.
async fn shares(balance: &Balanced, servers: &[Server], calls: u32) -> Vec<f64> {
    let before: Vec<_> = servers.iter().map(Server::calls).collect();
    for _ in 0..calls {
        balance.clone().oneshot(request()).await.unwrap();
    }
    servers
        .iter()
        .zip(before)
        .map(|(server, before)| (server.calls() - before) as f64 / f64::from(calls))
        .collect()
}

fn is_fair(shares: &[f64]) -> bool {
    shares.iter().all(|share| (0.2..0.3).contains(share))
}

#[tokio::test(start_paused = true)]
async fn who_says_no_at_once_draws_no_calls() {
    // Of eight times, it is the first that is called in some.
    for seed in 0..8 {
        fastrand::seed(seed);
        let servers = Server::many(4);
        servers[0].answers(Answers::No, Duration::from_micros(50));
        let balance = balanced(&servers);
        let shares = shares(&balance, &servers, 2_000).await;
        assert!(is_fair(&shares), "{shares:?}");
        assert_eq!(balance.handle().endpoints()[0].failures, 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_to_say_no_is_slow() {
    fastrand::seed(2);
    let servers = Server::many(4);
    servers[0].answers(Answers::No, ms(500));
    let balance = balanced(&servers);
    let slow = shares(&balance, &servers, 1_000).await[0];
    assert!(slow < 0.02, "{slow}");
    // It is forgotten while it says no in time, as if it were not called.
    servers[0].answers(Answers::No, ms(10));
    for _ in 0..60 {
        tokio::time::sleep(ms(1_000)).await;
        shares(&balance, &servers, 10).await;
    }
    let latency = balance.handle().endpoints()[0].latency;
    assert!(latency < Some(ms(13)), "{latency:?}");
}

#[tokio::test(start_paused = true)]
async fn where_all_say_no_the_calls_are_shared() {
    fastrand::seed(3);
    let servers = Server::many(4);
    servers.iter().for_each(|server| server.answers(Answers::No, ms(1)));
    let balance = balanced(&servers);
    let shares = shares(&balance, &servers, 2_000).await;
    assert!(is_fair(&shares), "{shares:?}");
}
