//! Wake-ups: each one that is due, and no other.

use super::PATIENCE;
use crate::{
    contract::{
        Rule, Violation,
        probe::Plan,
        subject::{Subject, Task, fresh_capacity, oneshot, ready},
    },
    time,
};
use std::time::Duration;

pub(super) async fn none_lost<K: Subject>(subject: &K) -> Result<(), Violation> {
    let rule = Rule::NoLostWakeUp;
    for (ready_after, answer_after) in [(0, 1), (1, 0), (2, 2)] {
        let bench = subject.bench(Plan { ready_after, answer_after, ..Plan::default() });
        let what = format!(
            "a call over a service that is ready after {ready_after} step(s) and answers after {answer_after}"
        );
        let _ = oneshot(bench.root.clone(), subject.request())
            .finish(&bench.probe, PATIENCE, rule, &what)
            .await?;
    }
    let fresh = fresh_capacity(subject).await;
    for permits in [None, Some(1), Some(3)] {
        queue(subject, permits, fresh).await?;
    }
    Ok(())
}

/// Twice as many callers as there is room for; some give up, the others must get through. A place or a
/// wake-up that went to one that gives up has to go on to the next.
async fn queue<K: Subject>(subject: &K, permits: Option<usize>, fresh: usize) -> Result<(), Violation> {
    let rule = Rule::NoLostWakeUp;
    let room = permits.map_or(fresh, |permits| permits.min(fresh)).max(1);
    let bench = subject.bench(Plan { answer_after: 1, permits, ..Plan::default() });
    let mut callers: Vec<_> =
        (0..2 * room + 2).map(|_| Some(oneshot(bench.root.clone(), subject.request()))).collect();
    run_due(&mut callers).await;
    // Of those that have a place, and of those that wait, one each gives up: and one more just as its turn
    // has come and before it was polled.
    callers[0] = None;
    callers[room] = None;
    bench.probe.tick();
    time::settle().await;
    if let Some(woken) = callers[room..].iter_mut().find(|c| c.as_ref().is_some_and(Task::is_due)) {
        *woken = None;
    }
    let mut waited = Duration::ZERO;
    let mut step = Duration::from_millis(1);
    while run_due(&mut callers).await > 0 {
        let moved = bench.probe.tick();
        time::settle().await;
        if moved || callers.iter().flatten().any(Task::is_due) {
            continue;
        }
        if waited >= PATIENCE {
            let left = callers.iter().flatten().count();
            let unasked =
                callers.iter_mut().flatten().filter_map(|c| c.poll().is_ready().then_some(())).count();
            let seen = format!(
                "{} callers with room for {room} at a time, some of them gave up: {left} wait for ever \
                 ({unasked} of them would go on if polled unasked; {})",
                callers.len(),
                bench.probe.held()
            );
            return Err(Violation::new(rule, seen));
        }
        time::advance(step).await;
        waited += step;
        step = (step * 2).min(Duration::from_secs(10));
    }
    Ok(())
}

/// Polls whoever was woken until nobody is; says how many are left.
async fn run_due<T>(callers: &mut [Option<Task<'_, T>>]) -> usize {
    for caller in callers.iter_mut() {
        if let Some(task) = caller
            && task.is_due()
            && task.run().await.is_ready()
        {
            *caller = None;
        }
    }
    callers.iter().flatten().count()
}

pub(super) async fn none_for_nothing<K: Subject>(subject: &K) -> Result<(), Violation> {
    let hung_call = Plan { answer_after: Plan::NEVER, ..Plan::default() };
    let hung_ready = Plan { ready_after: Plan::NEVER, ..Plan::default() };
    for (plan, hangs) in [(hung_call, "does not answer"), (hung_ready, "does not become ready")] {
        let bench = subject.bench(plan);
        let mut call = oneshot(bench.root.clone(), subject.request());
        silent(&mut call, hangs).await?;
    }
    // A clone that waits for room.
    let fresh = fresh_capacity(subject).await;
    let bench = subject.bench(hung_call);
    let mut calls: Vec<_> = (0..fresh).map(|_| oneshot(bench.root.clone(), subject.request())).collect();
    for call in &mut calls {
        let _ = call.run().await;
    }
    let mut readied = ready::<_, K::Request>(bench.root.clone());
    silent(&mut readied, "has no room").await
}

/// Wake-ups in silence: 8 while time stands still and 8 in the first second are forgiven, for layers that
/// start something.
async fn silent<T>(task: &mut Task<'_, T>, hangs: &str) -> Result<(), Violation> {
    const FORGIVEN: usize = 8;
    let mut polls = 0;
    for millis in (0..1_000).step_by(5) {
        loop {
            if task.is_due() {
                polls += 1;
                if task.poll().is_ready() {
                    return Ok(());
                }
            }
            time::settle().await;
            if !task.is_due() || polls > 2 * FORGIVEN {
                break;
            }
        }
        let (limit, when) = match millis {
            0 => (FORGIVEN, "while time stood still".to_string()),
            _ => (2 * FORGIVEN, format!("within {millis} ms")),
        };
        if polls > limit {
            let seen = format!(
                "the inner service {hangs}, nothing happens, and the task was woken {polls} times {when}"
            );
            return Err(Violation::new(Rule::NoBusyWait, seen));
        }
        tokio::time::advance(Duration::from_millis(5)).await;
    }
    Ok(())
}
