//! The better one of two.

use super::{Pick, View, view::scan};
use crate::{gauge::Gauge, weight::Alias};
use towpath_core::Endpoint;

/// Draws two endpoints at random and takes the one with the lesser load: nearly as good as the least of all, and it
/// always costs the same (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing").
///
/// The load is what a call has to expect there:
///
/// - the latency: a peak EWMA as Finagle has it, which believes a slow answer at once and forgets it by and by; of an
///   endpoint that is not called, and of one that is new, it is (in the end) what is usual in the fleet;
/// - times the calls of this process that are under way there, or those that the endpoint
///   [reports](towpath_core::LoadReport), if these are more;
/// - times what failures make of it: where all calls fail, as if they took 100 times as long (configured). So an
///   endpoint that fails quickly attracts nothing, and one that asked for a pause (`retry_after`) has it.
///
/// If even the better one is far worse than usual (8 times the latency, or nearly every tenth call fails), two others are
/// drawn, a few times: with a third of the endpoints dead, each ninth call would otherwise find two that are.
///
/// [`in_flight`](Self::in_flight) leaves the latency out. Where weights differ, endpoints are drawn by weight and
/// fullness is measured by it.
#[derive(Clone, Copy, Debug, Default)]
pub struct PowerOfTwo {
    in_flight_only: bool,
}

/// What is drawn from when weights differ.
#[derive(Debug)]
pub struct Weights {
    alias: Alias,
    mean: f32,
}

/// So many times two are drawn before all are looked at.
const DRAWS: usize = 8;
/// So many times two others are drawn, if the better one is far worse than usual.
const AGAIN: usize = 4;

impl PowerOfTwo {
    /// By latency, calls under way and failures.
    pub fn new() -> Self {
        PowerOfTwo::default()
    }

    /// By calls under way and failures, whatever the latency is.
    pub fn in_flight() -> Self {
        PowerOfTwo { in_flight_only: true }
    }

    /// Whether the second one is better.
    #[inline]
    fn prefers(&self, table: &Option<Weights>, view: &View<'_>, a: &Gauge, b: &Gauge) -> bool {
        let (calls_a, calls_b) = (a.in_flight(), b.in_flight());
        let (mut load_a, mut load_b) = match self.in_flight_only {
            true => (view.crowd_of(a, calls_a, calls_b), view.crowd_of(b, calls_b, calls_a)),
            false => (view.load_of(a, calls_a, calls_b), view.load_of(b, calls_b, calls_a)),
        };
        if let Some(weights) = table {
            load_a *= weights.fullness(a.weight(), calls_a);
            load_b *= weights.fullness(b.weight(), calls_b);
        }
        load_b < load_a
    }

    fn better(&self, table: &Option<Weights>, view: &View<'_>, a: usize, b: usize) -> usize {
        match (view.gauge(a), view.gauge(b)) {
            (Some(first), Some(second)) if self.prefers(table, view, first, second) => b,
            (None, _) => b,
            _ => a,
        }
    }

    /// Two others, since the better one of the first two is far worse than usual.
    #[cold]
    #[inline(never)]
    fn again(&self, table: &Option<Weights>, view: &View<'_>, first: usize) -> usize {
        let mut others = (0..AGAIN).filter_map(|_| self.search(table, view));
        others.find(|index| !self.is_poor(view, *index)).unwrap_or(first)
    }

    #[inline]
    fn is_poor(&self, view: &View<'_>, index: usize) -> bool {
        view.is_poor(index, !self.in_flight_only)
    }

    /// Two that are ready are not found at the first draw.
    #[cold]
    #[inline(never)]
    fn search(&self, table: &Option<Weights>, view: &View<'_>) -> Option<usize> {
        let len = view.len();
        let mut first = None;
        for _ in 0..2 * DRAWS {
            let index = Weights::draw(table, view);
            match first {
                _ if !view.is_drawn(index) => {}
                None => first = Some(index),
                Some(first) if first != index => return Some(self.better(table, view, first, index)),
                // Where it weighs so much that it comes twice.
                Some(first) if table.is_some() => return Some(first),
                Some(_) => {}
            }
        }
        let mut ready = scan(len, view.random(len)).filter(|index| view.is_ready(*index));
        let a = first.or_else(|| ready.next())?;
        Some(match ready.find(|b| *b != a) {
            Some(b) => self.better(table, view, a, b),
            None => a,
        })
    }
}

impl Weights {
    fn new(endpoints: &[&Endpoint]) -> Option<Self> {
        let first = endpoints.first()?.weight();
        if endpoints.iter().all(|endpoint| endpoint.weight() == first) {
            return None;
        }
        let weights: Vec<_> = endpoints.iter().map(|endpoint| endpoint.weight()).collect();
        let sum: f32 = weights.iter().map(|weight| *weight as f32).sum();
        Some(Weights { alias: Alias::new(&weights), mean: sum / endpoints.len() as f32 })
    }

    fn draw(table: &Option<Weights>, view: &View<'_>) -> usize {
        match table {
            Some(weights) => weights.alias.draw(fastrand::u64(..)),
            None => view.random(view.len()),
        }
    }

    /// How much fuller it is than calls alone say: one that weighs little is full with few calls. An idle one is as
    /// good as any: it is drawn as often as it weighs.
    fn fullness(&self, weight: f32, calls: u32) -> f32 {
        let calls = calls as f32;
        (1.0 + calls * self.mean / weight.max(f32::MIN_POSITIVE)) / (1.0 + calls)
    }
}

impl Pick for PowerOfTwo {
    type Table = Option<Weights>;

    fn table(&self, endpoints: &[&Endpoint]) -> Option<Weights> {
        Weights::new(endpoints)
    }

