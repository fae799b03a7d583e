//! Who is next, by weight, and never many times in a row: computed once for a set of weights.
//!
//! The order is that of worst-case fair weighted fair queueing (Bennett and Zhang, "WF2Q", INFOCOM 1996) where all have always
//! something to send: of those who may have their next turn by now, the one whose turn would end first. At each moment
//! each has had as many turns as is its share, give or take one. nginx's smooth weighted round robin has the same aim, and
//! looks at all members for each turn.

use std::{cmp::Reverse, collections::BinaryHeap};

/// A table has at most so many turns for each member, or [`LEAST`] if that is more: heavier weights are scaled down.
const PER_MEMBER: usize = 32;
const LEAST: usize = 65_536;

/// The members, one after another, in the order of one whole round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns(Box<[u32]>);

/// A turn that a member may have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// When it ends, as a whole number and what is left, both in turns: of weight 3 and 10 turns in all, the second turn
    /// ends at 20 / 3.
    ends: (u64, Fraction),
    member: u32,
}

/// Less than 1.
#[derive(Clone, Copy)]
struct Fraction {
    above: u64,
    below: u64,
}

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Both are below the length of a table, which is below 2^32.
        (self.above * other.below).cmp(&(other.above * self.below))
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Fraction {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Fraction {}

impl Turns {
    /// The turns of members with these weights. If these are all 0, each has one.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let weights = scaled(weights);
        let len: u64 = weights.iter().sum();
        // Who may have a turn from when on.
        let mut from = vec![Vec::new(); len as usize];
        let turn = |member: usize, number: u64| {
            let (weight, end) = (weights[member], (number + 1) * len);
            let ends = (end / weight, Fraction { above: end % weight, below: weight });
            ((number * len).div_ceil(weight) as usize, Turn { ends, member: member as u32 })
        };
        for member in (0..weights.len()).filter(|member| weights[*member] > 0) {
            let (at, turn) = turn(member, 0);
            from[at].push(turn);
        }
        let (mut may, mut had) = (BinaryHeap::new(), vec![0; weights.len()]);
        let mut turns = Vec::with_capacity(len as usize);
        for now in 0..len as usize {
            may.extend(from[now].drain(..).map(Reverse));
            let Some(Reverse(Turn { member, .. })) = may.pop() else { break };
            turns.push(member);
            let (member, had) = (member as usize, &mut had[member as usize]);
            *had += 1;
            if *had < weights[member] {
                let (at, turn) = turn(member, *had);
                from[at.max(now + 1)].push(turn);
            }
        }
        Turns(turns.into())
    }

    /// How many there are before all begins again.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whose turn it is.
    #[inline]
    pub(crate) fn get(&self, turn: usize) -> usize {
        self.0.get(turn).map_or(0, |member| *member as usize)
    }
}

/// The smallest numbers in the same proportion; if their sum is still too large, such as are nearly so, and none 0 that was
/// not.
fn scaled(weights: &[u32]) -> Vec<u64> {
    let weights: Vec<_> = match weights.iter().all(|weight| *weight == 0) {
        true => vec![1; weights.len()],
        false => weights.iter().map(|weight| u64::from(*weight)).collect(),
    };
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let (sum, most) = (weights.iter().sum::<u64>() / divisor, LEAST.max(PER_MEMBER * weights.len()) as u64);
    weights
        .into_iter()
        .map(|weight| weight / divisor)
        .map(|weight| match weight {
            weight if sum <= most || weight == 0 => weight,
            weight => ((2 * weight * most + sum) / (2 * sum)).max(1),
        })
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(turns: &Turns) -> String {
        turns.0.iter().map(|member| char::from(b'a' + *member as u8)).collect()
    }

    /// nginx: all gain their weight, the one that has most is next and pays what all gained.
    fn nginx(weights: &[u32]) -> Vec<u32> {
        let sum: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
        let mut gained = vec![0; weights.len()];
        (0..sum)
            .map(|_| {
                gained.iter_mut().zip(weights).for_each(|(gained, weight)| *gained += i64::from(*weight));
                let next = (0..weights.len()).rev().max_by_key(|member| gained[*member]).unwrap();
                gained[next] -= sum;
                next as u32
            })
            .collect()
    }

    /// The most turns of one member in a row, over the end of the round too.
    fn longest_run(turns: &[u32]) -> usize {
        let twice: Vec<_> = turns.iter().chain(turns).collect();
        twice.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap_or(0).min(turns.len())
    }

    #[test]
    fn heavy_ones_do_not_come_in_a_row() {
        assert_eq!(names(&Turns::new(&[5, 1, 1])), "abaacaa");
        assert_eq!(names(&Turns::new(&[1, 1, 1])), "abc");
        assert_eq!(names(&Turns::new(&[4, 2])), "aba");
        assert_eq!(names(&Turns::new(&[0, 3, 0])), "b");
        assert_eq!(names(&Turns::new(&[0, 0])), "ab");
        assert_eq!(names(&Turns::new(&[])), "");
        assert_eq!(Turns::new(&[]).get(0), 0);
    }

    proptest! {
        #[test]
        fn never_ahead_or_behind_by_more_than_one(weights in proptest::collection::vec(0u32..40, 1..20)) {
            let turns = Turns::new(&weights);
            let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            prop_assume!(sum > 0.0);
            let mut had = vec![0.0; weights.len()];
            for (number, member) in turns.0.iter().enumerate() {
                had[*member as usize] += 1.0;
                for (had, weight) in had.iter().zip(&weights) {
                    let due = (number + 1) as f64 * f64::from(*weight) / sum;
                    prop_assert!((had - due).abs() < 1.0 + 1e-9, "{} {} of {:?}", had, due, turns.0);
                }
            }
        }

        #[test]
        fn as_many_as_nginx_and_no_longer_in_a_row(weights in proptest::collection::vec(1u32..12, 1..8)) {
            let (turns, theirs) = (Turns::new(&weights), nginx(&weights));
            let divisor = weights.iter().fold(0, |a, b| gcd(a, u64::from(*b)));
            prop_assert_eq!(turns.len() as u64 * divisor, theirs.len() as u64);
            for member in 0..weights.len() as u32 {
                let count = |turns: &[u32]| turns.iter().filter(|next| **next == member).count() as u64;
                prop_assert_eq!(count(&turns.0) * divisor, count(&theirs));
            }
            prop_assert!(longest_run(&turns.0) <= longest_run(&theirs).max(2), "{:?} {:?}", turns.0, theirs);
        }

        #[test]
        fn heavy_weights_are_scaled(weights in proptest::collection::vec(any::<u32>(), 2..30)) {
            let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            let scaled = scaled(&weights);
            let all: u64 = scaled.iter().sum();
            prop_assert!(all <= (LEAST + weights.len()) as u64);
            for (scaled, weight) in scaled.iter().zip(&weights) {
                prop_assert_eq!(*scaled == 0, *weight == 0 && sum > 0.0);
                prop_assert!((*scaled as f64 / all as f64 - f64::from(*weight) / sum.max(1.0)).abs() < 1e-3);
            }
        }
    }
}
