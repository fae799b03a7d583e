//! One file for each group of rules: what is done to the layer, and what must be seen.

mod deadline;
mod drops;
mod panics;
mod permits;
mod readiness;
mod wakes;

use super::{
    Rule, Violation,
    subject::{Bench, Subject},
};
use crate::time;
use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

/// How long a call over a service that answers may take, on the paused clock, until it is given up: longer
/// than any backoff.
const PATIENCE: Duration = Duration::from_secs(600);

/// Checks one rule, in a runtime of its own.
pub(super) fn check<K: Subject>(subject: &K, rule: Rule) -> Result<(), Violation> {
    time::paused(async {
        match rule {
            Rule::ReadyThenCalled => guarded(rule, readiness::ready_then_called(subject)).await,
            Rule::UncalledHoldsNothing => guarded(rule, readiness::uncalled(subject)).await,
            Rule::PermitsComeBack => guarded(rule, permits::come_back(subject)).await,
            Rule::LimitIsShared => guarded(rule, permits::limit_is_shared(subject)).await,
            Rule::DropAnywhere => guarded(rule, drops::anywhere(subject)).await,
            Rule::NoLostWakeUp => guarded(rule, wakes::none_lost(subject)).await,
            Rule::NoBusyWait => guarded(rule, wakes::none_for_nothing(subject)).await,
            Rule::PanicStaysInOneCall => guarded(rule, panics::stay_in_one_call(subject)).await,
            Rule::DeadlineKept => guarded(rule, deadline::kept(subject)).await,
        }
    })
}

/// A layer that panics breaks the rule in whose check it did.
async fn guarded(rule: Rule, check: impl Future<Output = Result<(), Violation>>) -> Result<(), Violation> {
    let mut check = pin!(check);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| check.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(panic) => {
            Poll::Ready(Err(Violation::new(rule, format!("the layer panicked: {}", message(&*panic)))))
        }
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "(no message)",
    }
}

/// Nothing was done with the inner service that may not be.
fn no_fault<S>(bench: &Bench<S>, what: &str) -> Result<(), Violation> {
    match bench.probe.fault() {
        Some(fault) => Err(Violation::new(Rule::ReadyThenCalled, format!("{what}: {fault}"))),
        None => Ok(()),
    }
}
