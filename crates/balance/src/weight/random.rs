//! Any one, by weight.

use super::Alias;
use crate::pick::{Pick, View};
use towpath_core::Endpoint;

/// Takes any endpoint, each as likely as it weighs. Knows neither load nor failures.
///
/// The shares are exact to 1 / 2^32, however many endpoints there are, and a draw costs always the same. Those that take no
/// calls are drawn again, so the others keep their proportions.
#[derive(Clone, Copy, Debug, Default)]
pub struct WeightedRandom;

/// So many times is drawn before all are looked at.
const DRAWS: usize = 16;

impl Pick for WeightedRandom {
    type Table = Alias;

    fn table(&self, endpoints: &[&Endpoint]) -> Alias {
        Alias::new(&endpoints.iter().map(|endpoint| endpoint.weight()).collect::<Vec<_>>())
    }

    #[inline]
    fn pick(&self, table: &Alias, view: &View<'_>) -> Option<usize> {
        for _ in 0..DRAWS {
            let index = table.draw(fastrand::u64(..));
            if view.is_drawn(index) {
                return Some(index);
            }
        }
        view.any_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::rig::Rig;

    fn rig(weights: &[u32]) -> Rig<WeightedRandom> {
        fastrand::seed(1);
        Rig::new(WeightedRandom, weights.iter().map(|weight| Endpoint::new("a").with_weight(*weight)))
    }

    #[test]
    fn shares_are_those_of_the_weights() {
        let weights = [0, 1, 2, 5, 92];
        for (share, weight) in rig(&weights).shares(100_000).into_iter().zip(weights) {
            assert!(share.abs_diff(1_000 * weight as usize) < 300, "{share} for {weight}");
        }
    }

    #[test]
    fn the_others_keep_their_proportions() {
        let rig = rig(&[1, 2, 3, 4]);
        rig.set_ready(3, false);
        for (share, weight) in rig.shares(60_000).into_iter().zip([1, 2, 3, 0]) {
            assert!(share.abs_diff(10_000 * weight) < 400, "{share} for {weight}");
        }
        (0..3).for_each(|index| rig.set_ready(index, false));
        assert_eq!(rig.pick(), None);
    }

    #[test]
    fn the_only_one_is_found_however_light() {
        let rig = rig(&[u32::MAX, 1]);
        rig.set_ready(0, false);
        assert_eq!(rig.shares(100), [0, 100]);
        assert_eq!(Rig::of(WeightedRandom, 0).pick(), None);
    }
}
