//! The same endpoint for the same key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::{Answers, Server, Servers, Told, call_with, config, keyed, ms, request};
use std::time::Duration;
use tokio::{task::JoinSet, time::sleep};
use tower::{Service, ServiceExt};
use towpath_balance::{
    AffinityToken, Balance, Balancer, ConsistentHash, HashConfig, HashOptions, KeyFrom, Pick, Pinned,
};
use towpath_core::{Change, DefaultClassify, FromContext, Request, context::Field};

type Balanced<P> = Balance<Server, Request, P, DefaultClassify, FromContext>;

fn hash(change: impl FnOnce(&mut HashOptions)) -> ConsistentHash {
    let mut options = HashOptions::default();
    change(&mut options);
    ConsistentHash::new(HashConfig::try_new(options).unwrap())
}

fn quick(count: u8) -> Vec<Server> {
    (0..count).map(|number| Server::at(number, &format!("mcp://10.0.0.{number}:8080"))).collect()
}

fn over<'a, P: Pick>(servers: impl IntoIterator<Item = &'a Server>, picker: P) -> Balanced<P> {
    let servers: Vec<_> = servers.into_iter().cloned().collect();
    let endpoints: Vec<_> = servers.iter().map(Server::endpoint).collect();
    Balancer::new(config(|options| options.panic_below = 0.0))
        .pick_by(picker)
        .honour_context()
        .fixed(endpoints, Servers::new(&servers))
}

fn key(number: usize) -> String {
    format!("user-{number}")
}

/// Where the keys go.
async fn homes<P: Pick>(balance: &Balanced<P>, keys: usize) -> Vec<usize> {
    let (mut balance, mut homes) = (balance.clone(), Vec::with_capacity(keys));
    for number in 0..keys {
        let response = balance.ready().await.unwrap().call(keyed(&key(number))).await.unwrap();
        homes.push(usize::from(response.body()[0]));
    }
    homes
}

#[tokio::test(start_paused = true)]
async fn keys_are_shared_out_evenly_and_few_move_and_processes_agree() {
    let servers = quick(20);
    let before = homes(&over(&servers, hash(|_| ())), 100_000).await;
    let most = (0..20).map(|server| before.iter().filter(|home| **home == server).count()).max().unwrap();
    assert!(most as f64 / 5_000.0 <= 1.15, "{most} of 5000");
    // Another process, to which discovery named them in another order, and without one of them.
    let others = servers.iter().rev().filter(|server| server.0.number != 7);
    let after = homes(&over(others, hash(|_| ())), 100_000).await;
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert!(moved <= 6_000, "{moved} of 100000");
    assert_eq!(moved, before.iter().filter(|home| **home == 7).count(), "and only those that had to");
}

#[tokio::test(start_paused = true)]
async fn a_dead_host_costs_each_of_its_keys_at_most_one_failure() {
    let servers = quick(10);
    let balance = over(&servers, hash(|_| ()));
    let before = homes(&balance, 2_000).await;
    // It answers no more; as its connections are lost too, its pool says so after the first call that has failed.
    servers[3].answers(Answers::Badly, Duration::ZERO);
    let mut failures = 0;
    for (number, home) in before.iter().enumerate() {
        let mut failed = false;
        for attempt in 0..3 {
            let mut request = keyed(&key(number));
            if failed {
                request.context_mut().add_tried(servers[3].endpoint().id());
            }
            match call_with(&balance, request).await {
                Err(_) if *home == 3 && !failed => failed = true,
                outcome => assert_ne!(outcome.unwrap(), 3, "attempt {attempt} of {number}"),
            }
        }
        failures += usize::from(failed);
    }
    assert_eq!(failures, before.iter().filter(|home| **home == 3).count(), "nobody else noticed");
    // And once it is known to be dead, not even one.
    servers[3].disconnect();
    let after = homes(&balance, 2_000).await;
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *before == 3));
    servers[3].answers(Answers::Well, Duration::ZERO);
    servers[3].connect();
    assert_eq!(homes(&balance, 2_000).await, before, "they come home");
}

#[tokio::test(start_paused = true)]
async fn keys_of_one_that_drains_move_once() {
    let (told, servers) = (Told::default(), quick(6));
    told.insert(&servers);
    told.tell([Change::Settled]);
    let balance = Balancer::new(config(|_| ()))
        .pick_by(hash(|_| ()))
        .honour_context()
        .over(told.source(), Servers::new(&servers));
    let before = homes(&balance, 1_000).await;
    servers[2].endpoint().state().set_draining(true);
    let drained = homes(&balance, 1_000).await;
    let moved = before.iter().zip(&drained).filter(|(before, after)| before != after).count();
    assert_eq!(moved, before.iter().filter(|home| **home == 2).count());
    assert!(drained.iter().all(|home| *home != 2));
    told.remove(&servers[2]);
    sleep(ms(50)).await;
    assert_eq!(homes(&balance, 1_000).await, drained, "that it is gone moves nothing any more");
    // Restarted: the same address, another endpoint.
    let again = Server::at(2, "mcp://10.0.0.2:8080");
    let all = [&servers[..2], &[again], &servers[3..]].concat();
    assert_eq!(homes(&over(&all, hash(|_| ())), 1_000).await, before);
}

