//! Some endpoints before others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Answers, Server, Servers, call, call_with, config, keyed, ms, own};
use std::time::Duration;
use tokio::time::sleep;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::ServiceExt;
use towpath_balance::{
    Aperture, ApertureConfig, ApertureOptions, Balance, Balancer, ConsistentHash, HashConfig, Labels, Pick,
    Pinned, PowerOfTwo, Priorities, PriorityConfig, Routes, RoutesConfig, WeightedRandom, Zones, ZonesConfig,
    ZonesOptions,
};
use towpath_core::{DefaultClassify, Endpoint, ErrorKind, FromContext, Live, Request};

type Balanced<P> = Balance<Server, Request, P, DefaultClassify, FromContext>;

fn quick(count: u8) -> Vec<Server> {
    (0..count).map(|number| Server::at(number, &format!("mcp://10.0.0.{number}:8080"))).collect()
}

/// Never in panic: what a group does is not to be mixed with it.
fn over<P: Pick>(
    servers: &[Server],
    picker: P,
    describe: impl Fn(usize, Endpoint) -> Endpoint,
) -> Balanced<P> {
    let endpoints: Vec<_> =
        servers.iter().enumerate().map(|(number, server)| describe(number, server.endpoint())).collect();
    Balancer::new(config(|options| {
        options.panic_below = 0.0;
        options.wait = ms(100);
    }))
    .pick_by(picker)
    .honour_context()
    .fixed(endpoints, Servers::new(servers))
}

/// How many points of the calls these servers get.
async fn points<P: Pick>(balance: &Balanced<P>, servers: &[Server]) -> f64 {
    let calls = || servers.iter().map(Server::calls).sum::<u64>();
    let before = calls();
    for _ in 0..5_000 {
        call(balance).await.unwrap();
    }
    (calls() - before) as f64 / 50.0
}

#[track_caller]
fn near(points: f64, expected: f64) {
    assert!((points - expected).abs() <= 2.0, "{points} for {expected}");
}

fn out(servers: &[Server], out: bool) {
    servers.iter().for_each(|server| server.endpoint().state().set_unhealthy(out));
}

fn levels(priorities: impl Pick) -> (Vec<Server>, Balanced<impl Pick>) {
    fastrand::seed(1);
    let servers = quick(12);
    let level = |number, endpoint: Endpoint| endpoint.with_priority(number as u32 / 4);
    let balance = over(&servers, priorities, level);
    (servers, balance)
}

#[tokio::test(start_paused = true)]
async fn a_level_keeps_what_it_is_good_for_and_the_next_gets_the_rest() {
    let (servers, balance) = levels(Priorities::new(PriorityConfig::default(), PowerOfTwo::new()));
    near(points(&balance, &servers[..4]).await, 100.0);
    out(&servers[..1], true);
    near(points(&balance, &servers[..4]).await, 100.0);
    out(&servers[..2], true);
    near(points(&balance, &servers[..4]).await, 70.0);
    near(points(&balance, &servers[4..8]).await, 30.0);
    near(points(&balance, &servers[8..]).await, 0.0);
    out(&servers[..4], true);
    near(points(&balance, &servers[4..8]).await, 100.0);
    out(&servers[4..7], true);
    near(points(&balance, &servers[4..8]).await, 35.0);
    near(points(&balance, &servers[8..]).await, 65.0);
    out(&servers, false);
    near(points(&balance, &servers[..4]).await, 100.0);
}

#[tokio::test(start_paused = true)]
async fn the_factor_of_priorities_changes_live() {
    let factor = Live::new(PriorityConfig::try_new(1.0).unwrap());
    let (servers, balance) = levels(Priorities::new(factor.clone(), WeightedRandom));
    out(&servers[..1], true);
    near(points(&balance, &servers[..4]).await, 75.0);
    factor.set(PriorityConfig::try_new(2.0).unwrap());
    near(points(&balance, &servers[..4]).await, 100.0);
}

#[tokio::test(start_paused = true)]
async fn a_key_stays_in_its_level_while_the_shares_stay() {
    let (servers, balance) = levels(Priorities::new(PriorityConfig::default(), PowerOfTwo::new()));
    out(&servers[..2], true);
    let mut first = 0;
    for number in 0..500 {
        let key = format!("user-{number}");
        let level = call_with(&balance, keyed(&key)).await.unwrap() / 4;
        for _ in 0..3 {
            assert_eq!(call_with(&balance, keyed(&key)).await.unwrap() / 4, level, "{key}");
        }
        first += usize::from(level == 0);
    }
    near(first as f64 / 5.0, 70.0);
}

/// What a level asks for is looked at where it is: nobody waits for its first level to come back.
#[tokio::test(start_paused = true)]
async fn a_level_of_which_none_takes_calls_is_passed_over_at_once() {
    let (servers, balance) = levels(Priorities::new(PriorityConfig::default(), PowerOfTwo::new()));
    servers[..4].iter().for_each(|server| server.endpoint().state().set_draining(true));
    assert!((4..8).contains(&call(&balance).await.unwrap()));
    servers[..4].iter().for_each(|server| server.endpoint().state().set_draining(false));
    assert!(call(&balance).await.unwrap() < 4);
}

