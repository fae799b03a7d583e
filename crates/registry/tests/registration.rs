//! Those who register, and those who follow, while the registry comes and goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{End, Follower, Line, ms};
use std::sync::{Arc, Mutex};
use tokio::time::{Instant, sleep};
use towpath_core::{EndpointStatus, ErrorKind};
use towpath_discover::{Directory, Instance, Sources};
use towpath_registry::{
    Registration, RegistrationConfig, RegistrationEvent, Registry, RegistrySource, registry_source,
};

fn start(line: &Line, address: &str) -> Registration {
    Registration::start(line.client(), "orders", Instance::new(address)).unwrap()
}

fn follow(line: &Line) -> Follower {
    Follower::new(Directory::new().watch_source("orders", RegistrySource::new(line.client(), "orders")))
}

#[tokio::test(start_paused = true)]
async fn an_instance_stays_registered_for_as_long_as_it_is_held() {
    let registry = Registry::new();
    let line = Line::to(&registry);
    let one = start(&line, "mcp://a:1");
    one.registered().await.unwrap();
    for _ in 0..600 {
        sleep(ms(1_000)).await;
        assert_eq!(registry.list("orders").len(), 1);
    }
    // Ten minutes, and a heartbeat at every 8 to 10 s.
    assert!((61..=76).contains(&line.calls()), "{}", line.calls());
    one.deregister().await.unwrap();
    assert_eq!(registry.list("orders").len(), 0);
    // Dropped, it takes its leave, too.
    let two = start(&line, "mcp://b:1");
    two.registered().await.unwrap();
    drop(two);
    sleep(ms(1)).await;
    assert_eq!(registry.list("orders").len(), 0);
    let calls = line.calls();
    sleep(ms(60_000)).await;
    assert_eq!(line.calls(), calls, "its task has ended");
}

