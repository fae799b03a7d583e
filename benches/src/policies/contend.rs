//! Two threads at once, on clones of one stack.

use super::{Policy, subject::Caller};
use crate::{Failure, timing::median};
use std::{
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    time::Duration,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

/// How long a measurement takes.
const BATCH: Duration = Duration::from_millis(2);

/// How long one waits for the other to begin; then it is a round of one, and left out.
const PATIENCE: Duration = Duration::from_millis(50);

/// So many calls between looks at the clock, and at whether the other one is done.
const CHUNK: u64 = 64;

/// Nanoseconds for each call on each thread, by round; NaN where the two did not come together.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Vec<f64>);

impl Times {
    /// The median of the rounds.
    pub(super) fn ns(&self) -> f64 {
        median(self.0.iter().copied().filter(|ns| !ns.is_nan()).collect())
    }

    /// How many times as long the other takes: the median over rounds.
    pub(super) fn faster_than(&self, other: &Times) -> f64 {
        let ratios = self.0.iter().zip(&other.0).map(|(own, other)| other / own);
        median(ratios.filter(|ratio| !ratio.is_nan()).collect())
    }
}

/// Starts both together, and stops both when the first one is done.
#[derive(Debug, Default)]
struct Race {
    here: AtomicU32,
    over: AtomicBool,
}

/// Measures all rows in turns; none for those that have no second caller.
///
/// The callers are tasks of one runtime with two threads, and so is whatever a stack spawns.
pub(super) fn measure(rows: &[Policy], rounds: usize) -> Result<Vec<Option<Times>>, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut pairs = Vec::new();
    for policy in rows {
        let _inside = runtime.enter();
        let mut callers = (policy.start)()?.into_iter();
        pairs.push(callers.next().zip(callers.next()));
    }
    let mut times: Vec<Option<Times>> =
        pairs.iter().map(|pair| pair.as_ref().map(|_| Times::default())).collect();
    for round in 0..=rounds {
        for ((pair, times), policy) in pairs.iter_mut().zip(&mut times).zip(rows) {
            let (Some(callers), Some(times)) = (pair.take(), times) else { continue };
            let (callers, ns) =
                race(&runtime, callers).map_err(|error| format!("{}: {error}", policy.name()))?;
            *pair = Some(callers);
            // The first one warms up.
            if round > 0 {
                times.0.push(ns);
            }
        }
    }
    Ok(times)
}

type Pair = (Box<dyn Caller>, Box<dyn Caller>);

fn race(runtime: &Runtime, callers: Pair) -> Result<(Pair, f64), Failure> {
    let race = Arc::new(Race::default());
    let first = runtime.spawn(run(callers.0, race.clone()));
    let second = runtime.spawn(run(callers.1, race));
    runtime.block_on(async {
        let ((first, ns), (second, other)) = (first.await??, second.await??);
        Ok(((first, second), (ns + other) / 2.0))
    })
}

async fn run(mut caller: Box<dyn Caller>, race: Arc<Race>) -> Result<(Box<dyn Caller>, f64), Failure> {
    race.here.fetch_add(1, AcqRel);
    let mut since = Instant::now();
    while race.here.load(Acquire) < 2 {
        if since.elapsed() > PATIENCE {
            race.over.store(true, Relaxed);
            return Ok((caller, f64::NAN));
        }
        spin_loop();
    }
    since = Instant::now();
    let mut calls = 0;
    loop {
        caller.call(CHUNK).await?;
        calls += CHUNK;
        let took = since.elapsed();
        if took >= BATCH || race.over.load(Relaxed) {
            race.over.store(true, Relaxed);
            return Ok((caller, took.as_nanos() as f64 / calls as f64));
        }
    }
}
