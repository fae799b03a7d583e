//! A call that is dropped, at each point at which it waits.

use super::{PATIENCE, no_fault};
use crate::{
    contract::{
        Rule, Violation,
        probe::Plan,
        subject::{Subject, all_back, call_readied, fresh_capacity, oneshot, ready},
    },
    time,
};
use std::time::Duration;

/// A layer that waits more often than this in one call is not followed further.
const POINTS: usize = 100;

pub(super) async fn anywhere<K: Subject>(subject: &K) -> Result<(), Violation> {
    let rule = Rule::DropAnywhere;
    let fresh = fresh_capacity(subject).await;

    let what = "a call was made and dropped before it was polled";
    let bench = subject.bench(Plan::default());
    let mut readied = ready::<_, K::Request>(bench.root.clone());
    let Some(mut service) = readied.finish(&bench.probe, PATIENCE, rule, what).await? else {
        return Ok(());
    };
    drop(call_readied(&mut service, subject.request()));
    drop((readied, service));
    all_back(subject, &bench, fresh, rule, what).await?;

    for points in 1..=POINTS {
        let bench = subject.bench(Plan { ready_after: 1, answer_after: 2, permits: Some(1), panic: None });
        let mut call = oneshot(bench.root.clone(), subject.request());
        let mut step = Duration::from_millis(1);
        let mut over = false;
        for point in 0..points {
            if point > 0 && !bench.probe.tick() {
                time::advance(step).await;
                step = (step * 2).min(Duration::from_secs(1));
            }
            over = call.poll().is_ready();
            if over {
                break;
            }
            time::settle().await;
        }
        drop(call);
        let what = format!("a call was dropped after {points} poll(s)");
        all_back(subject, &bench, fresh, rule, &what).await?;
        no_fault(&bench, &what)?;
        if over {
            break;
        }
    }
    Ok(())
}
