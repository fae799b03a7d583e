//! Which calls are recorded.

use crate::TraceConfig;
use std::time::Duration;
use tokio::time::Instant;
use towpath_core::context::TraceId;

/// What a call has to know of the config, worked out when it changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    sampler: Sampler,
    pub(crate) trusts: bool,
    pub(crate) keep: Keep,
}

/// Which of the calls that are not sampled are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) failures: bool,
    pub(crate) faults: bool,
    pub(crate) slow: Option<Duration>,
}

/// Decides by the trace id alone, so that all who are asked about a trace with the same share agree: by the upper 63
/// of its last 64 bits, as the samplers of OpenTelemetry's SDKs for Rust and Go do.
#[derive(Clone, Copy, Debug)]
struct Sampler {
    /// Ids below it are sampled; they have 63 bits.
    below: u64,
}

impl Settings {
    pub(crate) fn new(config: &TraceConfig, listens: bool) -> Self {
        let keeps = listens && config.keep_per_second > 0;
        Settings {
            sampler: Sampler::new(config.sample),
            trusts: config.trust_callers,
            keep: Keep {
                failures: keeps && config.keep_failures,
                faults: keeps && config.keep_failures && config.keep_faults,
                slow: config.keep_slow.filter(|_| keeps),
            },
        }
    }

    /// Whether a trace that begins here is sampled.
    #[inline]
    pub(crate) fn samples(&self, id: TraceId) -> bool {
        self.sampler.samples(id)
    }
}

impl Keep {
    /// Whether there is anything to look for in a call that is not sampled.
    #[inline]
    pub(crate) fn any(self) -> bool {
        self.failures || self.slow.is_some()
    }
}

impl Sampler {
    fn new(share: f64) -> Self {
        let all = (1u64 << 63) as f64;
        // 2^63 itself for a share of 1, and nothing is above it.
        Sampler { below: (share * all) as u64 }
    }

    #[inline]
    fn samples(self, id: TraceId) -> bool {
        (id.0 as u64) >> 1 < self.below
    }
}

/// So many a second, in bursts of as many (GCRA: the cell rate algorithm of ATM, ITU-T I.371).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limiter {
    /// When a full burst would be there again.
    full: Option<Instant>,
}

impl Limiter {
    pub(crate) fn allows(&mut self, per_second: u32, now: Instant) -> bool {
        let second = Duration::from_secs(1);
        let Some(each) = second.checked_div(per_second) else { return false };
        let full = self.full.map_or(now, |full| full.max(now)) + each;
        let allowed = full.saturating_duration_since(now) <= second;
        if allowed {
            self.full = Some(full);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Ids;
    use proptest::prelude::*;

    #[test]
    fn the_share_is_what_was_asked_for() {
        let mut ids = Ids::new();
        for share in [0.0, 0.01, 0.25, 1.0] {
            let sampler = Sampler::new(share);
            let sampled = (0..100_000).filter(|_| sampler.samples(ids.trace_id())).count() as f64 / 1e5;
            // Ten standard deviations.
            assert!(
                (sampled - share).abs() <= 10.0 * (share * (1.0 - share) / 1e5).sqrt(),
                "{share}: {sampled}"
            );
        }
        let ends = [TraceId(u128::MAX), TraceId(1)];
        assert!(ends.iter().all(|id| Sampler::new(1.0).samples(*id) && !Sampler::new(0.0).samples(*id)));
    }

    #[test]
    fn nothing_is_looked_for_if_nobody_listens() {
        let config = TraceConfig::default();
        assert!(Settings::new(&config, true).keep.any() && !Settings::new(&config, false).keep.any());
        let none = crate::TraceOptions { keep_per_second: 0, ..config.options() };
        assert!(!Settings::new(&TraceConfig::try_new(none).unwrap(), true).keep.any());
    }

    proptest! {
        /// Of who asks for less, all are sampled by who asks for more.
        #[test]
        fn a_larger_share_holds_a_smaller_one(id: u128, a in 0.0..1.0f64, b in 0.0..1.0f64) {
            let (less, more) = (Sampler::new(a.min(b)), Sampler::new(a.max(b)));
            prop_assert!(!less.samples(TraceId(id)) || more.samples(TraceId(id)));
        }

        /// Against counting: in any second no more than a burst and what it gained meanwhile.
        #[test]
        fn no_more_than_so_many(per_second in 0u32..20, gaps in proptest::collection::vec(0u64..300, 1..200)) {
            let start = Instant::now();
            let (mut limiter, mut now, mut allowed) = (Limiter::default(), start, Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                if limiter.allows(per_second, now) {
                    allowed.push(now);
                }
            }
            for (i, from) in allowed.iter().enumerate() {
                for (j, to) in allowed.iter().enumerate().skip(i) {
                    let most = f64::from(per_second) * (1.0 + (*to - *from).as_secs_f64());
                    prop_assert!((j - i + 1) as f64 <= most + 1e-6);
                }
            }
            prop_assert_eq!(limiter.allows(per_second, now + Duration::from_secs(2)), per_second > 0);
        }
    }
}
