//! The task that begins the probes, and the tasks that make them.

use super::shared::{Driver, Job, Outcome, Shared};
use crate::{caught::Caught, event::ProbeError};
use std::{future::pending, sync::Arc};
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use towpath_core::Clock;

/// Sees to it that probes are made. Without a runtime there are none: whoever comes from inside one later starts them.
pub(super) fn start(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    if !matches!(state.driver, Driver::None) {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    state.driver = Driver::Running(None);
    // A runtime that is ending drops what is spawned at once, and with it a `Held`, which locks.
    drop(state);
    let task = runtime.spawn(run(Held(shared.clone()))).abort_handle();
    let mut state = shared.lock();
    match &mut state.driver {
        Driver::Running(slot) => *slot = Some(task),
        Driver::Closed => task.abort(),
        Driver::None => {}
    }
}

/// If the task ends before its time, another one can be started.
struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.interrupted();
    }
}

/// Begins what is due, so many at a time; ends when it is aborted.
async fn run(held: Held) {
    let shared = &held.0;
    // Its tasks are aborted when it is dropped.
    let mut probes = JoinSet::new();
    loop {
        let version = shared.live.version();
        let most = shared.live.get().concurrency;
        while probes.len() < most
            && let Some(job) = shared.next_job(Clock::now())
        {
            let (id, turn) = (job.endpoint.id(), job.turn);
            let task = probes.spawn(probe(shared.clone(), job));
            shared.began(id, turn, task);
        }
        let due = if probes.len() < most { shared.next_due() } else { None };
        tokio::select! {
            Some(_) = probes.join_next() => while probes.try_join_next().is_some() {},
            () = shared.wake.notified() => {}
            () = until(due) => {}
            _ = shared.live.changed(version) => shared.replan(),
        }
    }
}

async fn probe(shared: Arc<Shared>, job: Job) {
    let Job { endpoint, turn, prober } = job;
    let limit = shared.live.get().timeout;
    let (id, began) = (endpoint.id(), Clock::now());
    let asked = async {
        let mut prober = prober.unwrap_or_else(|| shared.fresh());
        match timeout(limit, prober.ask(&endpoint)).await {
            Ok(Ok(())) => Ok(prober),
            Ok(Err(error)) => Err(ProbeError::Failed(error.into())),
            Err(_) => Err(ProbeError::TimedOut(limit)),
        }
    };
    let result = Caught::new(asked).await.unwrap_or(Err(ProbeError::Panicked));
    shared.ended(Outcome { id, turn, began, result });
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}
