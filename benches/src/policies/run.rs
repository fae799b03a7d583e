//! Measuring: times in turns, allocations, instructions.

use super::{Args, By, Policy, all as policies, contend, limits::Limits, report, subject::Caller};
use crate::{
    Failure,
    timing::{self, Work},
    valgrind,
};
use std::cell::RefCell;
use tokio::runtime::{Builder, Runtime};

/// Calls before the ones that valgrind counts: so many are the shorter run, and twice as many more the longer.
const COUNTED: u64 = 4_000;

/// What a row costs, for each call.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    pub(super) policy: Policy,
    /// On one thread.
    pub(super) alone: timing::Cost,
    /// On each of two threads, in nanoseconds; none where a stack cannot be cloned.
    pub(super) contended: Option<contend::Times>,
    /// Instructions, if they were counted.
    pub(super) instructions: Option<f64>,
}

fn current_thread() -> Result<Runtime, Failure> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// For valgrind: so many calls, of one caller.
pub(super) fn calls(row: &str, calls: u64) -> Result<(), Failure> {
    let policy = policies().into_iter().find(|policy| policy.name() == row);
    let policy = policy.ok_or_else(|| format!("there is no row {row}"))?;
    let runtime = current_thread()?;
    let inside = runtime.enter();
    let mut callers = (policy.start)()?;
    drop(inside);
    callers.first_mut().map_or(Ok(()), |caller| caller.block_on(&runtime, calls))
}

/// Measures what is asked for, and prints it. Whether all limits are kept.
pub(super) fn all(args: &Args) -> Result<bool, Failure> {
    let mut rows = policies();
    let limits = args.check.as_deref().map(|path| Limits::read(path, &rows)).transpose()?;
    rows.retain(|policy| {
        let asked = match args.only.is_empty() {
            true => !policy.is_on_request(),
            false => args.only.iter().any(|only| policy.name().starts_with(only)),
        };
        let ours = !(args.ours || args.check.is_some()) || !matches!(policy.by, By::Peer(_));
        policy.by == By::Baseline || (asked && ours)
    });
    let (rounds, twice) = if limits.is_some() { (0, 0) } else { (args.rounds, args.contended) };
    let mut costs = alone(&rows, rounds)?;
    if twice > 0 {
        for (cost, contended) in costs.iter_mut().zip(contend::measure(&rows, twice)?) {
            cost.contended = contended;
        }
    }
    if !args.no_instructions {
        for cost in &mut costs {
            cost.instructions = Some(instructions(&cost.policy)?);
        }
    }
    print!("{}", report::table(&costs));
    let exceeded = limits.map_or(Vec::new(), |limits| limits.exceeded(&costs));
    for line in &exceeded {
        eprintln!("{line}");
    }
    Ok(exceeded.is_empty())
}

/// One caller each, all in turns.
fn alone(rows: &[Policy], rounds: usize) -> Result<Vec<Cost>, Failure> {
    let runtime = current_thread()?;
    let failed = RefCell::new(None);
    let mut callers: Vec<Box<dyn Caller>> = Vec::new();
    for policy in rows {
        let _inside = runtime.enter();
        callers.extend((policy.start)()?.into_iter().next());
    }
    let mut works: Vec<Work<'_>> = callers
        .iter_mut()
        .zip(rows)
        .map(|(caller, policy)| {
            let (runtime, failed) = (&runtime, &failed);
            Work::batch(policy.layer, move |times| {
                if let Err(error) = caller.block_on(runtime, times) {
                    *failed.borrow_mut() = Some(format!("{}: {error}", policy.name()));
                }
            })
        })
        .collect();
    let measured = timing::measure(&mut works, rounds);
    drop(works);
    if let Some(failed) = failed.into_inner() {
        return Err(failed.into());
    }
    let cost =
        |(policy, alone): (&Policy, _)| Cost { policy: *policy, alone, contended: None, instructions: None };
    Ok(rows.iter().zip(measured).map(cost).collect())
}

/// The difference of two runs, so that start-up cancels.
fn instructions(policy: &Policy) -> Result<f64, Failure> {
    let run = |calls: u64| vec!["run".to_owned(), policy.name(), calls.to_string()];
    valgrind::per_iteration(COUNTED, 3 * COUNTED, None, run)
}
