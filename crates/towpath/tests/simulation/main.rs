//! Clients and servers on a simulated network on which everything goes wrong that can, from one seed: what
//! must hold for every call, on every connection and in the end is written in `ledger.rs`, `monitor.rs` and
//! `world.rs`.
//!
//! `TOWPATH_SEED=17` runs one seed, and writes its course to the file that `TOWPATH_TRACE` names.
//! `TOWPATH_SEEDS=5000` runs so many, `TOWPATH_FIRST=1000` from that one on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod host;
mod ledger;
mod monitor;
mod plan;
mod service;
mod world;

use std::{
    collections::BTreeMap,
    env,
    io::Write,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};
use tokio::time::Instant;

/// As many run with every `cargo test`.
const SEEDS: u64 = 60;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// How long one seed may take, on a busy machine: most take a tenth of a second.
const LONGEST: Duration = Duration::from_secs(120);

/// Handlers panic on purpose here; that is not to be seen in every line.
fn hush() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&"on purpose") {
            before(info);
        }
    }));
}

/// A seed that never ends, because something runs in circles, ends everything, and is named.
fn watch(seed: u64, ended: &mpsc::Receiver<()>) {
    if ended.recv_timeout(LONGEST) == Err(mpsc::RecvTimeoutError::Timeout) {
        // Not by `eprintln`: what a test prints is kept until it ends.
        let _ = writeln!(
            std::io::stderr(),
            "seed {seed} has run for {LONGEST:?}: TOWPATH_SEED={seed} runs it again"
        );
        std::process::exit(1);
    }
}

#[test]
fn every_call_is_accounted_for_on_every_seed() {
    hush();
    let first = number("TOWPATH_SEED").or(number("TOWPATH_FIRST")).unwrap_or(0);
    let count = if number("TOWPATH_SEED").is_some() { 1 } else { number("TOWPATH_SEEDS").unwrap_or(SEEDS) };
    let next = AtomicU64::new(first);
    let failed = Mutex::new(BTreeMap::new());
    let total = Mutex::new((BTreeMap::<String, u64>::new(), 0));
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= first + count || failed.lock().unwrap().len() >= 5 {
                        break;
                    }
                    let path = env::var("TOWPATH_TRACE").ok().filter(|_| count == 1);
                    let (over, ended) = mpsc::channel::<()>();
                    scope.spawn(move || watch(seed, &ended));
                    let outcome = world::run(seed, path.is_some());
                    drop(over);
                    if let Some(path) = path {
                        std::fs::write(path, outcome.trace.join("\n")).unwrap();
                    }
                    let mut total = total.lock().unwrap();
                    total.1 += outcome.requests;
                    for (what, count) in outcome.counts {
                        *total.0.entry(what).or_default() += count;
                    }
                    if !outcome.violations.is_empty() {
                        failed.lock().unwrap().insert(seed, outcome.violations);
                    }
                }
            });
        }
    });
    let (counts, requests) = total.into_inner().unwrap();
    let calls: u64 = counts.values().sum();
    println!(
        "{count} seeds from {first} in {:.1} s: {calls} calls, {requests} requests on the wire",
        start.elapsed().as_secs_f64()
    );
    for (what, count) in &counts {
        println!("{count:>10}  {what}");
    }
    let failed = failed.into_inner().unwrap();
    for (seed, violations) in &failed {
        println!("\nseed {seed}: {} violations", violations.len());
        violations.iter().take(8).for_each(|line| println!("  {line}"));
        println!(
            "  again: TOWPATH_SEED={seed} TOWPATH_TRACE=/tmp/{seed}.txt cargo test -p towpath --test simulation every_call"
        );
    }
    assert!(failed.is_empty(), "seeds with violations: {:?}", failed.keys());
    // A simulation in which nothing happens would find nothing.
    let some = |what: &str| counts.iter().any(|(key, count)| key.contains(what) && *count > 0);
    for what in ["answered", "given up", "SIM-E-001", "MCP-E-009", "MCP-E-010", "MCP-W-101", "after ACK"] {
        assert!(count < SEEDS || some(what), "no call came to {what}");
    }
}

#[test]
fn the_same_seed_has_the_same_course() {
    hush();
    for seed in 0..12 {
        let (one, two) = (world::run(seed, true).trace, world::run(seed, true).trace);
        assert!(one.len() > 50, "seed {seed} has no course");
        let parted = one.iter().zip(&two).position(|(one, two)| one != two);
        if let Some(at) = parted {
            panic!("seed {seed} parts at {at}:\n{}\n{}", one[at.saturating_sub(10)..=at].join("\n"), two[at]);
        }
        assert_eq!(one.len(), two.len());
    }
}
