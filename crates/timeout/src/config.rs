//! How long a call may take: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How long a call may take, at least 1 ms and at most [`MAX`](Self::MAX).
///
/// In a file it is a whole number of milliseconds; what is out of range does not load.
///
/// ```
/// use std::time::Duration;
/// use towpath_timeout::TimeoutConfig;
///
/// let config: TimeoutConfig = serde_json::from_str(r#"{"timeout_ms": 1500}"#)?;
/// assert_eq!(config.timeout(), Duration::from_millis(1500));
/// assert!(serde_json::from_str::<TimeoutConfig>(r#"{"timeout_ms": 0}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct TimeoutConfig {
    timeout: Duration,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    timeout_ms: u64,
}

/// A timeout that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTimeout {
    /// Under 1 ms: the timer and the wire count whole milliseconds.
    TooShort(Duration),
    /// Above [`TimeoutConfig::MAX`]: the wire has no room for it.
    TooLong(Duration),
}

impl TimeoutConfig {
    /// The shortest timeout: 1 ms.
    pub const MIN: Duration = Duration::from_millis(1);

    /// The longest timeout: `u32::MAX` ms, about 49 days, as much as fits into a frame.
    pub const MAX: Duration = Duration::from_millis(u32::MAX as u64);

    /// Checks a timeout.
    ///
    /// # Errors
    /// If it is shorter than [`MIN`](Self::MIN) or longer than [`MAX`](Self::MAX).
    pub const fn try_new(timeout: Duration) -> Result<Self, InvalidTimeout> {
        if timeout.as_nanos() < Self::MIN.as_nanos() {
            return Err(InvalidTimeout::TooShort(timeout));
        }
        if timeout.as_nanos() > Self::MAX.as_nanos() {
            return Err(InvalidTimeout::TooLong(timeout));
        }
        Ok(TimeoutConfig { timeout })
    }

    /// How long a call may take.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// 10 s, the deadline of a call for which nobody chose one.
impl Default for TimeoutConfig {
    fn default() -> Self {
        TimeoutConfig { timeout: Duration::from_secs(10) }
    }
}

impl TryFrom<Duration> for TimeoutConfig {
    type Error = InvalidTimeout;

    fn try_from(timeout: Duration) -> Result<Self, InvalidTimeout> {
        TimeoutConfig::try_new(timeout)
    }
}

impl TryFrom<Raw> for TimeoutConfig {
    type Error = InvalidTimeout;

    fn try_from(raw: Raw) -> Result<Self, InvalidTimeout> {
        TimeoutConfig::try_new(Duration::from_millis(raw.timeout_ms))
    }
}

impl From<TimeoutConfig> for Raw {
    fn from(config: TimeoutConfig) -> Self {
        // At most `u32::MAX`, as checked when it was made.
        Raw { timeout_ms: config.timeout.as_millis() as u64 }
    }
}

impl fmt::Display for InvalidTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidTimeout::TooShort(timeout) => {
                write!(f, "a timeout of {timeout:?} is too short: at least 1 ms")
            }
            InvalidTimeout::TooLong(timeout) => {
                write!(f, "a timeout of {timeout:?} is too long: at most {:?}", TimeoutConfig::MAX)
            }
        }
    }
}

impl std::error::Error for InvalidTimeout {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range() {
        let ok = |d| TimeoutConfig::try_new(d).unwrap().timeout();
        assert_eq!(ok(TimeoutConfig::MIN), TimeoutConfig::MIN);
        assert_eq!(ok(TimeoutConfig::MAX), TimeoutConfig::MAX);
        let short = Duration::from_micros(999);
        assert_eq!(TimeoutConfig::try_new(short), Err(InvalidTimeout::TooShort(short)));
        let long = TimeoutConfig::MAX + Duration::from_nanos(1);
        assert_eq!(TimeoutConfig::try_new(long), Err(InvalidTimeout::TooLong(long)));
    }

    #[test]
    fn the_form_in_a_file() {
        let config = TimeoutConfig::try_new(Duration::from_secs(2)).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(text, r#"{"timeout_ms":2000}"#);
        assert_eq!(serde_json::from_str::<TimeoutConfig>(&text).unwrap(), config);
        let read = |text| serde_json::from_str::<TimeoutConfig>(text).unwrap_err().to_string();
        assert!(read(r#"{"timeout_ms":0}"#).contains("too short"));
        assert!(read(r#"{"timeout_ms":4294967296}"#).contains("too long"));
        assert!(read(r#"{"timeout_ms":1,"retries":3}"#).contains("unknown field"));
    }
}