#[tokio::test(start_paused = true)]
async fn keys_come_back_one_after_another_in_slow_start() {
    let servers = quick(4);
    let endpoints = servers.iter().map(Server::endpoint);
    let slowly = config(|options| options.slow_start = ms(10_000));
    let balance =
        Balancer::new(slowly).pick_by(hash(|_| ())).honour_context().fixed(endpoints, Servers::new(&servers));
    sleep(ms(20_000)).await;
    let before = homes(&balance, 1_000).await;
    let home = before.iter().filter(|home| **home == 1).count();
    servers[1].disconnect();
    homes(&balance, 1).await;
    servers[1].connect();
    homes(&balance, 1).await;
    let mut last = vec![false; 1_000];
    for (after, least, most) in [(2_500, 20, 30), (2_500, 45, 55), (5_001, 100, 100)] {
        sleep(ms(after)).await;
        let back: Vec<_> = homes(&balance, 1_000).await.into_iter().map(|home| home == 1).collect();
        let count = back.iter().filter(|back| **back).count() * 100 / home;
        assert!((least..=most).contains(&count), "{count} % of {home} are back");
        assert!(back.iter().zip(&last).all(|(back, last)| *back || !last), "who is back stays");
        last = back;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hot_key_overflows_at_the_bound() {
    let servers = quick(10);
    servers.iter().for_each(|server| server.answers(Answers::Well, ms(1_000)));
    let in_work = async |picker| {
        let (balance, mut calls) = (over(&servers, picker), JoinSet::new());
        for number in 0..200 {
            let key = if number % 2 == 0 { "the one".into() } else { key(number) };
            calls.spawn(balance.clone().oneshot(keyed(&key)));
            tokio::task::yield_now().await;
        }
        let in_work: Vec<_> = servers.iter().map(Server::in_work).collect();
        drop(calls);
        tokio::task::yield_now().await;
        in_work
    };
    let free = in_work(hash(|_| ())).await;
    assert!(free.iter().any(|calls| *calls >= 100), "{free:?}");
    sleep(ms(2_000)).await;
    // One and a half times the share of 200 calls, and little more, as not all are looked at for each call.
    let bound = in_work(hash(|options| options.load_bound = Some(1.5))).await;
    assert_eq!(bound.iter().sum::<u64>(), 200);
    assert!(bound.iter().all(|calls| *calls <= 32), "{bound:?}");
    assert!(bound.iter().any(|calls| *calls >= 28), "{bound:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_key_that_there_is_counts() {
    let servers = quick(10);
    let balance =
        over(&servers, hash(|options| options.keys = vec![KeyFrom::SessionId, KeyFrom::AffinityKey]));
    let with = |session: Option<&'static str>, affinity: Option<&'static str>| {
        let mut request = request();
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        request.context_mut().set_field(Field::SessionId, session.map(bytes));
        request.context_mut().set_field(Field::AffinityKey, affinity.map(bytes));
        request
    };
    let a = call_with(&balance, with(Some("a"), None)).await.unwrap();
    let b = call_with(&balance, with(None, Some("the other"))).await.unwrap();
    assert_ne!(a, b, "or the test says nothing");
    assert_eq!(call_with(&balance, with(Some("a"), Some("the other"))).await.unwrap(), a);
    // Who has none goes anywhere.
    let mut went = std::collections::HashSet::new();
    for _ in 0..200 {
        went.insert(call_with(&balance, request()).await.unwrap());
    }
    assert!(went.len() > 5, "{went:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_names_the_endpoint_until_it_drains() {
    let servers = quick(8);
    let pinned = || Pinned::or(hash(|_| ()));
    let (balance, another) = (over(&servers, pinned()), over(servers.iter().rev(), pinned()));
    let home = homes(&balance, 1).await[0];
    let lives = (home + 3) % 8;
    let with = |token: &AffinityToken| {
        let mut request = request();
        request.context_mut().set_field(Field::AffinityKey, Some(token.clone().into()));
        request
    };
    let token = AffinityToken::new(&servers[lives].endpoint(), key(0).as_bytes());
    for _ in 0..20 {
        assert_eq!(call_with(&balance, with(&token)).await.unwrap(), lives);
        assert_eq!(call_with(&another, with(&token)).await.unwrap(), lives);
    }
    // Handed off: to where the key belongs, from all processes; a new token keeps it there.
    servers[lives].endpoint().state().set_draining(true);
    assert_eq!(call_with(&balance, with(&token)).await.unwrap(), home);
    assert_eq!(call_with(&another, with(&token)).await.unwrap(), home);
    let moved = AffinityToken::new(&servers[home].endpoint(), token.key());
    servers[lives].endpoint().state().set_draining(false);
    assert_eq!(call_with(&balance, with(&moved)).await.unwrap(), home);
    // An attempt that was made there is not made there again.
    let mut again = with(&token);
    again.context_mut().add_tried(servers[lives].endpoint().id());
    assert_eq!(call_with(&balance, again).await.unwrap(), home);
    // One that names nobody.
    let nobody = AffinityToken::new(&towpath_core::Endpoint::new("mcp://10.9.9.9:1"), key(0).as_bytes());
    assert_eq!(call_with(&balance, with(&nobody)).await.unwrap(), home);
}