#[tokio::test(start_paused = true)]
async fn followers_hear_of_everything_at_once() {
    let registry = Registry::new();
    let line = Line::to(&registry);
    let mut follower = follow(&line);
    let one = start(&line, "mcp://a:1");
    // The first answer was empty, of a registry that is new: nothing is settled by it.
    assert_eq!(follower.after(ms(10)).await, ["mcp://a:1"]);
    let two = Registration::start(
        line.client(),
        "orders",
        Instance::new("mcp://b:1").with_weight(5).with_zone("z").with_label("v", "2"),
    )
    .unwrap();
    assert_eq!(follower.after(ms(200)).await, ["mcp://a:1", "mcp://b:1"]);
    let b = follower.at("mcp://b:1").clone();
    assert_eq!((b.weight(), b.zone(), b.label("v")), (5, Some("z"), Some("2")));
    // A weight that changes while it runs; that it drains; that it does not any more.
    two.describe(|instance| instance.with_weight(50)).unwrap();
    follower.after(ms(200)).await;
    assert_eq!((follower.at("mcp://b:1").weight(), follower.at("mcp://b:1").id()), (50, b.id()));
    two.describe(|instance| instance.with_draining(true)).unwrap();
    follower.after(ms(200)).await;
    assert_eq!(b.state().status(), EndpointStatus::Draining);
    two.describe(|instance| instance.with_draining(false)).unwrap();
    follower.after(ms(200)).await;
    assert_ne!(b.state().status(), EndpointStatus::Draining);
    assert!(two.describe(|instance| instance.with_weight(u32::MAX)).is_err());
    assert_eq!(two.instance().weight(), 50);
    one.deregister().await.unwrap();
    assert_eq!(follower.after(ms(200)).await, ["mcp://b:1"]);
    // The last one is doubted.
    drop(two);
    assert_eq!(follower.after(ms(25_000)).await, ["mcp://b:1"]);
    assert_eq!(follower.after(ms(6_000)).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_instance_is_taken_out_when_its_lease_is_over() {
    let registry = Registry::new();
    let (alive, dead) = (Line::to(&registry), Line::to(&registry));
    let _one = start(&alive, "mcp://a:1");
    let frozen = start(&dead, "mcp://b:1");
    let mut follower = follow(&alive);
    assert_eq!(follower.after(ms(300)).await.len(), 2);
    dead.lead(End::Hung);
    let begin = Instant::now();
    while follower.after(ms(100)).await.len() == 2 {}
    let took = begin.elapsed();
    assert!(took > ms(9_000) && took <= ms(20_600), "{took:?}");
    // When it is back, it is back: the lease that it had is not known any more, and it takes another one.
    dead.lead(End::Registry(registry.clone()));
    let begin = Instant::now();
    while follower.after(ms(100)).await.len() == 1 {}
    assert!(begin.elapsed() <= ms(10_500), "{:?}", begin.elapsed());
    assert!(frozen.status().registered);
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_registry_is_no_event_for_those_who_follow() {
    let line = Line::to(&Registry::new());
    let registrations: Vec<_> = (0..50).map(|n| start(&line, &format!("mcp://s{n}:1"))).collect();
    let mut follower = follow(&line);
    assert_eq!(follower.after(ms(500)).await.len(), 50);
    let ids: Vec<_> = follower.set.keys().copied().collect();
    for _ in 0..3 {
        sleep(ms(37_000)).await;
        // Away for a while, then another one, which knows nobody.
        line.lead(End::Down);
        sleep(ms(5_000)).await;
        line.lead(End::Registry(Registry::new()));
        follower.fewest = usize::MAX;
        for _ in 0..400 {
            assert_eq!(follower.after(ms(100)).await.len(), 50);
        }
        assert!(follower.watch.handle().status().error.is_none());
    }
    assert!(follower.set.keys().copied().eq(ids), "they are the same");
    // Who follows from the start of another one settles for what is there.
    line.lead(End::Registry(Registry::new()));
    let mut late = follow(&line);
    assert_eq!(late.after(ms(12_000)).await.len(), 50);
    drop(registrations);
}

#[tokio::test(start_paused = true)]
async fn who_did_not_come_back_is_gone_when_everybody_had_the_time() {
    let line = Line::to(&Registry::new());
    let (_one, mut follower) = (start(&line, "mcp://a:1"), follow(&line));
    let other = Registry::new();
    other.register("orders", Instance::new("mcp://b:1"), None).unwrap();
    other.register("orders", Instance::new("mcp://a:1"), None).unwrap();
    line.lead(End::Registry(other));
    assert_eq!(follower.after(ms(12_000)).await, ["mcp://a:1", "mcp://b:1"]);
    line.lead(End::Registry(Registry::new()));
    assert_eq!(follower.after(ms(19_000)).await, ["mcp://a:1", "mcp://b:1"]);
    assert_eq!(follower.after(ms(2_500)).await, ["mcp://a:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_not_there_is_tried_again() {
    let registry = Registry::new();
    let line = Line::to(&registry);
    line.lead(End::Down);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = heard.clone();
    let observe = move |event: &RegistrationEvent| {
        events.lock().unwrap().push(match event {
            RegistrationEvent::Registered => "registered".to_owned(),
            RegistrationEvent::Lost => "lost".into(),
            RegistrationEvent::Failed { failures, .. } => format!("failed {failures}"),
            RegistrationEvent::Deregistered => "deregistered".into(),
            _ => "?".into(),
        });
    };
    let config = RegistrationConfig::default();
    let instance = Instance::new("mcp://a:1");
    let one = Registration::start_with(line.client(), "orders", instance, config, observe).unwrap();
    let error = one.registered().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
    assert!(error.to_string().contains("orders could not be registered"), "{error}");
    assert!(one.registered().await.is_err());
    line.lead(End::Registry(registry.clone()));
    one.registered().await.unwrap();
    line.lead(End::Registry(Registry::new()));
    sleep(ms(10_100)).await;
    one.deregister().await.unwrap();
    sleep(ms(1)).await;
    assert_eq!(
        *heard.lock().unwrap(),
        ["failed 1", "failed 2", "registered", "lost", "registered", "deregistered"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_hangs_holds_nobody_up_for_long() {
    let registry = Registry::new();
    let line = Line::to(&registry);
    let one = start(&line, "mcp://a:1");
    one.registered().await.unwrap();
    line.lead(End::Hung);
    sleep(ms(30_000)).await;
    let status = one.status();
    assert!(status.failures >= 5, "a question is given up after 2 s: {}", status.failures);
    // Also with a question under way, which is not given up for it.
    let calls = line.calls();
    while line.calls() == calls {
        sleep(ms(1)).await;
    }
    let begin = Instant::now();
    let error = one.deregister().await.unwrap_err();
    assert_eq!((error.kind(), begin.elapsed()), (ErrorKind::DeadlineExceeded, ms(2_000)));
}

#[tokio::test(start_paused = true)]
async fn two_that_fight_for_an_id_do_not_spin() {
    let registry = Registry::new();
    let line = Line::to(&registry);
    let (_one, _two) = (start(&line, "mcp://a:1"), start(&line, "mcp://a:1"));
    sleep(ms(60_000)).await;
    assert!(line.calls() <= 40, "{}", line.calls());
    assert_eq!(registry.list("orders").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_registered_is_said_at_once() {
    let line = Line::to(&Registry::new());
    let refuse = |service: &str, instance| {
        Registration::start(line.client(), service, instance).unwrap_err().to_string()
    };
    assert!(refuse("", Instance::new("a")).contains("the name of the service is empty"));
    assert!(refuse("orders", Instance::new("")).contains("address"));
}

#[tokio::test(start_paused = true)]
async fn a_url_names_registry_and_service() {
    let registry = Registry::new();
    registry.register("orders", Instance::new("mcp://a:1"), None).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let connect = {
        let (registry, asked) = (registry.clone(), asked.clone());
        move |address: &str| match address {
            "mcp://bad:1" => Err("bad host"),
            address => {
                asked.lock().unwrap().push(address.to_owned());
                Ok(registry.router())
            }
        }
    };
    let sources = Sources::new().with("registry", registry_source(connect));
    let directory = Directory::builder().sources(sources).build();
    let watch = directory.watch("registry://r:7700/orders").unwrap();
    assert_eq!(watch.settled().await.unwrap().endpoints().len(), 1);
    directory.watch("registry://r:7700/orders?scheme=mcps").unwrap();
    assert_eq!(*asked.lock().unwrap(), ["mcp://r:7700", "mcps://r:7700"]);
    for (url, says) in [
        ("registry://r:7700", "the service is missing"),
        ("registry://r:7700/", "the service is empty"),
        ("registry://r:7700/a b", "has blanks"),
        ("registry://r:7700/a?scheme=http", "scheme"),
        ("registry://bad:1/a", "bad host"),
    ] {
        let error = directory.watch(url).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
