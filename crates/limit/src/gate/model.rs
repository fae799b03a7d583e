//! The gate against a model that keeps a list and looks through it.
// Helpers of tests are not #[test] themselves.
#![allow(clippy::unwrap_used)]

use super::{
    Gate, Line, Order,
    queue::{RANKS, Ticket},
};
use proptest::prelude::*;
use std::task::{Context, Poll, Waker};

#[derive(Clone, Debug)]
enum Step {
    Take(u8),
    Join(u8, bool),
    Leave(usize),
    Give,
    Room(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..RANKS as u8).prop_map(Step::Take),
        5 => (0..RANKS as u8, any::<bool>()).prop_map(|(rank, newest)| Step::Join(rank, newest)),
        2 => (0usize..16).prop_map(Step::Leave),
        5 => Just(Step::Give),
        1 => (0u32..6).prop_map(Step::Room),
    ]
}

/// Of each that waits its rank and its number, in the order of coming.
#[derive(Default)]
struct Naive {
    in_flight: u32,
    room: u32,
    newest: bool,
    waiting: Vec<(u8, usize)>,
    granted: Vec<usize>,
    evicted: Vec<usize>,
}

/// Ranks 0 to 3 leave one place to those above them.
fn room(room: u32) -> [u32; RANKS] {
    std::array::from_fn(|rank| if rank < 4 { room.saturating_sub(1) } else { room })
}

impl Naive {
    fn fits(&self, rank: u8) -> bool {
        self.in_flight < room(self.room)[usize::from(rank)]
    }

    fn go_on(&mut self) {
        while let Some(first) = self.waiting.iter().map(|(rank, _)| *rank).max() {
            if !self.fits(first) {
                break;
            }
            let of_rank = |(rank, _): &(u8, usize)| *rank == first;
            let at = if self.newest {
                self.waiting.iter().rposition(of_rank)
            } else {
                self.waiting.iter().position(of_rank)
            };
            self.granted.push(self.waiting.remove(at.unwrap()).1);
            self.in_flight += 1;
        }
    }

    fn join(&mut self, rank: u8, number: usize, line: Line) -> bool {
        self.newest = line.order == Order::NewestFirst;
        if self.waiting.len() as u32 >= line.most {
            let Some(lowest) = self.waiting.iter().map(|(rank, _)| *rank).min() else { return false };
            let of_rank = |(rank, _): &(u8, usize)| *rank == lowest;
            let at = match self.newest {
                true if lowest <= rank => self.waiting.iter().position(of_rank),
                false if lowest < rank => self.waiting.iter().rposition(of_rank),
                _ => return false,
            };
            self.evicted.push(self.waiting.remove(at.unwrap()).1);
        }
        self.waiting.push((rank, number));
        self.go_on();
        true
    }
}

fn poll(gate: &Gate, ticket: &Ticket) -> Poll<bool> {
    gate.poll(ticket, &mut Context::from_waker(Waker::noop())).map(|outcome| outcome.is_ok())
}

proptest! {
    #[test]
    fn as_a_list_that_is_looked_through(steps in prop::collection::vec(step(), 1..300)) {
        let gate = Gate::new(room(2));
        let mut naive = Naive { room: 2, ..Naive::default() };
        let mut tickets: Vec<(usize, Ticket)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Take(rank) => {
                    let fits = naive.waiting.is_empty() && naive.fits(rank);
                    naive.in_flight += u32::from(fits);
                    prop_assert_eq!(gate.try_take(rank), fits.then_some(naive.in_flight));
                }
                Step::Join(rank, newest) => {
                    let order = if newest { Order::NewestFirst } else { Order::OldestFirst };
                    let line = Line { most: 3, order };
                    let joined = gate.join(rank, line);
                    prop_assert_eq!(joined.is_ok(), naive.join(rank, number, line));
                    tickets.extend(joined.ok().map(|ticket| (number, ticket)));
                }
                Step::Leave(at) if at < tickets.len() => {
                    let (number, ticket) = tickets.swap_remove(at);
                    gate.leave(&ticket);
                    if naive.granted.contains(&number) {
                        naive.granted.retain(|granted| *granted != number);
                        naive.in_flight -= 1;
                        naive.go_on();
                    }
                    naive.waiting.retain(|(_, waiting)| *waiting != number);
                }
                Step::Give if naive.in_flight > naive.granted.len() as u32 => {
                    gate.give();
                    naive.in_flight -= 1;
                    naive.go_on();
                }
                Step::Room(more) => {
                    gate.set_room(room(more));
                    naive.room = more;
                    naive.go_on();
                }
                Step::Leave(_) | Step::Give => {}
            }
            prop_assert_eq!(gate.in_flight(), naive.in_flight);
            prop_assert_eq!(gate.waiting() as usize, naive.waiting.len());
            // Each is looked after only now and then, so that turns lie about for a while.
            let looks = number % 3;
            let mut left = Vec::new();
            for (number, ticket) in tickets {
                match (number % 3 == looks).then(|| poll(&gate, &ticket)) {
                    Some(Poll::Ready(through)) => {
                        prop_assert_eq!(through, naive.granted.contains(&number));
                        prop_assert_eq!(!through, naive.evicted.contains(&number));
                        naive.granted.retain(|granted| *granted != number);
                    }
                    Some(Poll::Pending) => {
                        prop_assert!(naive.waiting.iter().any(|(_, waiting)| *waiting == number));
                        left.push((number, ticket));
                    }
                    None => left.push((number, ticket)),
                }
            }
            tickets = left;
        }
    }
}
