//! Shares by weight, while the weights change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Answers, Server, Servers, Told, call, config, keyed, ms, request};
use std::time::Duration;
use tokio::time::sleep;
use tower::ServiceExt;
use towpath_balance::{
    Balance, Balancer, Labels, Pick, PowerOfTwo, Route, Routes, RoutesConfig, RoutesOptions, Target,
    WeightedRandom, WeightedRoundRobin,
};
use towpath_core::{Change, Endpoint, FromContext, Live, Request};

type Balanced<P> = Balance<Server, Request, P, towpath_core::DefaultClassify, FromContext>;

/// In the middle of a change, one call in a thousand of a test's calls is a tenth of a point.
const CALLS: usize = 10_000;

/// Which share of the calls goes to this server, in points.
async fn points<P: Pick>(balance: &Balanced<P>, server: &Server) -> f64 {
    let before = server.calls();
    for _ in 0..CALLS {
        call(balance).await.unwrap();
    }
    (server.calls() - before) as f64 / CALLS as f64 * 100.0
}

fn quick(count: u8) -> Vec<Server> {
    let servers = Server::many(count);
    servers.iter().for_each(|server| server.answers(Answers::Well, Duration::ZERO));
    servers
}

/// The weight of one endpoint of four, from 5 % of the traffic to all of it, and back.
async fn by_the_weight_of_an_endpoint(picker: impl Pick, within: f64) {
    fastrand::seed(1);
    let (told, servers) = (Told::default(), quick(4));
    told.insert(&servers);
    told.tell([Change::Settled]);
    let balance = Balancer::new(config(|_| ()))
        .pick_by(picker)
        .honour_context()
        .over(told.source(), Servers::new(&servers));
    call(&balance).await.unwrap();
    // The others weigh 19 each, and a hundred in all with it.
    for share in [5, 20, 50, 80, 100, 5] {
        let weights: [u32; 4] = match share {
            100 => [1, 0, 0, 0],
            share => [3 * share, 100 - share, 100 - share, 100 - share],
        };
        let described =
            servers.iter().zip(weights).map(|(server, weight)| server.endpoint().with_weight(weight));
        told.tell(described.map(Change::Insert));
        sleep(ms(50)).await;
        let points = points(&balance, &servers[0]).await;
        assert!((points - f64::from(share)).abs() <= within, "{points} for {share}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_weight_is_followed_within_a_point_in_turns() {
    by_the_weight_of_an_endpoint(WeightedRoundRobin::new(), 0.1).await;
}

#[tokio::test(start_paused = true)]
async fn a_live_weight_is_followed_within_a_point_at_random() {
    by_the_weight_of_an_endpoint(WeightedRandom, 1.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_live_weight_is_followed_within_a_point_by_the_better_of_two() {
    by_the_weight_of_an_endpoint(PowerOfTwo::new(), 1.0).await;
}

fn canary(share: u32) -> RoutesConfig {
    let version = |version, weight| Target::new(Labels::from([("version", version)]), weight);
    let to = vec![version("2", share), version("1", 100 - share)];
    let routes = vec![Route { to, ..Route::default() }];
    RoutesConfig::try_new(RoutesOptions { routes, ..RoutesOptions::default() }).unwrap()
}

fn versions(servers: &[Server], new: usize) -> impl Iterator<Item = Endpoint> {
    let version = move |index| if index < new { "2" } else { "1" };
    servers
        .iter()
        .enumerate()
        .map(move |(index, server)| server.endpoint().with_label("version", version(index)))
}

/// However many endpoints each version has.
#[tokio::test(start_paused = true)]
async fn a_canary_has_its_share_while_it_grows_from_5_to_100() {
    let servers = quick(7);
    let share = Live::new(canary(5));
    let balance = Balancer::new(config(|_| ()))
        .pick_by(Routes::new(share.clone(), PowerOfTwo::new()))
        .honour_context()
        .fixed(versions(&servers, 1), Servers::new(&servers));
    for asked in [5, 10, 33, 75, 100, 5, 0] {
        share.set(canary(asked));
        let points = points(&balance, &servers[0]).await;
        assert!((points - f64::from(asked)).abs() <= 0.1, "{points} for {asked}");
    }
}

/// While others call: no call fails, and each call after the change goes by the new share.
#[tokio::test(start_paused = true)]
async fn weights_change_under_load_without_a_lost_call() {
    let servers = quick(4);
    servers.iter().for_each(|server| server.answers(Answers::Well, ms(5)));
    let share = Live::new(canary(5));
    let balance = Balancer::new(config(|_| ()))
        .pick_by(Routes::new(share.clone(), PowerOfTwo::new()))
        .honour_context()
        .fixed(versions(&servers, 2), Servers::new(&servers));
    let load = tokio::spawn({
        let balance = balance.clone();
        async move { common::load(&balance, 50, ms(1_000)).await }
    });
    let new = || servers[..2].iter().map(Server::calls).sum::<u64>();
    let all = || servers.iter().map(Server::calls).sum::<u64>();
    for asked in [5, 25, 50, 75, 100] {
        share.set(canary(asked));
        let (new_before, all_before) = (new(), all());
        sleep(ms(200)).await;
        let points = (new() - new_before) as f64 / (all() - all_before) as f64 * 100.0;
        assert!((points - f64::from(asked)).abs() <= 1.0, "{points} for {asked}");
    }
    let (good, bad) = load.await.unwrap();
    assert!(good > 9_000 && bad == 0, "{good} {bad}");
}

/// A user sees one version, and later perhaps the new one, but not both in turn.
#[tokio::test(start_paused = true)]
async fn keys_move_to_a_growing_canary_and_not_back() {
    let servers = quick(4);
    let share = Live::new(canary(0));
    let balance = Balancer::new(config(|_| ()))
        .pick_by(Routes::new(share.clone(), PowerOfTwo::new()))
        .honour_context()
        .fixed(versions(&servers, 2), Servers::new(&servers));
    let is_new = async |key: usize| {
        let response = balance.clone().oneshot(keyed(&format!("user-{key}"))).await.unwrap();
        response.body()[0] < 2
    };
    let mut was_new = vec![false; 1_000];
    for asked in [5, 30, 100] {
        share.set(canary(asked));
        let mut new = 0;
        for (key, was_new) in was_new.iter_mut().enumerate() {
            let now = is_new(key).await;
            assert!(now || !*was_new, "user-{key} has moved back at {asked}");
            assert_eq!(is_new(key).await, now, "user-{key} goes to and fro at {asked}");
            *was_new = now;
            new += u32::from(now);
        }
        assert!(new.abs_diff(10 * asked) <= 40, "{new} of 1000 for {asked}");
    }
    // A key says more than a session that is shared out.
    assert!(balance.clone().oneshot(request()).await.is_ok());
}
