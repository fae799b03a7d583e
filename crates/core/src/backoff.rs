//! How long to wait before the next try.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How the waits of many are kept from falling together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Anything from nothing to the whole wait: spreads best, the default.
    #[default]
    Full,
    /// Anything from half of the wait to the whole: never next to nothing.
    Equal,
    /// Anything from the base to `factor` times the wait before, which was drawn in the same way: grows
    /// unevenly, never below the base.
    Decorrelated,
}

/// Growing waits between tries: a validated value, shared by retry, reconnect and ejection.
///
/// The whole wait before try number *n* (from 0) is `base * factor^n`, at most `max`; the jitter then says
/// which part of it is waited.
///
/// In a file, times are whole milliseconds, and what is left out has its default (base 50 ms, max 10 s,
/// factor 2, full jitter):
///
/// ```
/// use std::time::Duration;
/// use towpath_core::{Backoff, Jitter};
/// let backoff: Backoff = serde_json::from_str(r#"{"base_ms": 100, "jitter": "equal"}"#)?;
/// assert_eq!(backoff, Backoff::try_new(Duration::from_millis(100), Duration::from_secs(10), 2.0, Jitter::Equal)?);
/// let mut rng = fastrand::Rng::with_seed(7);
/// let wait = backoff.delay(3, &mut rng);
/// assert!(wait >= Duration::from_millis(400) && wait <= Duration::from_millis(800));
/// assert!(serde_json::from_str::<Backoff>(r#"{"base_ms": 0}"#).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Backoff {
    base: Duration,
    max: Duration,
    factor: f64,
    jitter: Jitter,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    base_ms: u64,
    max_ms: u64,
    factor: f64,
    jitter: Jitter,
}

/// A backoff that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum InvalidBackoff {
    /// The base is under 1 ms.
    BaseTooShort(Duration),
    /// The longest wait is shorter than the base.
    MaxBelowBase(Duration),
    /// The longest wait is longer than [`Backoff::MAX`].
    MaxTooLong(Duration),
    /// The factor is not from 1 to 100.
    BadFactor(f64),
}

/// From here on a drawn chain of decorrelated waits looks the same however much longer it becomes.
const SETTLED: u32 = 64;

impl Backoff {
    /// The shortest base: 1 ms.
    pub const MIN: Duration = Duration::from_millis(1);

    /// The longest wait: a day.
    pub const MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// Checks a backoff.
    ///
    /// # Errors
    /// If the base is under 1 ms, `max` is not from the base to a day, or the factor is not from 1 to 100.
    pub fn try_new(
        base: Duration,
        max: Duration,
        factor: f64,
        jitter: Jitter,
    ) -> Result<Self, InvalidBackoff> {
        if base < Self::MIN {
            return Err(InvalidBackoff::BaseTooShort(base));
        }
        if max < base {
            return Err(InvalidBackoff::MaxBelowBase(max));
        }
        if max > Self::MAX {
            return Err(InvalidBackoff::MaxTooLong(max));
        }
        if !(1.0..=100.0).contains(&factor) {
            return Err(InvalidBackoff::BadFactor(factor));
        }
        Ok(Backoff { base, max, factor, jitter })
    }

    /// The whole wait before the first try.
    pub const fn base(&self) -> Duration {
        self.base
    }

    /// The longest wait.
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// By how much the wait grows from try to try.
    pub const fn factor(&self) -> f64 {
        self.factor
    }

    /// Which part of the wait is waited.
    pub const fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// The wait before try number `attempt`, from 0, drawn from `rng`.
    pub fn delay(&self, attempt: u32, rng: &mut Rng) -> Duration {
        match self.jitter {
            Jitter::Full => part(self.whole(attempt), 0.0, rng),
            Jitter::Equal => part(self.whole(attempt), 0.5, rng),
            Jitter::Decorrelated => {
                // Drawn anew from the beginning, so that nobody has to keep the wait before.
                let base = self.base.as_secs_f64();
                let mut wait = base;
                for _ in 0..=attempt.min(SETTLED) {
                    let span = (wait * self.factor - base).max(0.0);
                    wait = (base + span * rng.f64()).min(self.max.as_secs_f64());
                }
                Duration::from_secs_f64(wait).clamp(self.base, self.max)
            }
        }
    }

    /// The wait before jitter.
    fn whole(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
        let whole = self.base.as_secs_f64() * self.factor.powi(exponent);
        if whole < self.max.as_secs_f64() { Duration::from_secs_f64(whole) } else { self.max }
    }
}

/// From `least` of the whole to the whole.
fn part(whole: Duration, least: f64, rng: &mut Rng) -> Duration {
    whole.mul_f64(least + (1.0 - least) * rng.f64())
}

impl Default for Backoff {
    /// 50 ms, doubling up to 10 s, with full jitter.
    fn default() -> Self {
        Backoff {
            base: Duration::from_millis(50),
            max: Duration::from_secs(10),
            factor: 2.0,
            jitter: Jitter::Full,
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        Backoff::default().into()
    }
}

impl TryFrom<Raw> for Backoff {
    type Error = InvalidBackoff;

