//! How many calls in how long: a validated value.

use super::gcra::Gcra;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How many calls there may be in how long, how many at once, and what becomes of the others.
///
/// ```
/// use std::time::Duration;
/// use towpath_limit::RateConfig;
///
/// let config: RateConfig = serde_json::from_str(r#"{"calls": 100, "per_ms": 1000, "burst": 20}"#)?;
/// assert_eq!(config, RateConfig::try_new(100, Duration::from_secs(1))?.with_burst(20)?);
/// let refused = serde_json::from_str::<RateConfig>(r#"{"calls": 0, "per_ms": 1000}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("calls: 0 is not from 1 to"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct RateConfig {
    calls: u32,
    per: Duration,
    burst: u32,
    max_wait: Duration,
    max_keys: u32,
    gcra: Gcra,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    calls: u32,
    per_ms: u64,
    #[serde(default)]
    burst: Option<u32>,
    #[serde(default)]
    max_wait_ms: u64,
    #[serde(default = "default_keys")]
    max_keys: u32,
}

fn default_keys() -> u32 {
    RateConfig::DEFAULT_KEYS
}

/// A rate that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRate {
    /// The number of calls is not from 1 to [`RateConfig::MAX_CALLS`].
    BadCalls(u32),
    /// The time is under 1 ms or above [`RateConfig::MAX_PER`].
    BadPer(Duration),
    /// The burst is not from 1 to [`RateConfig::MAX_CALLS`].
    BadBurst(u32),
    /// The longest wait is above [`RateConfig::MAX_WAIT`].
    BadWait(Duration),
    /// The number of keys is not from 1 to [`RateConfig::MAX_KEYS`].
    BadKeys(u32),
}

impl RateConfig {
    /// The most calls, and the largest burst: a million.
    pub const MAX_CALLS: u32 = 1_000_000;

    /// The longest time in which calls are counted: a day.
    pub const MAX_PER: Duration = Duration::from_secs(86_400);

    /// The longest wait: an hour.
    pub const MAX_WAIT: Duration = Duration::from_secs(3_600);

    /// The most keys: a million (16 bytes each, and as much again for room in the table).
    pub const MAX_KEYS: u32 = 1_000_000;

    /// How many keys are told apart unless said otherwise: 10 000.
    pub const DEFAULT_KEYS: u32 = 10_000;

    /// Checks a rate: so many calls in so much time, evenly; a burst of as many as come in a tenth of a second, but at
    /// least one. Calls above the rate are refused at once.
    ///
    /// # Errors
    /// If `calls` is not from 1 to [`MAX_CALLS`](Self::MAX_CALLS), or `per` not from 1 ms to
    /// [`MAX_PER`](Self::MAX_PER).
    pub fn try_new(calls: u32, per: Duration) -> Result<Self, InvalidRate> {
        if calls == 0 || calls > Self::MAX_CALLS {
            return Err(InvalidRate::BadCalls(calls));
        }
        if per < Duration::from_millis(1) || per > Self::MAX_PER {
            return Err(InvalidRate::BadPer(per));
        }
        let in_tenth = u128::from(calls) * 100_000_000 / per.as_nanos();
        let burst = in_tenth.clamp(1, u128::from(Self::MAX_CALLS)) as u32;
        let gcra = Gcra::new(calls, nanos(per), burst);
        let (max_wait, max_keys) = (Duration::ZERO, Self::DEFAULT_KEYS);
        Ok(RateConfig { calls, per, burst, max_wait, max_keys, gcra })
    }

    /// Another burst: how many calls may come at once after a quiet time.
    ///
    /// # Errors
    /// If it is not from 1 to [`MAX_CALLS`](Self::MAX_CALLS).
    pub fn with_burst(self, burst: u32) -> Result<Self, InvalidRate> {
        if burst == 0 || burst > Self::MAX_CALLS {
            return Err(InvalidRate::BadBurst(burst));
        }
        Ok(RateConfig { burst, gcra: Gcra::new(self.calls, nanos(self.per), burst), ..self })
    }

    /// Lets calls above the rate wait for their time, if it comes within `max_wait` and not after their deadline; others
    /// are refused at once. As many can wait as the rate has places in that time. Zero: nobody waits.
    ///
    /// # Errors
    /// If it is above [`MAX_WAIT`](Self::MAX_WAIT).
    pub fn with_max_wait(self, max_wait: Duration) -> Result<Self, InvalidRate> {
        if max_wait > Self::MAX_WAIT {
            return Err(InvalidRate::BadWait(max_wait));
        }
        Ok(RateConfig { max_wait, ..self })
    }

