//! A panic of the inner service.

use super::{PATIENCE, no_fault};
use crate::contract::{
    Rule, Violation,
    probe::{PanicAt, Plan},
    subject::{Subject, all_back, fresh_capacity, oneshot},
};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) async fn stay_in_one_call<K: Subject>(subject: &K) -> Result<(), Violation> {
    let rule = Rule::PanicStaysInOneCall;
    let fresh = fresh_capacity(subject).await;
    for (at, place) in
        [(PanicAt::Ready, "poll_ready"), (PanicAt::Call, "call"), (PanicAt::Poll, "its future's poll")]
    {
        let plan = Plan { answer_after: 1, ..Plan::default() };
        let bench = subject.bench(Plan { panic: Some(at), ..plan });
        let earlier = bench.root.clone();
        let mut call = oneshot(bench.root.clone(), subject.request());
        // The layer may pass the panic on, or make an error of it.
        while let Ok(poll) = call.run_caught().await {
            if poll.is_ready() || !bench.probe.tick() {
                break;
            }
        }
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(call)));
        if dropped.is_err() {
            let seen = format!("the inner service panicked in {place}; dropping that call panicked again");
            return Err(Violation::new(rule, seen));
        }
        bench.probe.set_plan(plan);
        for (service, which) in [(earlier, "cloned before it"), (bench.root.clone(), "cloned after it")] {
            let what = format!("the inner service panicked in {place}; a call of a clone {which}");
            let mut call = oneshot(service, subject.request());
            if let Err(error) = call.finish(&bench.probe, PATIENCE, rule, &what).await? {
                return Err(Violation::new(rule, format!("{what} fails: {error}")));
            }
        }
        let what = format!("after a panic of the inner service in {place}");
        all_back(subject, &bench, fresh, rule, &what).await?;
        no_fault(&bench, &what)?;
    }
    Ok(())
}