fn zones(change: impl FnOnce(&mut ZonesOptions)) -> Zones<PowerOfTwo> {
    let mut options = ZonesOptions { zone: Some("a".into()), ..ZonesOptions::default() };
    change(&mut options);
    Zones::new(ZonesConfig::try_new(options).unwrap(), PowerOfTwo::new())
}

/// The first four are in zone `a`, the next four in `b`, the last do not say.
fn zoned(servers: &[Server], zones: Zones<PowerOfTwo>) -> Balanced<Zones<PowerOfTwo>> {
    fastrand::seed(1);
    over(servers, zones, |number, endpoint| match number / 4 {
        0 => endpoint.with_zone("a"),
        1 => endpoint.with_zone("b"),
        _ => endpoint,
    })
}

#[tokio::test(start_paused = true)]
async fn the_own_zone_is_preferred_while_enough_of_it_is_well() {
    let servers = quick(10);
    let balance = zoned(&servers, zones(|_| ()));
    near(points(&balance, &servers[..4]).await, 100.0);
    out(&servers[..2], true);
    near(points(&balance, &servers[..4]).await, 70.0);
    near(points(&balance, &servers[8..]).await, 10.0);
    // The zone is lost: not one call is.
    servers[..4].iter().for_each(Server::disconnect);
    near(points(&balance, &servers[..4]).await, 0.0);
    servers[..4].iter().for_each(Server::connect);
    out(&servers, false);
    near(points(&balance, &servers[..4]).await, 100.0);
    // No zone is everybody's.
    let balance = zoned(&servers, zones(|options| options.zone = None));
    near(points(&balance, &servers[..4]).await, 40.0);
    let balance = zoned(&servers, zones(|options| options.zone = Some("elsewhere".into())));
    near(points(&balance, &servers[..4]).await, 40.0);
}

#[tokio::test(start_paused = true)]
async fn a_busy_zone_spills() {
    let servers = quick(8);
    servers.iter().for_each(|server| server.answers(Answers::Well, ms(10)));
    let balance = zoned(&servers, zones(|_| ()));
    let share = async |callers| {
        let calls = |servers: &[Server]| servers.iter().map(Server::calls).sum::<u64>();
        let (near, all) = (calls(&servers[..4]), calls(&servers));
        common::load(&balance, callers, ms(2_000)).await;
        (calls(&servers[..4]) - near) as f64 / (calls(&servers) - all) as f64
    };
    assert!(share(2).await > 0.97, "two callers do not fill four servers");
    // Here twice as busy as there: two of three calls stay.
    let busy = share(60).await;
    assert!((0.6..0.8).contains(&busy), "{busy}");
    let balance_never = zoned(&servers, zones(|options| options.spill = None));
    let before = servers[4..].iter().map(Server::calls).sum::<u64>();
    common::load(&balance_never, 60, ms(1_000)).await;
    assert_eq!(servers[4..].iter().map(Server::calls).sum::<u64>(), before, "however busy it is");
}

fn routes(text: &str) -> RoutesConfig {
    serde_json::from_str(text).unwrap()
}

const SPLIT: &str = r#"{"routes": [
    {"methods": ["*.Get*"], "to": [{"labels": {"role": "replica"}}], "or": [{"role": "primary"}]},
    {"to": [{"labels": {"role": "primary"}}]}
]}"#;

/// The first one is the primary.
fn split<P: Pick>(servers: &[Server], picker: P) -> Balanced<P> {
    over(servers, picker, |number, endpoint| {
        endpoint.with_label("role", if number == 0 { "primary" } else { "replica" })
    })
}

fn read() -> Request {
    Request::new("Orders.GetOrder", bytes::Bytes::new())
}

fn write() -> Request {
    Request::new("Orders.Place", bytes::Bytes::new())
}

