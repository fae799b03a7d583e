//! How long an endpoint takes, and how often it fails: two averages, each with the time when it was last renewed in
//! one word. Pure functions from a word and what was observed to the next word.
//!
//! Latency is Finagle's peak EWMA: a longer answer is believed at once, shorter ones by and by, with a time constant.
//! It is read as falling back to what is usual in the whole fleet, so that an endpoint that was slow and gets no calls
//! is tried again. The share of failures is an average of its own, read as falling to nothing.
//!
//! Time is in ticks of 2^20 ns (about 1 ms) since the fleet was made. Answers of the same tick as the one before
//! change nothing unless they are slower: so a word is written a thousand times a second at most, however
//! many calls there are, and what is counted is a sample of them. It wraps after 52 days.

/// Half a word: when it was renewed.
pub(crate) type Tick = u32;

/// What one failure counts at least, whatever the time constant: the 64th part.
const LEAST_WEIGHT: f32 = 1.0 / 64.0;
/// What the first call of all counts, if it is a failure.
const FIRST_WEIGHT: f32 = 1.0 / 8.0;
/// A smaller share of failures is none.
const NEGLIGIBLE: f32 = 1.0 / 4096.0;

#[inline]
pub(crate) fn pack(value: f32, at: Tick) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(at)
}

#[inline]
pub(crate) fn unpack(word: u64) -> (f32, Tick) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

/// From then to now; a reading that is older than the word is no time.
#[inline]
pub(crate) fn since(then: Tick, now: Tick) -> u32 {
    let ticks = now.wrapping_sub(then);
    if ticks > u32::MAX / 2 { 0 } else { ticks }
}

/// What is left of a value after so many time constants.
#[inline]
pub(crate) fn fade(constants: f32) -> f32 {
    (-constants).exp()
}

/// An answer took so many nanoseconds. `None`: nothing changes.
#[inline]
pub(crate) fn observe_latency(word: u64, nanos: f32, now: Tick, per_tick: f32) -> Option<u64> {
    if word == 0 {
        return Some(pack(nanos, now));
    }
    let (value, at) = unpack(word);
    if nanos > value {
        return Some(pack(nanos, now));
    }
    match since(at, now) {
        0 => None,
        ticks => Some(pack(nanos + (value - nanos) * fade(ticks as f32 * per_tick), now)),
    }
}

/// The latency as it is believed now, given what is usual.
#[inline]
pub(crate) fn latency(word: u64, usual: f32, now: Tick, per_tick: f32) -> f32 {
    if word == 0 {
        return usual;
    }
    let (value, at) = unpack(word);
    let ticks = since(at, now);
    if value <= usual || ticks == 0 {
        return value;
    }
    usual + (value - usual) * fade(ticks as f32 * per_tick)
}

/// What is usual: an average of the fleet's answers, of one of them in each tick.
#[inline]
pub(crate) fn observe_usual(word: u64, nanos: f32, now: Tick, per_tick: f32) -> Option<u64> {
    if word == 0 {
        return Some(pack(nanos, now));
    }
    let (value, at) = unpack(word);
    match since(at, now) {
        0 => None,
        ticks => Some(pack(nanos + (value - nanos) * fade(ticks as f32 * per_tick), now)),
    }
}

/// A call ended well or badly, the last good one at `before`. `None`: nothing changes.
///
/// The weight of a call is what the time since the call before says, and a 64th at least: at low rates one failure
/// counts for much, at high rates a few among many count for little.
pub(crate) fn observe_end(
    word: u64,
    failed: bool,
    before: Option<Tick>,
    now: Tick,
    per_tick: f32,
) -> Option<u64> {
    if word == 0 && !failed {
        return None;
    }
    let (value, at) = unpack(word);
    let last = (word != 0).then_some(at).into_iter().chain(before).map(|at| since(at, now)).min();
    let weight = match last {
        Some(ticks) => LEAST_WEIGHT.max(1.0 - fade(ticks as f32 * per_tick)),
        None => FIRST_WEIGHT,
    };
    if failed {
        return Some(pack(value.max(value + (1.0 - value) * weight), now));
    }
    // A good answer is worth more than what was asked for after a bad one.
    let value = value.min(1.0) * (1.0 - weight);
    Some(if value < NEGLIGIBLE { 0 } else { pack(value, now) })
}

/// It asked for so many ticks without calls. The share is raised so far that it is a half again when they are over
/// (as linkerd's load biaser has it).
pub(crate) fn observe_plea(word: u64, ticks: u32, now: Tick, per_tick: f32) -> u64 {
    // More than this would be no number.
    let constants = (ticks as f32 * per_tick).min(80.0);
    let share = 0.5 * constants.exp();
    pack(share.max(failures(word, now, per_tick)), now)
}

