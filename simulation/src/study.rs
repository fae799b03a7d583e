//! What is compared: a scenario, run with one set of layers after another.

use crate::{Failure, Line, Outcome, Picker, Scenario, ledger::Ledger, run};
use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

/// A scenario, and what is run in it.
#[derive(Clone, Debug)]
pub struct Study {
    /// What happens.
    pub scenario: Scenario,
    /// Who it happens to.
    pub lines: Vec<Line>,
    /// How many seeds each is run with, one after the other from the first.
    pub seeds: u64,
}

/// What came of one line of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// Who it happened to.
    pub line: Line,
    /// What came of each seed.
    pub outcomes: Vec<Outcome>,
}

impl Findings {
    /// All seeds together.
    pub fn ledger(&self) -> Ledger {
        let mut all = Ledger::default();
        self.outcomes.iter().for_each(|outcome| all.merge(&outcome.ledger));
        all
    }
}

impl Study {
    /// All of them.
    pub fn all(clients: usize, servers: usize) -> Vec<Study> {
        vec![Study::eleven(), Study::sizes(clients.min(20)), Study::fleet(clients, servers)]
    }

    /// In the manner of linkerd's comparison.
    pub fn eleven() -> Study {
        use Picker::{BoundedHash, LeastLoaded, Ours, PeakEwma, RoundRobin, TowerPeakEwma, TowerPending};
        let pickers = [RoundRobin, LeastLoaded, PeakEwma, BoundedHash, TowerPeakEwma, TowerPending, Ours];
        let of = |breaker, retry| pickers.map(|picker| Line { picker, breaker, retry });
        let lines = [of(false, false), of(true, true)].concat();
        Study { scenario: Scenario::eleven(), lines, seeds: 5 }
    }

    /// Who honours weights, and who needs none.
    pub fn sizes(clients: usize) -> Study {
        use Picker::{
            BoundedHash, Hash, LeastRequest, Ours, RoundRobin, TowerPeakEwma, TowerPending, WeightedLot,
            WeightedTurns,
        };
        let lines = [
            RoundRobin,
            WeightedTurns,
            WeightedLot,
            Hash,
            BoundedHash,
            TowerPeakEwma,
            TowerPending,
            LeastRequest,
            Ours,
        ];
        let lines = lines.map(|picker| Line { picker, breaker: true, retry: false }).to_vec();
        Study { scenario: Scenario::sizes(clients), lines, seeds: 1 }
    }

    /// Everything that happens to a fleet.
    pub fn fleet(clients: usize, servers: usize) -> Study {
        use Picker::{
            BoundedHash, LeastRequest, Ours, PeakEwma, RoundRobin, Slice, TowerPeakEwma, TowerPending,
            WeightedLot, WeightedTurns,
        };
        let of = |retry| move |picker| Line { picker, breaker: true, retry };
        let once = [
            RoundRobin,
            WeightedTurns,
            WeightedLot,
            BoundedHash,
            PeakEwma,
            TowerPeakEwma,
            TowerPending,
            LeastRequest,
            Ours,
            Slice,
        ];
        let once = once.map(of(false));
        let again = [RoundRobin, TowerPeakEwma, Ours, Slice].map(of(true));
        Study {
            scenario: Scenario::fleet(clients, servers),
            lines: [&once[..], &again[..]].concat(),
            seeds: 1,
        }
    }

    /// Runs it, on all processors; each course is one thread's.
    ///
    /// # Errors
    /// If no runtime can be made.
    pub fn run(&self, seed: u64) -> Result<Vec<Findings>, Failure> {
        let seeds = self.seeds.max(1);
        let courses: Vec<_> = self
            .lines
            .iter()
            .flat_map(|line| (seed..seed.saturating_add(seeds)).map(|seed| (*line, seed)))
            .collect();
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((at, (line, seed))) = {
                        let at = next.fetch_add(1, Relaxed);
                        courses.get(at).map(|course| (at, *course))
                    } {
                        let outcome = run(&self.scenario, line, seed);
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        let mut outcomes = done.into_iter().map(|(_, outcome)| outcome);
        self.lines
            .iter()
            .map(|line| {
                let outcomes = outcomes.by_ref().take(seeds as usize).collect::<Result<_, _>>()?;
                Ok(Findings { line: *line, outcomes })
            })
            .collect()
    }
}
