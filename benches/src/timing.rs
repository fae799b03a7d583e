//! How long small things take, one beside the other, and what they allocate.

use crate::{alloc, side::Side};
use std::{hint::black_box, time::Duration};
use tokio::time::Instant;

/// How long one batch takes, about.
const BATCH: Duration = Duration::from_micros(300);

/// How many repetitions are looked at for allocations.
const COUNTED: u64 = 200;

/// Something small, to be done over and over.
pub struct Work<'a> {
    /// What the tables call it.
    pub name: &'static str,
    repeat: Box<dyn FnMut(u64) + 'a>,
}

impl<'a> Work<'a> {
    /// What `once` returns is dropped within what is measured.
    pub fn new<T>(name: &'static str, mut once: impl FnMut() -> T + 'a) -> Self {
        let repeat = move |times| {
            for _ in 0..times {
                drop(black_box(once()));
            }
        };
        Work { name, repeat: Box::new(repeat) }
    }

    /// `repeat` does it as many times as it is told.
    pub fn batch(name: &'static str, repeat: impl FnMut(u64) + 'a) -> Self {
        Work { name, repeat: Box::new(repeat) }
    }

    /// Does it so many times.
    pub fn repeat(&mut self, times: u64) {
        (self.repeat)(times);
    }
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What doing it once costs.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Nanoseconds, by batch.
    batches: Vec<f64>,
    /// Allocations.
    pub allocations: f64,
    /// Bytes allocated.
    pub bytes: f64,
}

impl Cost {
    /// Nanoseconds: the median of the batches.
    pub fn ns(&self) -> f64 {
        median(self.batches.clone())
    }

    /// How many times as long the other takes: the median over pairs of batches that were run one after the other.
    pub fn faster_than(&self, other: &Cost) -> f64 {
        median(self.batches.iter().zip(&other.batches).map(|(own, other)| other / own).collect())
    }
}

/// Measures all of them in turns, so that what the machine does meanwhile hits all alike.
pub fn measure(works: &mut [Work<'_>], rounds: usize) -> Vec<Cost> {
    let mut prepared: Vec<(u64, Cost)> = works.iter_mut().map(prepare).collect();
    for _ in 0..rounds {
        for (work, (times, cost)) in works.iter_mut().zip(&mut prepared) {
            let since = Instant::now();
            work.repeat(*times);
            cost.batches.push(since.elapsed().as_nanos() as f64 / *times as f64);
        }
    }
    prepared.into_iter().map(|(_, cost)| cost).collect()
}

/// Warms up, finds the length of a batch, counts allocations.
fn prepare(work: &mut Work<'_>) -> (u64, Cost) {
    let mut times = 16;
    loop {
        let since = Instant::now();
        work.repeat(times);
        if since.elapsed() >= BATCH || times >= 1 << 20 {
            break;
        }
        times *= 2;
    }
    let before = alloc::allocated(Side::Client);
    alloc::count(true);
    work.repeat(COUNTED);
    alloc::count(false);
    let allocated = alloc::allocated(Side::Client).since(before);
    let each = |sum: u64| sum as f64 / COUNTED as f64;
    (times, Cost { batches: Vec::new(), allocations: each(allocated.count), bytes: each(allocated.bytes) })
}

/// The middle one; NaN of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_is_seen_to() {
        let spin = |times: u64| (0..times).fold(0u64, |sum, i| black_box(sum ^ i));
        let mut works = [Work::new("short", || spin(10)), Work::new("long", || spin(1000))];
        let costs = measure(&mut works, 5);
        assert!(costs[0].faster_than(&costs[1]) > 5.0, "{costs:?}");
        assert!(costs[0].ns() < costs[1].ns(), "{costs:?}");
    }
}
