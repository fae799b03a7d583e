//! The one with the fewest calls.

use super::{Pick, View, view::scan};
use towpath_core::Endpoint;

/// Takes the endpoint with the fewest calls of this process under way, for its weight; of several any.
///
/// It looks at all endpoints: for up to some dozens. Beyond that [`PowerOfTwo`](crate::PowerOfTwo) is as good and
/// costs always the same. One that fails counts as a fuller one.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastRequest;

impl Pick for LeastRequest {
    type Table = ();

    fn table(&self, _endpoints: &[&Endpoint]) {}

    fn pick(&self, _table: &(), view: &View<'_>) -> Option<usize> {
        let most = (0..view.len()).map(|index| view.in_flight(index)).max()?;
        let mut best = None;
        for index in scan(view.len(), view.random(view.len())).filter(|index| view.is_drawn(*index)) {
            let crowd = view.crowd_beside(index, most) / view.weight(index).max(f32::MIN_POSITIVE);
            if best.is_none_or(|(_, least)| crowd < least) {
                best = Some((index, crowd));
            }
        }
        best.map(|(index, _)| index).or_else(|| view.any_ready())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::rig::Rig;

    #[test]
    fn the_emptiest_is_taken_for_its_weight() {
        fastrand::seed(1);
        let rig = Rig::of(LeastRequest, 4);
        for index in [0, 1, 1, 2] {
            assert!(rig.gauge(index).enter(0));
        }
        assert_eq!(rig.shares(100), [0, 0, 0, 100]);
        rig.set_ready(3, false);
        let shares = rig.shares(10_000);
        assert!(shares[0].abs_diff(5_000) < 300 && shares[0] + shares[2] == 10_000, "{shares:?}");
        let weighted = Rig::new(LeastRequest, [1, 4].map(|weight| Endpoint::new("a").with_weight(weight)));
        for index in [1, 1] {
            assert!(weighted.gauge(index).enter(0));
        }
        assert_eq!(weighted.pick(), Some(1), "3 of 4 is less than 1 of 1");
        assert_eq!(Rig::of(LeastRequest, 0).pick(), None);
    }
}