    /// How many keys are told apart at a time, for a limit [by key](super::RateLimitLayer::keyed).
    ///
    /// # Errors
    /// If it is not from 1 to [`MAX_KEYS`](Self::MAX_KEYS).
    pub fn with_max_keys(self, max_keys: u32) -> Result<Self, InvalidRate> {
        if max_keys == 0 || max_keys > Self::MAX_KEYS {
            return Err(InvalidRate::BadKeys(max_keys));
        }
        Ok(RateConfig { max_keys, ..self })
    }

    /// How many calls.
    pub const fn calls(&self) -> u32 {
        self.calls
    }

    /// In how long.
    pub const fn per(&self) -> Duration {
        self.per
    }

    /// How many at once.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// How long a call may wait for its time; zero: not at all.
    pub const fn max_wait(&self) -> Duration {
        self.max_wait
    }

    /// How many keys are told apart.
    pub const fn max_keys(&self) -> u32 {
        self.max_keys
    }

    pub(super) const fn gcra(&self) -> &Gcra {
        &self.gcra
    }
}

/// At most a day, as checked.
fn nanos(per: Duration) -> u64 {
    u64::try_from(per.as_nanos()).unwrap_or(u64::MAX)
}

impl TryFrom<Raw> for RateConfig {
    type Error = InvalidRate;

    fn try_from(raw: Raw) -> Result<Self, InvalidRate> {
        let ms = Duration::from_millis;
        let config = RateConfig::try_new(raw.calls, ms(raw.per_ms))?.with_max_wait(ms(raw.max_wait_ms))?;
        let config = config.with_max_keys(raw.max_keys)?;
        raw.burst.map_or(Ok(config), |burst| config.with_burst(burst))
    }
}

impl From<RateConfig> for Raw {
    fn from(config: RateConfig) -> Self {
        // At most a day, as checked when it was made.
        let ms = |duration: Duration| duration.as_millis() as u64;
        let RateConfig { calls, per, burst, max_wait, max_keys, .. } = config;
        Raw { calls, per_ms: ms(per), burst: Some(burst), max_wait_ms: ms(max_wait), max_keys }
    }
}

impl fmt::Display for InvalidRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidRate::BadCalls(calls) => write!(f, "calls: {calls} is not from 1 to 1000000"),
            InvalidRate::BadPer(per) => write!(f, "per_ms: {per:?} is not from 1 ms to a day"),
            InvalidRate::BadBurst(burst) => write!(f, "burst: {burst} is not from 1 to 1000000"),
            InvalidRate::BadWait(wait) => write!(f, "max_wait_ms: {wait:?} is above an hour"),
            InvalidRate::BadKeys(keys) => write!(f, "max_keys: {keys} is not from 1 to 1000000"),
        }
    }
}

impl std::error::Error for InvalidRate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range() {
        let second = Duration::from_secs(1);
        let config = RateConfig::try_new(50, second).unwrap();
        assert_eq!((config.burst(), config.max_keys()), (5, 10_000));
        assert_eq!(RateConfig::try_new(3, second).unwrap().burst(), 1);
        assert_eq!(RateConfig::try_new(0, second), Err(InvalidRate::BadCalls(0)));
        assert!(matches!(RateConfig::try_new(1, second / 2_000), Err(InvalidRate::BadPer(_))));
        assert_eq!(config.with_burst(0), Err(InvalidRate::BadBurst(0)));
        assert_eq!(config.with_max_keys(1_000_001), Err(InvalidRate::BadKeys(1_000_001)));
        assert!(matches!(config.with_max_wait(second * 3_601), Err(InvalidRate::BadWait(_))));
    }

    #[test]
    fn the_form_in_a_file() {
        let config = RateConfig::try_new(100, Duration::from_secs(1)).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(text, r#"{"calls":100,"per_ms":1000,"burst":10,"max_wait_ms":0,"max_keys":10000}"#);
        assert_eq!(serde_json::from_str::<RateConfig>(&text).unwrap(), config);
        assert_eq!(serde_json::from_str::<RateConfig>(r#"{"calls":100,"per_ms":1000}"#).unwrap(), config);
        let read = |text| serde_json::from_str::<RateConfig>(text).unwrap_err().to_string();
        assert!(read(r#"{"calls":1,"per_ms":0}"#).contains("per_ms: 0ns is not"));
        assert!(read(r#"{"calls":1,"per_ms":1,"rate":3}"#).contains("unknown field"));
        assert!(read(r#"{"calls":1}"#).contains("missing field `per_ms`"));
    }
}
