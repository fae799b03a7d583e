//! A call over an inner service that hangs.

use crate::{
    contract::{
        Rule, Violation,
        probe::Plan,
        subject::{Subject, all_back, call_readied, fresh_capacity, ready},
    },
    time,
};
use std::{task::Poll, time::Duration};
use tokio::time::Instant;

pub(super) async fn kept<K: Subject>(subject: &K) -> Result<(), Violation> {
    let Some(limit) = subject.gives_up_after() else { return Ok(()) };
    let rule = Rule::DeadlineKept;
    let fresh = fresh_capacity(subject).await;
    let hung_call = Plan { answer_after: Plan::NEVER, ..Plan::default() };
    let hung_ready = Plan { ready_after: Plan::NEVER, ..Plan::default() };
    for (plan, hangs) in [(hung_call, "does not answer"), (hung_ready, "does not become ready")] {
        let bench = subject.bench(plan);
        let mut readied = ready::<_, K::Request>(bench.root.clone());
        // A layer that says it is not ready has taken no call, and so no deadline.
        let Poll::Ready(Some(mut service)) = readied.run().await else { continue };
        let mut call = call_readied(&mut service, subject.request_by(Instant::now() + limit));
        let mut over = call.run().await.is_ready();
        if !over {
            time::advance(limit.saturating_sub(Duration::from_millis(3))).await;
            over = call.run().await.is_ready();
        }
        for _ in 0..5 {
            if !over {
                time::advance(Duration::from_millis(1)).await;
                over = call.run().await.is_ready();
            }
        }
        if !over {
            let seen = format!(
                "the inner service {hangs}; {limit:?} after a call with a deadline of {limit:?} it still waits"
            );
            return Err(Violation::new(rule, seen));
        }
        drop((call, readied, service));
        let what = format!("the inner service {hangs}, the call was given up");
        all_back(subject, &bench, fresh, rule, &what).await?;
    }
    Ok(())
}
