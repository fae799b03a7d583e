//! A balancer that readies the endpoints of an aperture only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Answers, Server, Servers, Told, call, config, ms};
use std::collections::BTreeSet;
use tokio::time::{Instant, sleep};
use towpath_balance::{
    Aperture, ApertureConfig, ApertureOptions, Balance, Balancer, Pick, PowerOfTwo, Priorities,
    PriorityConfig,
};
use towpath_core::{Change, DefaultClassify, FromContext, Live, Request};

type Balanced<P> = Balance<Server, Request, P, DefaultClassify, FromContext>;

fn aperture(clients: u32, client: u32, least: u32) -> ApertureConfig {
    ApertureConfig::try_new(ApertureOptions { clients: Some(clients), client, least }).unwrap()
}

/// Servers that are connected when a test says so.
fn servers(count: u8) -> Vec<Server> {
    let servers: Vec<_> = (0..count).map(Server::unconnected).collect();
    servers.iter().for_each(|server| server.answers(Answers::Well, ms(0)));
    servers
}

/// The first 20 of them at first.
fn over<P: Pick>(told: &Told, servers: &[Server], picker: P) -> Balanced<P> {
    let balance = Balancer::new(config(|o| (o.panic_below, o.wait) = (0.0, ms(1_000))))
        .pick_by(picker)
        .honour_context()
        .over(told.source(), Servers::new(servers));
    told.insert(&servers[..20]);
    told.tell([Change::Settled]);
    balance.start();
    balance
}

/// Those that the balancer readies.
fn readied(servers: &[Server]) -> BTreeSet<usize> {
    (0..servers.len()).filter(|at| servers[*at].polls() > 0).collect()
}

/// Those that calls go to as a rule.
fn wanted(servers: &[Server]) -> BTreeSet<usize> {
    (0..servers.len()).filter(|at| !servers[*at].endpoint().state().is_spare()).collect()
}

/// Who answers some calls; none of them fails.
async fn answers<P: Pick>(balance: &Balanced<P>) -> BTreeSet<usize> {
    let mut who = BTreeSet::new();
    for _ in 0..300 {
        who.insert(call(balance).await.unwrap());
    }
    who
}

#[tokio::test(start_paused = true)]
async fn only_those_of_the_aperture_are_readied_and_the_next_when_one_fails() {
    let (told, servers) = (Told::default(), servers(20));
    let balance = over(&told, &servers, Aperture::new(aperture(4, 1, 5), PowerOfTwo::new()));
    sleep(ms(100)).await;
    let own = readied(&servers);
    assert_eq!((own.len(), &own), (5, &wanted(&servers)));
    own.iter().for_each(|at| servers[*at].connect());
    assert_eq!(answers(&balance).await, own);

    // A loss alone does not widen it, as it may be over at once; a connect that fails does.
    let ill = *own.first().unwrap();
    servers[ill].disconnect();
    sleep(ms(100)).await;
    assert_eq!((readied(&servers), wanted(&servers)), (own.clone(), own.clone()));
    servers[ill].endpoint().state().set_connecting(Some(Instant::now() + ms(500)));
    sleep(ms(100)).await;
    let wide = readied(&servers);
    assert_eq!((wide.len(), &wide), (6, &wanted(&servers)));
    let next = *wide.difference(&own).next().unwrap();
    assert!(!answers(&balance).await.contains(&next), "it is not ready yet");
    servers[ill].endpoint().state().set_connecting(None);
    sleep(ms(100)).await;
    assert_eq!(wanted(&servers), wide, "while it is tried again");

    // The next one fails as well: the one after it.
    servers[next].endpoint().state().set_connecting(Some(Instant::now() + ms(500)));
    sleep(ms(100)).await;
    assert_eq!(wanted(&servers).len(), 7);

    // All of the aperture is lost: one that stands in is there.
    let third = *wanted(&servers).difference(&wide).next().unwrap();
    servers[third].connect();
    own.iter().for_each(|at| servers[*at].endpoint().state().set_unhealthy(true));
    sleep(ms(100)).await;
    assert_eq!(answers(&balance).await, BTreeSet::from([third]));
    assert_eq!(wanted(&servers).len(), 5 + 1 + 5, "five, one that fails, and five that stand in");

    own.iter().for_each(|at| servers[*at].endpoint().state().set_unhealthy(false));
    servers[ill].connect();
    sleep(ms(100)).await;
    assert_eq!((wanted(&servers), answers(&balance).await), (own.clone(), own));
}

#[tokio::test(start_paused = true)]
async fn one_that_joins_or_moves_into_it_is_readied() {
    let (told, servers) = (Told::default(), servers(40));
    let live = Live::new(aperture(4, 0, 5));
    let balance = over(&told, &servers, Aperture::new(live.clone(), PowerOfTwo::new()));
    servers.iter().for_each(Server::connect);
    sleep(ms(100)).await;
    let before = wanted(&servers[..20]);
    assert_eq!(answers(&balance).await, before);
    live.set(aperture(4, 2, 5));
    sleep(ms(100)).await;
    let after = wanted(&servers[..20]);
    assert!(after.is_disjoint(&before) && after.len() == 5, "{before:?} {after:?}");
    assert_eq!(answers(&balance).await, after);
    told.insert(&servers[20..]);
    sleep(ms(100)).await;
    let more = wanted(&servers);
    // A quarter of the ring, as there are four clients.
    assert_eq!((more.len(), answers(&balance).await), (10, more.clone()));
    assert!(more.iter().all(|at| servers[*at].polls() > 0));
}

/// Those outside of the slice are not taken for ill.
#[tokio::test(start_paused = true)]
async fn a_level_is_as_well_as_those_that_are_wanted_of_it() {
    let (told, servers) = (Told::default(), servers(20));
    let inner = Aperture::new(aperture(5, 3, 2), PowerOfTwo::new());
    let levels =
        servers.iter().enumerate().map(|(at, server)| server.endpoint().with_priority(u32::from(at >= 10)));
    told.tell(levels.map(Change::Insert).chain([Change::Settled]));
    let balance = Balancer::new(config(|o| o.panic_below = 0.0))
        .pick_by(Priorities::new(PriorityConfig::default(), inner))
        .honour_context()
        .over(told.source(), Servers::new(&servers));
    balance.start();
    sleep(ms(100)).await;
    let own = wanted(&servers);
    assert_eq!((own.len(), &own), (4, &readied(&servers)));
    own.iter().for_each(|at| servers[*at].connect());
    sleep(ms(100)).await;
    assert_eq!(answers(&balance).await, own.into_iter().filter(|at| *at < 10).collect());
}
