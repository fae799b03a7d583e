//! How long a server's checks may take, and for how long an outcome is good: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How long each of a server's checks may take, and for how long its outcome is good.
///
/// In a file, times are whole milliseconds, and what is left out has its default: `timeout_ms` 800, since Kubernetes
/// waits a second for an answer, and `fresh_ms` 1000.
///
/// ```
/// use std::time::Duration;
/// use towpath_health::ReportConfig;
/// let config: ReportConfig = serde_json::from_str(r#"{"fresh_ms": 5000}"#)?;
/// assert_eq!((config.timeout(), config.fresh()), (Duration::from_millis(800), Duration::from_secs(5)));
/// assert!(serde_json::from_str::<ReportConfig>(r#"{"timeout_ms": 0}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct ReportConfig {
    timeout: Duration,
    fresh: Duration,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    timeout_ms: u64,
    fresh_ms: u64,
}

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidReportConfig {
    field: &'static str,
    given: Duration,
    least: Duration,
}

/// The longest of both times.
const MAX: Duration = Duration::from_secs(60);

impl ReportConfig {
    /// Checks a config: a check that takes longer than `timeout` (1 ms to a minute) has failed, and none is made again
    /// before its last outcome is older than `fresh` (up to a minute; zero: each question has one made, and those who ask
    /// while it is under way share it).
    ///
    /// # Errors
    /// If one of them is out of its range.
    pub fn try_new(timeout: Duration, fresh: Duration) -> Result<Self, InvalidReportConfig> {
        let least = Duration::from_millis(1);
        for (field, given, least) in [("timeout_ms", timeout, least), ("fresh_ms", fresh, Duration::ZERO)] {
            if !(least..=MAX).contains(&given) {
                return Err(InvalidReportConfig { field, given, least });
            }
        }
        Ok(ReportConfig { timeout, fresh })
    }

    /// How long a check may take.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// For how long its outcome is good.
    pub const fn fresh(&self) -> Duration {
        self.fresh
    }
}

impl Default for ReportConfig {
    fn default() -> Self {
        ReportConfig { timeout: Duration::from_millis(800), fresh: Duration::from_secs(1) }
    }
}

impl Default for Raw {
    fn default() -> Self {
        ReportConfig::default().into()
    }
}

impl TryFrom<Raw> for ReportConfig {
    type Error = InvalidReportConfig;

    fn try_from(raw: Raw) -> Result<Self, InvalidReportConfig> {
        ReportConfig::try_new(Duration::from_millis(raw.timeout_ms), Duration::from_millis(raw.fresh_ms))
    }
}

impl From<ReportConfig> for Raw {
    fn from(config: ReportConfig) -> Self {
        // Both are at most a minute, as checked when it was made.
        Raw { timeout_ms: config.timeout.as_millis() as u64, fresh_ms: config.fresh.as_millis() as u64 }
    }
}

impl InvalidReportConfig {
    /// The name of the field, as in a file.
    pub fn field(&self) -> &str {
        self.field
    }
}

impl fmt::Display for InvalidReportConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InvalidReportConfig { field, given, least } = self;
        write!(f, "{field}: {given:?} is not from {least:?} to {MAX:?}")
    }
}

impl std::error::Error for InvalidReportConfig {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_in_a_file() {
        let read = |text: &str| serde_json::from_str::<ReportConfig>(text);
        assert_eq!(read("{}").unwrap(), ReportConfig::default());
        let config = ReportConfig::try_new(Duration::from_millis(5), Duration::ZERO).unwrap();
        assert_eq!(read(&serde_json::to_string(&config).unwrap()).unwrap(), config);
        let refused = |text| read(text).unwrap_err().to_string();
        assert!(
            refused(r#"{"timeout_ms": 60001}"#).starts_with("timeout_ms: 60.001s is not from 1ms to 60s")
        );
        assert!(refused(r#"{"fresh_ms": 60001}"#).starts_with("fresh_ms: "));
        assert!(refused(r#"{"cache_ms": 1}"#).contains("unknown field"));
    }
}