    #[inline]
    fn pick(&self, table: &Option<Weights>, view: &View<'_>) -> Option<usize> {
        let len = view.len();
        if len < 2 {
            return (len == 1 && view.is_ready(0)).then_some(0);
        }
        let (a, b) = match table {
            None => {
                let drawn = fastrand::u64(..);
                let a = below(drawn as u32, len);
                let b = below((drawn >> 32) as u32, len - 1);
                (a, b + usize::from(b >= a))
            }
            Some(weights) => (weights.alias.draw(fastrand::u64(..)), weights.alias.draw(fastrand::u64(..))),
        };
        let found = match (view.gauge(a), view.gauge(b)) {
            (Some(first), Some(second)) if view.draws(first) && view.draws(second) => {
                if self.prefers(table, view, first, second) { b } else { a }
            }
            _ => self.search(table, view)?,
        };
        Some(if self.is_poor(view, found) { self.again(table, view, found) } else { found })
    }
}

/// Of 32 random bits, a number below `end`. (The bias is that of 2^32 to the number of endpoints.)
#[inline]
fn below(bits: u32, end: usize) -> usize {
    ((u64::from(bits) * end as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::rig::Rig;

    #[test]
    fn idle_endpoints_get_the_same() {
        fastrand::seed(1);
        let shares = Rig::of(PowerOfTwo::new(), 10).shares(100_000);
        assert!(shares.iter().all(|share| (9_600..10_400).contains(share)), "{shares:?}");
        assert_eq!(Rig::of(PowerOfTwo::new(), 1).pick(), Some(0));
        assert_eq!(Rig::of(PowerOfTwo::new(), 0).pick(), None);
    }

    #[test]
    fn shares_are_those_of_the_weights() {
        fastrand::seed(1);
        let weights = [0, 1, 2, 5, 92];
        let endpoints = weights.map(|weight| Endpoint::new("a").with_weight(weight));
        let rig = Rig::new(PowerOfTwo::new(), endpoints);
        rig.set_ready(0, false);
        for (share, weight) in rig.shares(100_000).into_iter().zip(weights) {
            assert!(share.abs_diff(1_000 * weight as usize) < 300, "{share} for {weight}");
        }
    }

    #[test]
    fn the_slower_the_fuller_and_the_failing_get_less() {
        fastrand::seed(1);
        let rig = Rig::of(PowerOfTwo::new(), 4);
        rig.gauge(0).took(1e9, 1, rig.tuning.per_tick);
        for _ in 0..9 {
            assert!(rig.gauge(1).enter(0));
        }
        rig.gauge(2).took(1e6, 1, rig.tuning.per_tick);
        rig.gauge(2).ended(true, 1, rig.tuning.per_tick);
        // Drawn with the best, they lose; of each other the fuller one is better than the slow one, the one that failed
        // once is better than both.
        let shares = rig.shares(60_000);
        let expected = [0, 10_000, 20_000, 30_000];
        let near = |(share, expected): (usize, usize)| share.abs_diff(expected) < 800;
        assert!(shares.iter().copied().zip(expected).all(near), "{shares:?}");
    }

    /// A full fleet, and one that fails at once: it is as full as the others would be.
    #[test]
    fn who_fails_at_once_is_not_empty() {
        fastrand::seed(1);
        let rig = Rig::of(PowerOfTwo::new(), 2);
        for _ in 0..1_000 {
            assert!(rig.gauge(0).enter(0));
            rig.gauge(1).ended(true, 1, rig.tuning.per_tick);
        }
        assert_eq!(rig.shares(1_000), [1_000, 0]);
        let in_flight = Rig::of(PowerOfTwo::in_flight(), 2);
        in_flight.gauge(0).took(1e9, 1, rig.tuning.per_tick);
        assert_eq!(in_flight.gauge(0).in_flight(), 0);
        let shares = in_flight.shares(10_000);
        assert!(shares[0].abs_diff(5_000) < 300, "latency does not matter: {shares:?}");
    }

    /// Of 12, 4 are dead: each ninth pair is.
    #[test]
    fn where_two_are_bad_others_are_drawn() {
        fastrand::seed(1);
        for picker in [PowerOfTwo::new(), PowerOfTwo::in_flight()] {
            let rig = Rig::of(picker, 12);
            for index in 0..4 {
                rig.gauge(index).took(1e9, 1, rig.tuning.per_tick);
                (0..100).for_each(|_| rig.gauge(index).ended(true, 1, rig.tuning.per_tick));
            }
            let bad: usize = rig.shares(100_000)[..4].iter().sum();
            assert!(bad < 20, "{bad}");
            (4..12).for_each(|index| rig.set_ready(index, false));
            assert_eq!(
                rig.shares(1_000).iter().sum::<usize>(),
                1_000,
                "if there are no others, they are picked"
            );
        }
    }

    #[test]
    fn few_that_are_ready_are_found_among_many() {
        let rig = Rig::of(PowerOfTwo::new(), 10_000);
        (0..10_000).for_each(|index| rig.set_ready(index, index == 77 || index == 5_000));
        let shares = rig.shares(1_000);
        assert!(shares[77] > 300 && shares[77] + shares[5_000] == 1_000);
        rig.set_ready(77, false);
        rig.set_ready(5_000, false);
        assert_eq!(rig.pick(), None);
    }

    #[test]
    fn who_was_tried_is_not_picked() {
        let mut rig = Rig::of(PowerOfTwo::new(), 3);
        rig.context.add_tried(rig.endpoint(1).id());
        rig.passed.push(rig.endpoint(2).id());
        assert_eq!(rig.shares(100), [100, 0, 0]);
    }
}