/// The share of failures as it is believed now.
#[inline]
pub(crate) fn failures(word: u64, now: Tick, per_tick: f32) -> f32 {
    if word == 0 {
        return 0.0;
    }
    let (value, at) = unpack(word);
    value * fade(since(at, now) as f32 * per_tick)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A time constant of 5 s, about.
    const PER_TICK: f32 = 1.0 / 5_000.0;

    #[test]
    fn a_slow_answer_is_believed_at_once_and_forgotten_by_and_by() {
        let fast = observe_latency(0, 1e6, 1, PER_TICK).unwrap();
        let slow = observe_latency(fast, 1e9, 1, PER_TICK).unwrap();
        assert_eq!(unpack(slow).0, 1e9);
        assert_eq!(observe_latency(slow, 1e6, 1, PER_TICK), None, "the same tick");
        let (after, _) = unpack(observe_latency(slow, 1e6, 5_001, PER_TICK).unwrap());
        assert!((after / 1e9 - 0.368).abs() < 0.01, "{after}");
        // Nobody calls it: what is usual is expected of it, in the end.
        assert!((latency(slow, 1e6, 5_001, PER_TICK) / 1e9 - 0.368).abs() < 0.01);
        assert!(latency(slow, 1e6, 60_000, PER_TICK) < 1.01e6);
        assert_eq!(latency(fast, 1e7, 60_000, PER_TICK), 1e6, "what is better than usual stays");
        assert_eq!(latency(0, 3e6, 9, PER_TICK), 3e6);
    }

    #[test]
    fn failures_count_by_rate_and_are_forgotten() {
        // One among many.
        let one = observe_end(0, true, Some(1_000), 1_000, PER_TICK).unwrap();
        assert_eq!(unpack(one).0, 1.0 / 64.0);
        // One of one in a minute.
        let rare = observe_end(0, true, Some(0), 60_000, PER_TICK).unwrap();
        assert!(unpack(rare).0 > 0.99);
        // The very first.
        assert_eq!(unpack(observe_end(0, true, None, 60_000, PER_TICK).unwrap()).0, 1.0 / 8.0);
        let mut word = 0;
        for _ in 0..300 {
            word = observe_end(word, true, Some(7), 7, PER_TICK).unwrap();
        }
        assert!(failures(word, 7, PER_TICK) > 0.99);
        assert!(failures(word, 23_007, PER_TICK) < 0.011);
        for _ in 0..1_000 {
            word = match observe_end(word, false, Some(7), 7, PER_TICK) {
                Some(word) => word,
                None => break,
            };
        }
        assert_eq!(word, 0, "in the end it is healthy");
        assert_eq!(observe_end(0, false, Some(0), 1_000, PER_TICK), None);
    }

    #[test]
    fn who_asks_to_be_left_alone_is() {
        let word = observe_plea(0, 10_000, 100, PER_TICK);
        assert!((failures(word, 10_100, PER_TICK) - 0.5).abs() < 0.01);
        assert!(failures(word, 100, PER_TICK) > 3.0);
        let long = observe_plea(0, u32::MAX, 100, 1.0);
        assert!(unpack(long).0.is_finite());
        // A good answer meanwhile: no more than one that has failed throughout.
        let (after, _) = unpack(observe_end(long, false, Some(100), 100, PER_TICK).unwrap());
        assert!(after < 1.0);
    }

    proptest! {
        #[test]
        fn averages_stay_between_what_was_observed(
            observed in proptest::collection::vec((1.0f32..1e12, 0u32..100_000, any::<bool>()), 1..60),
            start: u32,
        ) {
            let (mut word, mut usual, mut ails, mut now) = (0, 0, 0, start);
            let (mut least, mut most) = (f32::MAX, 0f32);
            for (nanos, wait, failed) in observed {
                let before = now;
                now = now.wrapping_add(wait);
                (least, most) = (least.min(nanos), most.max(nanos));
                word = observe_latency(word, nanos, now, PER_TICK).unwrap_or(word);
                usual = observe_usual(usual, nanos, now, PER_TICK).unwrap_or(usual);
                ails = observe_end(ails, failed, Some(before), now, PER_TICK).unwrap_or(ails);
                let usual = unpack(usual).0;
                let within = least * 0.999..=most * 1.001;
                prop_assert!(within.contains(&usual) && within.contains(&unpack(word).0));
                prop_assert!(within.contains(&latency(word, usual, now.wrapping_add(77), PER_TICK)));
                let share = failures(ails, now, PER_TICK);
                prop_assert!((0.0..=1.0).contains(&share), "{}", share);
                prop_assert!(!failed || share >= LEAST_WEIGHT);
            }
        }
    }
}
