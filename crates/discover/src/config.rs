//! How soon, and how much of what a source says is believed: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use towpath_core::{Backoff, Jitter};

/// How soon, and how much of what a source says is believed.
///
/// In a file, times are whole milliseconds, and what is left out has its default:
///
/// | | default | from |
/// | --- | --- | --- |
/// | `quiet_ms` | 100: further changes are waited for until there was none for so long, and told together | Istio debounces for 100 ms |
/// | `quiet_max_ms` | 1000: so long at most, however many follow each other | |
/// | `empty_hold_ms` | 30 000: so long the last endpoints stay when a source says that there are none; 0: it is believed at once | Nacos and Eureka keep theirs as well |
/// | `max_endpoints` | 16 384: what goes beyond is not taken | |
/// | `backoff` | from 500 ms, doubling up to 10 s, equal jitter: when a source that failed is asked again | |
///
/// ```
/// use std::time::Duration;
/// use towpath_discover::DiscoverConfig;
///
/// let config: DiscoverConfig = serde_json::from_str(r#"{"empty_hold_ms": 5000}"#)?;
/// assert_eq!(config, DiscoverConfig::default().with_empty_hold(Duration::from_secs(5))?);
/// let refused = serde_json::from_str::<DiscoverConfig>(r#"{"max_endpoints": 0}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("max_endpoints"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct DiscoverConfig {
    quiet: Duration,
    quiet_max: Duration,
    empty_hold: Duration,
    max_endpoints: usize,
    backoff: Backoff,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    quiet_ms: u64,
    quiet_max_ms: u64,
    empty_hold_ms: u64,
    max_endpoints: usize,
    backoff: Backoff,
}

/// A config that makes no sense; it names the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidDiscover {
    /// `quiet_ms` is above 60 s, or above `quiet_max_ms`.
    Quiet(Duration),
    /// `quiet_max_ms` is above 60 s.
    QuietMax(Duration),
    /// `empty_hold_ms` is above a day.
    EmptyHold(Duration),
    /// `max_endpoints` is not from 1 to [`DiscoverConfig::MAX_ENDPOINTS`].
    MaxEndpoints(usize),
}

impl DiscoverConfig {
    /// The most endpoints that can be asked for: 1 048 576.
    pub const MAX_ENDPOINTS: usize = 1 << 20;

    /// The longest wait for further changes: a minute.
    pub const MAX_QUIET: Duration = Duration::from_secs(60);

    /// The longest doubt about an empty answer: a day.
    pub const MAX_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

    /// Sets how long a change waits for others: until there was none for `quiet`, but not longer than `max`. Zero:
    /// every change is told as it comes.
    ///
    /// # Errors
    /// If `max` is above [`MAX_QUIET`](Self::MAX_QUIET), or `quiet` above `max`.
    pub fn with_quiet(self, quiet: Duration, max: Duration) -> Result<Self, InvalidDiscover> {
        if max > Self::MAX_QUIET {
            return Err(InvalidDiscover::QuietMax(max));
        }
        if quiet > max {
            return Err(InvalidDiscover::Quiet(quiet));
        }
        Ok(DiscoverConfig { quiet, quiet_max: max, ..self })
    }

    /// Sets how long the last endpoints stay when the source says that there are none. Zero: it is believed at once.
    ///
    /// # Errors
    /// If it is above [`MAX_HOLD`](Self::MAX_HOLD).
    pub fn with_empty_hold(self, empty_hold: Duration) -> Result<Self, InvalidDiscover> {
        if empty_hold > Self::MAX_HOLD {
            return Err(InvalidDiscover::EmptyHold(empty_hold));
        }
        Ok(DiscoverConfig { empty_hold, ..self })
    }

    /// Sets how many endpoints are taken of one source.
    ///
    /// # Errors
    /// If it is not from 1 to [`MAX_ENDPOINTS`](Self::MAX_ENDPOINTS).
    pub fn with_max_endpoints(self, max_endpoints: usize) -> Result<Self, InvalidDiscover> {
        if !(1..=Self::MAX_ENDPOINTS).contains(&max_endpoints) {
            return Err(InvalidDiscover::MaxEndpoints(max_endpoints));
        }
        Ok(DiscoverConfig { max_endpoints, ..self })
    }