    fn try_from(raw: Raw) -> Result<Self, InvalidBackoff> {
        let (base, max) = (Duration::from_millis(raw.base_ms), Duration::from_millis(raw.max_ms));
        Backoff::try_new(base, max, raw.factor, raw.jitter)
    }
}

impl From<Backoff> for Raw {
    fn from(backoff: Backoff) -> Self {
        // At most a day, as checked when it was made.
        let ms = |time: Duration| time.as_millis() as u64;
        Raw {
            base_ms: ms(backoff.base),
            max_ms: ms(backoff.max),
            factor: backoff.factor,
            jitter: backoff.jitter,
        }
    }
}

impl fmt::Display for InvalidBackoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidBackoff::BaseTooShort(base) => {
                write!(f, "a base of {base:?} is too short: at least 1 ms")
            }
            InvalidBackoff::MaxBelowBase(max) => {
                write!(f, "a longest wait of {max:?} is shorter than the base")
            }
            InvalidBackoff::MaxTooLong(max) => {
                write!(f, "a longest wait of {max:?} is too long: at most a day")
            }
            InvalidBackoff::BadFactor(factor) => write!(f, "a factor of {factor} is not from 1 to 100"),
        }
    }
}

impl std::error::Error for InvalidBackoff {}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn nonsense_is_refused() {
        let new = |base, max, factor| Backoff::try_new(base, max, factor, Jitter::Full);
        assert!(new(ms(1), ms(1), 1.0).is_ok() && new(ms(1), Backoff::MAX, 100.0).is_ok());
        let short = Duration::from_micros(999);
        assert_eq!(new(short, ms(5), 2.0), Err(InvalidBackoff::BaseTooShort(short)));
        assert_eq!(new(ms(5), ms(4), 2.0), Err(InvalidBackoff::MaxBelowBase(ms(4))));
        let long = Backoff::MAX + ms(1);
        assert_eq!(new(ms(5), long, 2.0), Err(InvalidBackoff::MaxTooLong(long)));
        for factor in [0.99, 100.1, f64::INFINITY, -1.0] {
            assert_eq!(new(ms(5), ms(9), factor), Err(InvalidBackoff::BadFactor(factor)));
        }
        assert!(new(ms(5), ms(9), f64::NAN).is_err());
    }

    #[test]
    fn full_jitter_uses_the_whole_range() {
        let backoff = Backoff::try_new(ms(100), ms(10_000), 2.0, Jitter::Full).unwrap();
        let mut rng = Rng::with_seed(1);
        let mut tenths = [0u32; 10];
        for _ in 0..10_000 {
            let wait = backoff.delay(3, &mut rng);
            tenths[(wait.as_micros() / 80_000) as usize] += 1;
        }
        assert!(tenths.iter().all(|n| (800..1_200).contains(n)), "{tenths:?}");
    }

    #[test]
    fn decorrelated_waits_grow() {
        let backoff = Backoff::try_new(ms(10), ms(60_000), 3.0, Jitter::Decorrelated).unwrap();
        let mut rng = Rng::with_seed(1);
        let mut mean = |attempt| {
            let total: Duration = (0..2_000).map(|_| backoff.delay(attempt, &mut rng)).sum();
            total / 2_000
        };
        let means = [mean(0), mean(3), mean(6)];
        assert!(means[0] * 3 < means[1] * 2 && means[1] * 3 < means[2] * 2, "{means:?}");
    }

    #[test]
    fn the_form_in_a_file() {
        assert_eq!(serde_json::from_str::<Backoff>("{}").unwrap(), Backoff::default());
        let text = serde_json::to_string(&Backoff::default()).unwrap();
        assert_eq!(text, r#"{"base_ms":50,"max_ms":10000,"factor":2.0,"jitter":"full"}"#);
        let refused = |text| serde_json::from_str::<Backoff>(text).unwrap_err().to_string();
        assert!(refused(r#"{"factor":0.5}"#).contains("not from 1 to 100"));
        assert!(refused(r#"{"retries":3}"#).contains("unknown field"));
    }

    proptest! {
        #[test]
        fn waits_keep_their_bounds(
            base in 1u64..5_000,
            more in 0u64..100_000,
            factor in 1.0f64..=100.0,
            attempt: u32,
            early in 0u32..12,
            seed: u64,
        ) {
            let (base, max) = (ms(base), ms(base + more));
            for attempt in [attempt, early] {
                let whole = base.as_secs_f64() * factor.powf(f64::from(attempt));
                let whole = whole.min(max.as_secs_f64());
                for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
                    let backoff = Backoff::try_new(base, max, factor, jitter).unwrap();
                    let wait = backoff.delay(attempt, &mut Rng::with_seed(seed));
                    prop_assert_eq!(wait, backoff.delay(attempt, &mut Rng::with_seed(seed)));
                    prop_assert!(wait <= max);
                    let seconds = wait.as_secs_f64();
                    match jitter {
                        Jitter::Full => prop_assert!(seconds <= whole * 1.000_001),
                        Jitter::Equal => {
                            let range = whole * 0.499_999..=whole * 1.000_001;
                            prop_assert!(range.contains(&seconds))
                        }
                        Jitter::Decorrelated => {
                            let most = base.as_secs_f64() * factor.powf(f64::from(attempt) + 1.0);
                            prop_assert!(wait >= base && seconds <= most * 1.000_001)
                        }
                    }
                }
            }
        }

        #[test]
        fn what_is_written_is_read(base in 1u64..5_000, more in 0u64..100_000, factor in 1.0f64..=100.0) {
            let backoff = Backoff::try_new(ms(base), ms(base + more), factor, Jitter::Equal).unwrap();
            let text = serde_json::to_string(&backoff).unwrap();
            let read: Backoff = serde_json::from_str(&text).unwrap();
            // serde_json may be off by the last bit of a float.
            prop_assert!((read.factor() - factor).abs() < 1e-9);
            prop_assert_eq!((read.base(), read.max(), read.jitter()), (backoff.base(), backoff.max(), Jitter::Equal));
        }
    }
}
