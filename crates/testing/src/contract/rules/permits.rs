//! Permits over long random sequences.

use super::no_fault;
use crate::{
    contract::{
        Rule, Violation,
        probe::Plan,
        subject::{Subject, all_back, call_readied, fresh_capacity, ready},
    },
    time,
};
use std::{task::Poll, time::Duration};

const STEPS: usize = 10_000;
const HANDLES: usize = 8;

pub(super) async fn come_back<K: Subject>(subject: &K) -> Result<(), Violation> {
    let fresh = fresh_capacity(subject).await;
    let mut random = fastrand::Rng::with_seed(subject.seed());
    // Over an inner service without a limit, and over one that is the narrow place itself.
    for permits in [None, Some(2)] {
        let bench = subject.bench(Plan { ready_after: 1, answer_after: 2, permits, panic: None });
        let mut idle = vec![bench.root.clone()];
        let mut readying = Vec::new();
        let mut readied: Vec<K::Service> = Vec::new();
        let mut calls = Vec::new();
        for _ in 0..STEPS {
            match random.u8(0..10) {
                // Clone any handle, the readied ones not excepted.
                0 if idle.len() < HANDLES => {
                    let from = readied.first().filter(|_| random.bool()).unwrap_or(&bench.root);
                    idle.push(from.clone());
                }
                1 | 2 if readying.len() < HANDLES => {
                    if let Some(service) = idle.pop() {
                        readying.push(ready::<_, K::Request>(service));
                    }
                }
                3 | 4 => {
                    if let Some(at) = pick(&mut random, readying.len())
                        && let Poll::Ready(done) = readying[at].poll()
                    {
                        readying.swap_remove(at);
                        readied.extend(done);
                    }
                }
                5 => {
                    if let Some(at) = pick(&mut random, readied.len()) {
                        let mut service = readied.swap_remove(at);
                        calls.push(call_readied(&mut service, subject.request()));
                        if idle.len() < HANDLES {
                            idle.push(service);
                        }
                    }
                }
                6 => {
                    if let Some(at) = pick(&mut random, calls.len())
                        && calls[at].poll().is_ready()
                    {
                        calls.swap_remove(at);
                    }
                }
                // Drop something, at whatever point it is.
                7 => {
                    if let Some(at) = pick(&mut random, calls.len()) {
                        calls.swap_remove(at);
                    }
                }
                8 => {
                    if let Some(at) = pick(&mut random, readying.len()) {
                        readying.swap_remove(at);
                    } else if let Some(at) = pick(&mut random, readied.len()) {
                        readied.swap_remove(at);
                    }
                }
                _ => {
                    bench.probe.tick();
                    tokio::task::yield_now().await;
                    if random.u8(..) < 8 {
                        time::advance(Duration::from_millis(1)).await;
                    }
                }
            }
        }
        let what = format!("after {STEPS} random steps (seed {:#x})", subject.seed());
        no_fault(&bench, &what)?;
        drop((idle, readying, readied, calls));
        all_back(subject, &bench, fresh, Rule::PermitsComeBack, &what).await?;
    }
    Ok(())
}

pub(super) async fn limit_is_shared<K: Subject>(subject: &K) -> Result<(), Violation> {
    let Some(limit) = subject.limits_to() else { return Ok(()) };
    let reached = fresh_capacity(subject).await;
    if reached == limit {
        return Ok(());
    }
    let seen =
        format!("calls on many clones with a limit of {limit}: {reached} at the inner service at once");
    Err(Violation::new(Rule::LimitIsShared, seen))
}

fn pick(random: &mut fastrand::Rng, len: usize) -> Option<usize> {
    (len > 0).then(|| random.usize(..len))
}
