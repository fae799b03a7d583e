//! What is measured: who, how much, where.

use clap::ValueEnum;
use serde::Serialize;
use std::{fmt, str::FromStr};

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Who {
    /// The multiplexer that does nothing else.
    Reference,
    /// towpath's transport with tower services on both sides.
    Bare,
    /// The same, with mimalloc in place of the system's malloc.
    #[cfg(feature = "peers")]
    BareMimalloc,
    /// towpath's ready-made client and its router.
    Facade,
    /// The same with everything on, on both sides: policies, balancer, metrics, 1 % of the calls traced.
    Armoured,
    #[cfg(feature = "peers")]
    Tonic,
    #[cfg(feature = "peers")]
    Tarpc,
    /// axum, called by hyper.
    #[cfg(feature = "peers")]
    Axum,
}

impl Who {
    pub(super) fn all() -> Vec<Who> {
        Who::value_variants().to_vec()
    }

    /// The allocator of its processes, if it is not the system's.
    pub(super) fn allocator(self) -> Option<&'static str> {
        match self {
            #[cfg(feature = "peers")]
            Who::BareMimalloc => Some(crate::alloc::MIMALLOC),
            _ => None,
        }
    }

    /// What the tables call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Who::Reference => "reference",
            Who::Bare => "towpath, bare",
            #[cfg(feature = "peers")]
            Who::BareMimalloc => "towpath, bare, mimalloc",
            Who::Facade => "towpath, facade",
            Who::Armoured => "towpath, armoured",
            #[cfg(feature = "peers")]
            Who::Tonic => "tonic",
            #[cfg(feature = "peers")]
            Who::Tarpc => "tarpc",
            #[cfg(feature = "peers")]
            Who::Axum => "axum + hyper",
        }
    }
}

/// Where the two processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Pin {
    /// Both on one core, each on a current-thread runtime.
    One,
    /// Each on a core of its own, on a current-thread runtime.
    Two,
    /// Anywhere, on tokio's multi-thread runtime as it comes; the reference on a current-thread one.
    Free,
}

impl Pin {
    pub(super) fn title(self) -> &'static str {
        match self {
            Pin::One => "both processes on one core",
            Pin::Two => "two cores",
            Pin::Free => "not pinned, multi-thread runtime (reference: current-thread)",
        }
    }

    /// Whether this contender runs on the multi-thread runtime.
    pub(super) fn multi_thread(self, who: Who) -> bool {
        self == Pin::Free && who != Who::Reference
    }

    /// The processors of server and client, of those that there are; `None` if there are too few.
    pub(super) fn cpus(self, available: &[usize]) -> Option<(Option<usize>, Option<usize>)> {
        match (self, available) {
            (Pin::Free, _) => Some((None, None)),
            // The first one is the busiest with interrupts.
            (Pin::One, [.., last]) => Some((Some(*last), Some(*last))),
            (Pin::Two, [first, .., last]) => Some((Some(*first), Some(*last))),
            _ => None,
        }
    }
}

/// How much is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Cell {
    pub(super) inflight: usize,
    pub(super) body: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.inflight, self.body)
    }
}

impl FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('x').and_then(|(inflight, body)| {
            let (inflight, body) = (inflight.parse().ok()?, body.parse().ok()?);
            (inflight > 0).then_some(Cell { inflight, body })
        });
        numbers.ok_or_else(|| "wanted: calls in flight, x, bytes of the body, as in 64x64".to_owned())
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Shot {
    pub(super) round: usize,
    pub(super) pin: Pin,
    pub(super) cell: Cell,
    pub(super) who: Who,
}

/// All measurements in order. In every round everybody comes once in every cell, each time in another order: what the
/// machine does meanwhile hits all alike.
pub(super) fn shots(rounds: usize, pins: &[Pin], cells: &[Cell], who: &[Who]) -> Vec<Shot> {
    let mut shots = Vec::new();
    for round in 0..rounds {
        for &pin in pins {
            for (turn, &cell) in cells.iter().enumerate() {
                let mut order = who.to_vec();
                order.rotate_left((round + turn) % who.len().max(1));
                if round % 2 == 1 {
                    order.reverse();
                }
                shots.extend(order.into_iter().map(|who| Shot { round, pin, cell, who }));
            }
        }
    }
    shots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_comes_once_a_round_and_in_turn_first() {
        let cells = [Cell { inflight: 1, body: 64 }];
        let who = [Who::Reference, Who::Bare, Who::Facade];
        let shots = shots(6, &[Pin::One], &cells, &who);
        assert_eq!(shots.len(), 18);
        let mut first = Vec::new();
        for round in shots.chunks(3) {
            assert!(who.iter().all(|who| round.iter().any(|shot| shot.who == *who)), "{round:?}");
            first.push(round[0].who);
        }
        assert!(who.iter().all(|who| first.contains(who)), "{first:?}");
    }

    #[test]
    fn cells_are_read() {
        assert_eq!("64x1024".parse(), Ok(Cell { inflight: 64, body: 1024 }));
        assert_eq!("4x0".parse::<Cell>().unwrap().to_string(), "4x0");
        for bad in ["", "64", "0x64", "x", "64x", "1x1x1", "-1x1"] {
            assert!(bad.parse::<Cell>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_processor_is_too_few_for_two() {
        assert_eq!(Pin::Two.cpus(&[3]), None);
        assert_eq!(Pin::One.cpus(&[3]), Some((Some(3), Some(3))));
        assert_eq!(Pin::Two.cpus(&[0, 1, 2]), Some((Some(0), Some(2))));
    }
}
