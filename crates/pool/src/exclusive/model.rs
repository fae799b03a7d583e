//! The stock and its line against a model that keeps lists and looks through them.
// Helpers of tests are not #[test] themselves.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::store::{Lent, Stock};
use crate::{
    Call, Connection, Ended,
    queue::{Outcome, Ticket},
    store::{Counts, Entered, Standing, Store},
};
use proptest::prelude::*;
use std::{
    collections::BTreeSet,
    future::{Pending, pending},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::Waker,
};
use tokio::time::Instant;
use towpath_core::Error;

/// Never ends by itself; its drop is counted.
struct Dummy(Arc<AtomicU32>);

impl Connection for Dummy {
    type Closed = Pending<Ended>;

    fn is_closing(&self) -> bool {
        false
    }

    fn closed(&self) -> Pending<Ended> {
        pending()
    }

    fn close(&self) {}
}

impl Call<()> for Dummy {
    type Response = ();
    type Error = Error;
    type Future = Pending<Result<(), Error>>;
}

impl Drop for Dummy {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enter,
    Look(usize),
    Leave(usize),
    GiveBack(usize),
    Put,
    Remove(u64),
    Fail,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Enter),
        4 => any::<usize>().prop_map(Step::Look),
        2 => any::<usize>().prop_map(Step::Leave),
        6 => any::<usize>().prop_map(Step::GiveBack),
        4 => Just(Step::Put),
        1 => (1u64..12).prop_map(Step::Remove),
        1 => Just(Step::Fail),
        1 => prop::bool::weighted(0.2).prop_map(|clear| if clear { Step::Clear } else { Step::Enter }),
    ]
}

/// What a naive keeper of the same would say.
#[derive(Default)]
struct Naive {
    idle: Vec<u64>,
    /// Who waits, by number, in order; and whether it is impatient.
    line: Vec<(usize, bool)>,
    granted: Vec<(usize, u64)>,
    /// Those that look again, and those that have failed.
    look: BTreeSet<usize>,
    failed: BTreeSet<usize>,
    lent: BTreeSet<u64>,
    /// Of those that are lent: they do not come back.
    lost: BTreeSet<u64>,
    made: u64,
    dropped: u32,
}

impl Naive {
    fn offer(&mut self, id: u64) {
        if self.lost.remove(&id) {
            self.dropped += 1;
        } else if self.line.is_empty() {
            self.idle.push(id);
        } else {
            let (number, _) = self.line.remove(0);
            self.granted.push((number, id));
            self.lent.insert(id);
        }
    }

    fn known(&self, id: u64) -> bool {
        self.idle.contains(&id) || self.lent.contains(&id) && !self.lost.contains(&id)
    }
}

proptest! {
    /// Nobody is overtaken, nothing is lost and nothing is there twice.
    #[test]
    fn as_lists_that_are_looked_through(steps in prop::collection::vec(step(), 1..200)) {
        let drops = Arc::new(AtomicU32::new(0));
        let (stock, mut naive) = (Stock::new(), Naive::default());
        let mut tickets: Vec<(usize, Ticket)> = Vec::new();
        let mut lent: Vec<Lent<Dummy>> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Enter => match stock.enter(3, number % 2 == 0) {
                    Entered::Got(one) => {
                        prop_assert_eq!(naive.idle.pop(), Some(one.id()));
                        naive.lent.insert(one.id());
                        lent.push(one);
                    }
                    Entered::Waits { ticket, tell } => {
                        prop_assert!(naive.idle.is_empty() && naive.line.len() < 3 && tell);
                        naive.line.push((number, number % 2 == 0));
                        tickets.push((number, ticket));
                    }
                    Entered::Full => prop_assert!(naive.idle.is_empty() && naive.line.len() == 3),
                },
                Step::Look(at) if !tickets.is_empty() => {
                    let at = at % tickets.len();
                    let (number, ticket) = &tickets[at];
                    let outcome = stock.poll(ticket, Waker::noop());
                    let granted = naive.granted.iter().position(|(other, _)| other == number);
                    match outcome {
                        None => prop_assert!(naive.line.iter().any(|(other, _)| other == number)),
                        Some(Outcome::Granted(one)) => {
                            prop_assert_eq!(naive.granted.remove(granted.unwrap()).1, one.id());
                            lent.push(one);
                            tickets.remove(at);
                        }
                        Some(Outcome::Look) => {
                            prop_assert!(naive.look.remove(number));
                            tickets.remove(at);
                        }
                        Some(Outcome::Failed(_)) => {
                            prop_assert!(naive.failed.remove(number));
                            tickets.remove(at);
                        }
                    }
                }
                Step::Leave(at) if !tickets.is_empty() => {
                    let (number, ticket) = tickets.remove(at % tickets.len());
                    stock.leave(&ticket);
                    naive.line.retain(|(other, _)| *other != number);
                    naive.look.remove(&number);
                    naive.failed.remove(&number);
                    if let Some(at) = naive.granted.iter().position(|(other, _)| *other == number) {
                        let (_, id) = naive.granted.remove(at);
                        naive.lent.remove(&id);
                        naive.offer(id);
                    }
                }
                Step::GiveBack(at) if !lent.is_empty() => {
                    let one = lent.swap_remove(at % lent.len());
                    naive.lent.remove(&one.id());
                    naive.offer(one.id());
                    stock.give_back(one);
                }
                Step::Put => {
                    naive.made += 1;
                    naive.offer(naive.made);
                    stock.put(naive.made, Dummy(drops.clone()), Instant::now());
                }
                // As the keeper does, of those it knows.
                Step::Remove(id) if naive.known(id) => {
                    stock.remove(id);
                    match naive.idle.iter().position(|other| *other == id) {
                        Some(at) => {
                            naive.idle.remove(at);
                            naive.dropped += 1;
                        }
                        None => {
                            naive.lost.insert(id);
                        }
                    }
                }
                Step::Fail => {
                    stock.connect_failed(&Error::new(towpath_core::ErrorKind::ConnectFailed));
                    let (failed, line) = std::mem::take(&mut naive.line).into_iter().partition(|(_, not)| *not);
                    naive.line = line;
                    let failed: Vec<(usize, bool)> = failed;
                    naive.failed.extend(failed.into_iter().map(|(number, _)| number));
                }
                Step::Clear => {
                    stock.clear();
                    naive.dropped += naive.idle.len() as u32;
                    naive.idle.clear();
                    naive.look.extend(naive.line.drain(..).map(|(number, _)| number));
                    naive.lost = naive.lent.clone();
                }
                Step::Look(_) | Step::Leave(_) | Step::GiveBack(_) | Step::Remove(_) => {}
            }
            let counts = Counts {
                waiting: naive.line.len() as u32,
                idle: naive.idle.len() as u32,
                in_flight: naive.lent.len(),
            };
            prop_assert_eq!(stock.counts(), counts);
            prop_assert_eq!(drops.load(Relaxed), naive.dropped);
            let unused: Vec<_> = stock.demand().unused.into_iter().map(|(id, _)| id).collect();
            let mut idle = naive.idle.clone();
            idle.sort_unstable();
            prop_assert_eq!(unused, idle);
            stock.publish(Standing { share: 1, can_grow: true, connecting: 0 });
        }
        for (_, ticket) in tickets {
            stock.leave(&ticket);
        }
        for one in lent {
            stock.give_back(one);
        }
        prop_assert_eq!((stock.counts().waiting, stock.counts().in_flight), (0, 0));
        drop(stock);
        prop_assert_eq!(u64::from(drops.load(Relaxed)), naive.made, "all are dropped once");
    }
}