#[tokio::test(start_paused = true)]
async fn reads_go_to_replicas_and_writes_to_the_primary() {
    let servers = quick(4);
    let balance = split(&servers, Routes::new(routes(SPLIT), PowerOfTwo::new()));
    for _ in 0..200 {
        assert!(call_with(&balance, read()).await.unwrap() > 0);
        assert_eq!(call_with(&balance, write()).await.unwrap(), 0);
    }
    assert!(servers[1..].iter().all(|server| server.calls() > 30), "all replicas have reads");
    // Reads fail over to the primary, and come back.
    servers[1..].iter().for_each(|server| server.endpoint().state().set_draining(true));
    assert_eq!(call_with(&balance, read()).await.unwrap(), 0);
    servers[2].endpoint().state().set_draining(false);
    assert_eq!(call_with(&balance, read()).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn writes_never_reach_a_replica() {
    let servers = quick(4);
    let balance = split(&servers, Routes::new(routes(SPLIT), PowerOfTwo::new()));
    let replicas = || servers[1..].iter().map(Server::calls).sum::<u64>();
    // The primary fails over: writes wait for it, and are refused in the end.
    servers[0].disconnect();
    let mut waiting = task::spawn(balance.clone().oneshot(write()));
    assert_pending!(waiting.poll());
    sleep(ms(50)).await;
    assert_pending!(waiting.poll());
    servers[0].connect();
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
    servers[0].disconnect();
    assert_eq!(own(call_with(&balance, write()).await).kind(), ErrorKind::NoEndpoint);
    // Replicas that are new, without a connection: nor to those.
    servers[1].disconnect();
    assert_eq!(own(call_with(&balance, write()).await).kind(), ErrorKind::NoEndpoint);
    // Nor is one that is out tried with a write, to find out whether it has recovered.
    servers[1].connect();
    servers[1].endpoint().state().ask_ejection(Some(tokio::time::Instant::now()));
    for _ in 0..20 {
        assert_eq!(own(call_with(&balance, write()).await).kind(), ErrorKind::NoEndpoint);
    }
    // Nor do a token's words count for more than the route.
    let pinned = Pinned::or(Routes::new(routes(SPLIT), ConsistentHash::new(HashConfig::default())));
    let balance = split(&servers, pinned);
    servers[0].connect();
    let mut astray = write();
    let token = towpath_balance::AffinityToken::new(&servers[2].endpoint(), b"cart");
    astray.context_mut().set_field(towpath_core::context::Field::AffinityKey, Some(token.into()));
    assert_eq!(call_with(&balance, astray).await.unwrap(), 0);
    assert_eq!(replicas(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_takes_no_calls_leaves_its_share() {
    let servers = quick(4);
    let config = routes(
        r#"{"routes": [{"to": [
            {"labels": {"version": "1"}, "weight": 50},
            {"labels": {"version": "2"}, "weight": 50},
            {"labels": {"version": "3"}, "weight": 0}
        ]}]}"#,
    );
    let balance = over(&servers, Routes::new(config, PowerOfTwo::new()), |number, endpoint| {
        endpoint.with_label("version", ["1", "2", "3", "none"][number])
    });
    near(points(&balance, &servers[..1]).await, 50.0);
    servers[0].endpoint().state().set_draining(true);
    near(points(&balance, &servers[1..2]).await, 100.0);
    servers[1].endpoint().state().set_draining(true);
    assert_eq!(own(call(&balance).await).kind(), ErrorKind::NoEndpoint, "a share of 0 is none");
    assert_eq!(servers[2].calls() + servers[3].calls(), 0);
    assert!(Labels::from([("version", "3")]).fit(&servers[2].endpoint().with_label("version", "3")));
}

/// 40 clients, 100 servers: few connections each, and all servers get the same.
#[tokio::test(start_paused = true)]
async fn clients_of_an_aperture_load_all_servers_alike_and_know_few() {
    fastrand::seed(1);
    let servers = quick(100);
    for client in 0..40 {
        let options = ApertureOptions { clients: Some(40), client, ..ApertureOptions::default() };
        let aperture = Aperture::new(ApertureConfig::try_new(options).unwrap(), PowerOfTwo::new());
        let balance = over(&servers, aperture, |_, endpoint| endpoint);
        let mut known = std::collections::HashSet::new();
        for _ in 0..1_000 {
            known.insert(call(&balance).await.unwrap());
        }
        assert!((12..=14).contains(&known.len()), "{known:?}");
    }
    let (least, most) = servers
        .iter()
        .map(Server::calls)
        .fold((u64::MAX, 0), |(least, most), calls| (least.min(calls), most.max(calls)));
    assert!(least > 320 && most < 480, "{least} to {most} for 400");
}

#[tokio::test(start_paused = true)]
async fn groups_stand_within_each_other() {
    fastrand::seed(1);
    let servers = quick(8);
    let zones = zones(|_| ());
    let picker = Routes::new(routes(SPLIT), Priorities::new(PriorityConfig::default(), zones));
    // Of each role one in each zone and of each priority.
    let balance = over(&servers, picker, |number, endpoint| {
        let endpoint = endpoint.with_label("role", if number & 1 == 0 { "primary" } else { "replica" });
        let endpoint = endpoint.with_zone(if number & 2 == 0 { "a" } else { "b" });
        endpoint.with_priority(number as u32 >> 2)
    });
    let goes = async |request: fn() -> Request, to: usize| {
        for _ in 0..50 {
            assert_eq!(call_with(&balance, request()).await.unwrap(), to);
        }
    };
    goes(read, 1).await;
    goes(write, 0).await;
    out(&servers[..2], true);
    // Half of the level is out and it keeps 70 %: in the other zone.
    let mut to = [0; 8];
    for _ in 0..1_000 {
        to[call_with(&balance, write()).await.unwrap()] += 1;
    }
    assert!((650..750).contains(&to[2]) && to[2] + to[4] == 1_000, "{to:?}");
    out(&servers[2..4], true);
    goes(read, 5).await;
    goes(write, 4).await;
    sleep(Duration::from_millis(1)).await;
}
