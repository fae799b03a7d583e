//! When tokens are fetched: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// When a [`Renewing`](super::Renewing) fetches its tokens. In a file, what is left out has its default:
///
/// ```
/// use std::time::Duration;
/// use towpath_auth::RenewConfig;
/// let config: RenewConfig = serde_json::from_str(r#"{"early_ms": 30000}"#)?;
/// assert_eq!((config.early(), config.retry()), (Duration::from_secs(30), Duration::from_secs(1)));
/// assert!(serde_json::from_str::<RenewConfig>(r#"{"fetch_timeout_ms": 0}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct RenewConfig {
    early: Duration,
    retry: Duration,
    fetch_timeout: Duration,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    early_ms: u64,
    retry_ms: u64,
    fetch_timeout_ms: u64,
}

/// Times that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRenewal {
    /// `early_ms` is above an hour.
    TooEarly(Duration),
    /// `retry_ms` is not from 1 ms to an hour.
    BadRetry(Duration),
    /// `fetch_timeout_ms` is not from 1 ms to an hour.
    BadTimeout(Duration),
}

impl RenewConfig {
    /// The most that each of the times may be: an hour.
    pub const MAX: Duration = Duration::from_secs(3_600);

    /// Checks the times.
    ///
    /// # Errors
    /// Names the first that is out of range.
    pub fn try_new(
        early: Duration,
        retry: Duration,
        fetch_timeout: Duration,
    ) -> Result<Self, InvalidRenewal> {
        let range = Duration::from_millis(1)..=Self::MAX;
        if early > Self::MAX {
            return Err(InvalidRenewal::TooEarly(early));
        }
        if !range.contains(&retry) {
            return Err(InvalidRenewal::BadRetry(retry));
        }
        if !range.contains(&fetch_timeout) {
            return Err(InvalidRenewal::BadTimeout(fetch_timeout));
        }
        Ok(RenewConfig { early, retry, fetch_timeout })
    }

    /// So long before a token runs out the next one is fetched, by the first call after that; but not in the first
    /// half of its life.
    pub const fn early(&self) -> Duration {
        self.early
    }

    /// So long after a fetch that failed nobody tries again.
    pub const fn retry(&self) -> Duration {
        self.retry
    }

    /// So long may a fetch take.
    pub const fn fetch_timeout(&self) -> Duration {
        self.fetch_timeout
    }
}

/// 60 s early, 1 s between tries, 10 s for one: room for a handful of tries before a token runs out.
impl Default for RenewConfig {
    fn default() -> Self {
        RenewConfig {
            early: Duration::from_secs(60),
            retry: Duration::from_secs(1),
            fetch_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        RenewConfig::default().into()
    }
}

impl TryFrom<Raw> for RenewConfig {
    type Error = InvalidRenewal;

    fn try_from(raw: Raw) -> Result<Self, InvalidRenewal> {
        let ms = Duration::from_millis;
        RenewConfig::try_new(ms(raw.early_ms), ms(raw.retry_ms), ms(raw.fetch_timeout_ms))
    }
}

impl From<RenewConfig> for Raw {
    fn from(config: RenewConfig) -> Self {
        // At most an hour each.
        let ms = |time: Duration| time.as_millis() as u64;
        Raw {
            early_ms: ms(config.early),
            retry_ms: ms(config.retry),
            fetch_timeout_ms: ms(config.fetch_timeout),
        }
    }
}

impl fmt::Display for InvalidRenewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidRenewal::TooEarly(time) => write!(f, "early_ms is {time:?}: at most an hour"),
            InvalidRenewal::BadRetry(time) => write!(f, "retry_ms is {time:?}: 1 ms to an hour"),
            InvalidRenewal::BadTimeout(time) => write!(f, "fetch_timeout_ms is {time:?}: 1 ms to an hour"),
        }
    }
}

impl std::error::Error for InvalidRenewal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_in_a_file() {
        let text = r#"{"early_ms":0,"retry_ms":2,"fetch_timeout_ms":3600000}"#;
        let config: RenewConfig = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
        for (text, says) in [
            (r#"{"early_ms":3600001}"#, "early_ms"),
            (r#"{"retry_ms":0}"#, "retry_ms"),
            (r#"{"fetch_timeout_ms":0}"#, "fetch_timeout_ms"),
            (r#"{"late_ms":0}"#, "unknown field"),
        ] {
            let error = serde_json::from_str::<RenewConfig>(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
