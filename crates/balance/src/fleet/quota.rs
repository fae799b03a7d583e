//! How many endpoints may be out: a pure decision.

use crate::BalanceConfig;

/// The endpoints that are there to be called: not draining, not of weight 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Able {
    pub(crate) all: u32,
    /// Those whose health checks fail.
    pub(crate) unhealthy: u32,
    /// Those of the others whose breakers ask for their ejection.
    pub(crate) asking: u32,
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// How many of those that ask are ejected.
    pub(crate) ejected: u32,
    /// So few are well that all get calls, ejected and unhealthy ones too.
    pub(crate) panic: bool,
}

impl Able {
    pub(crate) fn quota(self, config: &BalanceConfig) -> Quota {
        let Able { all, unhealthy, asking } = self;
        let well = all.saturating_sub(unhealthy + asking);
        if all > 0 && f64::from(well) < config.panic_below * f64::from(all) {
            return Quota { ejected: 0, panic: true };
        }
        // At most `all`.
        let share = (config.max_ejected * f64::from(all)) as u32;
        let least = u32::from(all > 1 && config.max_ejected > 0.0);
        let most = share.max(least).saturating_sub(unhealthy);
        Quota { ejected: asking.min(most), panic: false }
    }
}

/// Whether an endpoint fails about as often as the others do, by the odds: at a third to three times theirs. Then it is
/// not the endpoint that is ill but what is called, or what they all call in turn, and nothing is gained without it. One
/// that asks for its ejection and fails far less often than the others is slow.
pub(crate) fn is_like(failures: f32, others: f32) -> bool {
    // Products, as the odds of a share of 1 are no number. A share is above 1 where its endpoint asked for quiet.
    let (failures, others) = (failures.min(1.0), others.min(1.0));
    let (here, there) = (failures * (1.0 - others), others * (1.0 - failures));
    failures > 0.0 && others > 0.0 && here <= 3.0 * there && there <= 3.0 * here
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BalanceOptions;
    use proptest::prelude::*;

    fn quota(all: u32, unhealthy: u32, asking: u32, max_ejected: f64, panic_below: f64) -> (u32, bool) {
        let options = BalanceOptions { max_ejected, panic_below, ..BalanceOptions::default() };
        let quota = Able { all, unhealthy, asking }.quota(&BalanceConfig::try_new(options).unwrap());
        (quota.ejected, quota.panic)
    }

    #[test]
    fn the_share_that_may_be_out() {
        assert_eq!(quota(10, 0, 3, 0.5, 0.5), (3, false));
        assert_eq!(quota(10, 0, 5, 0.5, 0.5), (5, false));
        assert_eq!(quota(10, 0, 6, 0.5, 0.5), (0, true), "too few are left");
        assert_eq!(quota(10, 0, 6, 0.5, 0.0), (5, false), "never panic");
        assert_eq!(quota(10, 3, 2, 0.5, 0.5), (2, false));
        assert_eq!(quota(10, 3, 2, 0.4, 0.5), (1, false), "those that are unhealthy are out too");
        assert_eq!(quota(10, 0, 3, 0.1, 0.5), (1, false));
        assert_eq!(quota(10, 0, 3, 0.01, 0.5), (1, false), "one may be");
        assert_eq!(quota(10, 0, 3, 0.0, 0.5), (0, false), "unless none may");
        assert_eq!(quota(2, 0, 1, 0.5, 0.5), (1, false));
        assert_eq!(quota(1, 0, 1, 0.5, 0.5), (0, true));
        assert_eq!(quota(1, 0, 1, 0.5, 0.0), (0, false));
        assert_eq!(quota(1, 0, 1, 1.0, 0.0), (1, false), "if so it is wanted");
        assert_eq!(quota(3, 0, 1, 0.3, 0.5), (1, false));
        assert_eq!(quota(0, 0, 0, 0.5, 0.5), (0, false));
    }

    #[test]
    fn who_fails_as_the_others_do() {
        for (failures, others, like) in [
            (1.0, 0.0, false),
            (0.14, 0.0, false),
            (0.14, 0.04, false),
            (0.5, 0.4, true),
            (0.6, 0.3, false),
            (0.23, 0.16, true),
            (1.0, 0.7, false),
            (1.0, 1.0, true),
            (4.0, 1.0, true),
            (0.0, 0.0, false),
            (0.0, 0.5, false),
            (0.1, 0.5, false),
        ] {
            assert_eq!(is_like(failures, others), like, "{failures} where the others have {others}");
        }
    }

    proptest! {
        #[test]
        fn somebody_is_always_left(all in 1u32..300, unhealthy in 0u32..300, asking in 0u32..300, max in 0.0..=1.0, panic in 0.01..=1.0) {
            let unhealthy = unhealthy.min(all);
            let asking = asking.min(all - unhealthy);
            let (ejected, panicking) = quota(all, unhealthy, asking, max, panic);
            prop_assert!(ejected <= asking);
            prop_assert!(panicking || unhealthy + ejected < all);
            prop_assert!(ejected == 0 || ejected + unhealthy <= 1.max((max * f64::from(all)) as u32));
        }
    }
}
