//! When too little time is left: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// When a call has too little time left, and how many may be refused for it.
///
/// In a file, what is left out has its default:
///
/// ```
/// use std::time::Duration;
/// use towpath_timeout::EnoughTimeConfig;
///
/// let config: EnoughTimeConfig = serde_json::from_str(r#"{"at_least_ms": 5, "quantile": 0.9}"#)?;
/// assert_eq!((config.at_least(), config.quantile()), (Duration::from_millis(5), 0.9));
/// assert_eq!((config.max_share(), config.half_life()), (0.2, Duration::from_secs(5)));
/// assert!(serde_json::from_str::<EnoughTimeConfig>(r#"{"max_share": 20}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct EnoughTimeConfig {
    at_least: Duration,
    quantile: f64,
    max_share: f64,
    half_life: Duration,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    at_least_ms: u64,
    quantile: f64,
    max_share: f64,
    half_life_ms: u64,
}

/// A config that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum InvalidEnoughTime {
    /// `at_least_ms` is above [`EnoughTimeConfig::MAX_AT_LEAST`].
    AtLeast(Duration),
    /// `quantile` is not from 0 to below 1.
    Quantile(f64),
    /// `max_share` is not from 0 to [`EnoughTimeConfig::MAX_SHARE`].
    Share(f64),
    /// `half_life_ms` is not from 100 to 600 000.
    HalfLife(Duration),
}

impl EnoughTimeConfig {
    /// The largest minimum: an hour.
    pub const MAX_AT_LEAST: Duration = Duration::from_secs(3_600);

    /// The largest share that may be refused: a half. Beyond it the layer could keep up what it refuses
    /// for: of calls that are refused nobody learns how long they take.
    pub const MAX_SHARE: f64 = 0.5;

    const HALF_LIFE: std::ops::RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(600);

    /// A call with less than this left has too little, whatever was observed; 0, the default, is none.
    ///
    /// # Errors
    /// If it is above [`MAX_AT_LEAST`](Self::MAX_AT_LEAST).
    pub fn with_at_least(self, at_least: Duration) -> Result<Self, InvalidEnoughTime> {
        EnoughTimeConfig { at_least, ..self }.check()
    }

    /// A call with less left than this share of the calls has taken lately has too little: 0.5, the default,
    /// is the median, so that more than half of those refused would have come too late. 0: do not observe.
    ///
    /// # Errors
    /// If it is not from 0 to below 1.
    pub fn with_quantile(self, quantile: f64) -> Result<Self, InvalidEnoughTime> {
        EnoughTimeConfig { quantile, ..self }.check()
    }

    /// At most this share of all calls is refused; 0.2 by default, 0 refuses nothing and still reports.
    ///
    /// # Errors
    /// If it is not from 0 to [`MAX_SHARE`](Self::MAX_SHARE).
    pub fn with_max_share(self, max_share: f64) -> Result<Self, InvalidEnoughTime> {
        EnoughTimeConfig { max_share, ..self }.check()
    }

    /// After how long an observation counts half; 5 s by default.
    ///
    /// # Errors
    /// If it is not from 100 ms to 10 minutes.
    pub fn with_half_life(self, half_life: Duration) -> Result<Self, InvalidEnoughTime> {
        EnoughTimeConfig { half_life, ..self }.check()
    }

    fn check(self) -> Result<Self, InvalidEnoughTime> {
        if self.at_least > Self::MAX_AT_LEAST {
            return Err(InvalidEnoughTime::AtLeast(self.at_least));
        }
        if !(0.0..1.0).contains(&self.quantile) {
            return Err(InvalidEnoughTime::Quantile(self.quantile));
        }
        if !(0.0..=Self::MAX_SHARE).contains(&self.max_share) {
            return Err(InvalidEnoughTime::Share(self.max_share));
        }
        if !Self::HALF_LIFE.contains(&self.half_life) {
            return Err(InvalidEnoughTime::HalfLife(self.half_life));
        }
        Ok(self)
    }

    /// The minimum; 0 is none.
    pub const fn at_least(&self) -> Duration {
        self.at_least
    }

    /// Which quantile of the observed durations is wanted; 0: they are not observed.
    pub const fn quantile(&self) -> f64 {
        self.quantile
    }

    /// The largest share of calls that is refused.
    pub const fn max_share(&self) -> f64 {
        self.max_share
    }

    /// After how long an observation counts half.
    pub const fn half_life(&self) -> Duration {
        self.half_life
    }
}

impl Default for EnoughTimeConfig {
    /// The median, a fifth, 5 s; no minimum.
    fn default() -> Self {
        EnoughTimeConfig {
            at_least: Duration::ZERO,
            quantile: 0.5,
            max_share: 0.2,
            half_life: Duration::from_secs(5),
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        EnoughTimeConfig::default().into()
    }
}

impl TryFrom<Raw> for EnoughTimeConfig {
    type Error = InvalidEnoughTime;

    fn try_from(raw: Raw) -> Result<Self, InvalidEnoughTime> {
        let Raw { at_least_ms, quantile, max_share, half_life_ms } = raw;
        let (at_least, half_life) = (Duration::from_millis(at_least_ms), Duration::from_millis(half_life_ms));
        EnoughTimeConfig { at_least, quantile, max_share, half_life }.check()
    }
}

impl From<EnoughTimeConfig> for Raw {
    fn from(config: EnoughTimeConfig) -> Self {
        // Both are bounded: they fit.
        Raw {
            at_least_ms: config.at_least.as_millis() as u64,
            quantile: config.quantile,
            max_share: config.max_share,
            half_life_ms: config.half_life.as_millis() as u64,
        }
    }
}

impl fmt::Display for InvalidEnoughTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidEnoughTime::AtLeast(at_least) => {
                write!(f, "at_least_ms: {at_least:?} is above an hour")
            }
            InvalidEnoughTime::Quantile(quantile) => {
                write!(f, "quantile: {quantile} is not from 0 to below 1 (0.5 is the median)")
            }
            InvalidEnoughTime::Share(share) => {
                write!(f, "max_share: {share} is not from 0 to 0.5 (0.2 is a fifth)")
            }
            InvalidEnoughTime::HalfLife(half_life) => {
                write!(f, "half_life_ms: {half_life:?} is not from 100 ms to 10 min")
            }
        }
    }
}

impl std::error::Error for InvalidEnoughTime {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_and_the_form_in_a_file() {
        let read = |text| serde_json::from_str::<EnoughTimeConfig>(text).map_err(|error| error.to_string());
        assert_eq!(read("{}"), Ok(EnoughTimeConfig::default()));
        let text = serde_json::to_string(&EnoughTimeConfig::default()).unwrap();
        assert_eq!(text, r#"{"at_least_ms":0,"quantile":0.5,"max_share":0.2,"half_life_ms":5000}"#);
        for (text, names) in [
            (r#"{"at_least_ms": 3600001}"#, "at_least_ms"),
            (r#"{"quantile": 1.0}"#, "quantile"),
            (r#"{"quantile": -0.1}"#, "quantile"),
            (r#"{"max_share": 0.51}"#, "max_share"),
            (r#"{"half_life_ms": 99}"#, "half_life_ms"),
            (r#"{"half_live_ms": 100}"#, "unknown field"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(names), "{refused}");
        }
        assert!(EnoughTimeConfig::default().with_quantile(f64::NAN).is_err());
        assert!(EnoughTimeConfig::default().with_max_share(f64::NAN).is_err());
    }
}