    /// Sets when a source that failed is asked again.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        DiscoverConfig { backoff, ..self }
    }

    /// For how long there has to be no change until those that were are told.
    pub const fn quiet(&self) -> Duration {
        self.quiet
    }

    /// How long a change waits for others at most.
    pub const fn quiet_max(&self) -> Duration {
        self.quiet_max
    }

    /// How long an empty answer is doubted.
    pub const fn empty_hold(&self) -> Duration {
        self.empty_hold
    }

    /// How many endpoints are taken of one source.
    pub const fn max_endpoints(&self) -> usize {
        self.max_endpoints
    }

    /// When a source that failed is asked again.
    pub const fn backoff(&self) -> Backoff {
        self.backoff
    }
}

impl Default for DiscoverConfig {
    fn default() -> Self {
        let (base, max) = (Duration::from_millis(500), Duration::from_secs(10));
        DiscoverConfig {
            quiet: Duration::from_millis(100),
            quiet_max: Duration::from_secs(1),
            empty_hold: Duration::from_secs(30),
            max_endpoints: 16_384,
            backoff: Backoff::try_new(base, max, 2.0, Jitter::Equal).unwrap_or_default(),
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        DiscoverConfig::default().into()
    }
}

impl TryFrom<Raw> for DiscoverConfig {
    type Error = InvalidDiscover;

    fn try_from(raw: Raw) -> Result<Self, InvalidDiscover> {
        let ms = Duration::from_millis;
        DiscoverConfig::default()
            .with_backoff(raw.backoff)
            .with_max_endpoints(raw.max_endpoints)?
            .with_empty_hold(ms(raw.empty_hold_ms))?
            .with_quiet(ms(raw.quiet_ms), ms(raw.quiet_max_ms))
    }
}

impl From<DiscoverConfig> for Raw {
    fn from(config: DiscoverConfig) -> Self {
        // At most a day, as checked when it was made.
        let ms = |time: Duration| time.as_millis() as u64;
        Raw {
            quiet_ms: ms(config.quiet),
            quiet_max_ms: ms(config.quiet_max),
            empty_hold_ms: ms(config.empty_hold),
            max_endpoints: config.max_endpoints,
            backoff: config.backoff,
        }
    }
}

impl fmt::Display for InvalidDiscover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidDiscover::Quiet(time) => {
                write!(f, "quiet_ms: {time:?} is longer than quiet_max_ms")
            }
            InvalidDiscover::QuietMax(time) => {
                write!(f, "quiet_max_ms: {time:?} is too long: at most a minute")
            }
            InvalidDiscover::EmptyHold(time) => {
                write!(f, "empty_hold_ms: {time:?} is too long: at most a day")
            }
            InvalidDiscover::MaxEndpoints(n) => {
                write!(f, "max_endpoints: {n} is not from 1 to {}", DiscoverConfig::MAX_ENDPOINTS)
            }
        }
    }
}

impl std::error::Error for InvalidDiscover {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_in_a_file() {
        let text = serde_json::to_string(&DiscoverConfig::default()).unwrap();
        assert_eq!(serde_json::from_str::<DiscoverConfig>(&text).unwrap(), DiscoverConfig::default());
        assert_eq!(serde_json::from_str::<DiscoverConfig>("{}").unwrap(), DiscoverConfig::default());
        for (bad, says) in [
            (r#"{"quiet_ms":2000}"#, "quiet_ms"),
            (r#"{"quiet_max_ms":60001}"#, "quiet_max_ms"),
            (r#"{"empty_hold_ms":86400001}"#, "empty_hold_ms"),
            (r#"{"max_endpoints":1048577}"#, "max_endpoints"),
            (r#"{"backoff":{"base_ms":0}}"#, "base"),
            (r#"{"quite_ms":1}"#, "unknown field"),
        ] {
            let error = serde_json::from_str::<DiscoverConfig>(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
