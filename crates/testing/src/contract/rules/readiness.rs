//! Readiness belongs to one clone.

use super::{PATIENCE, no_fault};
use crate::{
    contract::{
        Rule, Violation,
        probe::{Held, Plan},
        subject::{Subject, all_back, call_readied, fresh_capacity, oneshot, ready},
    },
    time,
};
use std::{task::Poll, time::Duration};
use tokio::time::Instant;

pub(super) async fn ready_then_called<K: Subject>(subject: &K) -> Result<(), Violation> {
    let rule = Rule::ReadyThenCalled;
    // Ready at once, after a while, and one at a time.
    for (ready_after, permits) in [(0, None), (2, None), (1, Some(1))] {
        let bench = subject.bench(Plan { ready_after, answer_after: 1, permits, panic: None });

        let what = "a clone is readied and called, twice";
        let mut handle = bench.root.clone();
        for _ in 0..2 {
            let mut readied = ready::<_, K::Request>(handle);
            let Some(mut service) = readied.finish(&bench.probe, PATIENCE, rule, what).await? else {
                return Ok(());
            };
            let mut call = call_readied(&mut service, subject.request());
            let _ = call.finish(&bench.probe, PATIENCE, rule, what).await?;
            no_fault(&bench, what)?;
            drop(call);
            handle = service;
        }
        drop(handle);

        let what = "a clone is readied and cloned; its clone is readied and called, then itself";
        let mut readied = ready::<_, K::Request>(bench.root.clone());
        let Some(mut first) = readied.finish(&bench.probe, PATIENCE, rule, what).await? else {
            return Ok(());
        };
        let mut second = oneshot(first.clone(), subject.request());
        // With one permit, which the first may have, the second can only wait.
        let over = second.run().await.is_ready();
        let mut call = call_readied(&mut first, subject.request());
        let _ = call.finish(&bench.probe, PATIENCE, rule, what).await?;
        drop((call, first));
        if !over {
            let _ = second.finish(&bench.probe, PATIENCE, rule, what).await?;
        }
        no_fault(&bench, what)?;
    }
    Ok(())
}

pub(super) async fn uncalled<K: Subject>(subject: &K) -> Result<(), Violation> {
    let rule = Rule::UncalledHoldsNothing;
    let fresh = fresh_capacity(subject).await;

    let what = "a clone was readied and dropped";
    let bench = subject.bench(Plan::default());
    let mut readied = ready::<_, K::Request>(bench.root.clone());
    let service = readied.finish(&bench.probe, PATIENCE, rule, what).await?;
    drop((readied, service));
    all_back(subject, &bench, fresh, rule, what).await?;

    let what = "a clone waited to be ready and was dropped";
    let bench = subject.bench(Plan { ready_after: 3, ..Plan::default() });
    let mut readied = ready::<_, K::Request>(bench.root.clone());
    let _ = readied.run().await;
    drop(readied);
    all_back(subject, &bench, fresh, rule, what).await?;

    // A layer that refuses a late call has readied the inner service for nothing; one that does not has
    // called it.
    let what = "a call came after its deadline; it is over, its clone lives on";
    let bench = subject.bench(Plan::default());
    let late = Instant::now();
    time::advance(Duration::from_millis(1)).await;
    let mut readied = ready::<_, K::Request>(bench.root.clone());
    if let Some(mut service) = readied.finish(&bench.probe, PATIENCE, rule, what).await? {
        let mut call = call_readied(&mut service, subject.request_by(late));
        let _ = call.finish(&bench.probe, PATIENCE, rule, what).await?;
        drop(call);
        all_back(subject, &bench, fresh, rule, what).await?;
        drop(service);
    }

    let what = "clones that were readied took all the room; they are dropped, another one waits";
    let bench = subject.bench(Plan { permits: Some(fresh.max(1)), ..Plan::default() });
    let mut holders = Vec::new();
    for _ in 0..fresh.max(1) {
        if let Poll::Ready(service) = ready::<_, K::Request>(bench.root.clone()).run().await {
            holders.push(service);
        }
    }
    let mut waiting = oneshot(bench.root.clone(), subject.request());
    let over = waiting.run().await.is_ready();
    drop(holders);
    // Nothing else happens: whoever was dropped has to make room by itself. An error is an answer.
    if !over {
        let _ = waiting.finish(&bench.probe, subject.recovery(), rule, what).await?;
    }
    drop(waiting);
    time::settle().await;
    if bench.probe.held() != Held::NOTHING {
        return Err(Violation::new(rule, format!("{what}: in the end {}", bench.probe.held())));
    }
    Ok(())
}
