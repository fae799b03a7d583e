//! How many good answers are kept, and for how long: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How many good answers are kept, and for how long. In a file, what is left out has its default:
///
/// ```
/// use std::time::Duration;
/// use towpath_fallback::LastGoodConfig;
/// let config: LastGoodConfig = serde_json::from_str(r#"{"max_age_ms": 60000, "max_entries": 100}"#)?;
/// assert_eq!((config.max_age(), config.max_entries()), (Duration::from_secs(60), 100));
/// assert_eq!((config.max_bytes(), config.refresh()), (8 << 20, Duration::from_secs(1)));
/// assert!(serde_json::from_str::<LastGoodConfig>(r#"{"max_entries": 0}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct LastGoodConfig {
    max_age: Duration,
    max_entries: usize,
    max_bytes: usize,
    refresh: Duration,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    max_age_ms: u64,
    max_entries: usize,
    max_bytes: usize,
    refresh_ms: u64,
}

/// A config that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidLastGood {
    /// `max_age_ms` is 0 or above 30 days.
    MaxAge(Duration),
    /// `max_entries` is 0 or above a million.
    MaxEntries(usize),
    /// `max_bytes` is 0.
    MaxBytes,
    /// `refresh_ms` is above `max_age_ms`: answers would lapse while others come.
    Refresh(Duration),
}

impl LastGoodConfig {
    const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3_600);
    const MAX_ENTRIES: usize = 1_000_000;

    /// How old an answer may be when it is given again; 5 minutes by default. Counted from the start of its call.
    ///
    /// # Errors
    /// If it is 0, above 30 days, or less than [`refresh`](Self::refresh).
    pub fn with_max_age(self, max_age: Duration) -> Result<Self, InvalidLastGood> {
        LastGoodConfig { max_age, ..self }.check()
    }

    /// How many answers are kept; 1 024 by default. The oldest goes first.
    ///
    /// # Errors
    /// If it is 0 or above a million.
    pub fn with_max_entries(self, max_entries: usize) -> Result<Self, InvalidLastGood> {
        LastGoodConfig { max_entries, ..self }.check()
    }

    /// How many bytes the answers have together; 8 MiB by default. One that is larger than an eighth of that is not
    /// kept.
    ///
    /// # Errors
    /// If it is 0.
    pub fn with_max_bytes(self, max_bytes: usize) -> Result<Self, InvalidLastGood> {
        LastGoodConfig { max_bytes, ..self }.check()
    }

    /// How often the answer to the same call is kept anew; 1 s by default, 0 for each. To keep one costs a copy and
    /// a lock; to see that the one that is there will do costs two loads.
    ///
    /// # Errors
    /// If it is more than [`max_age`](Self::max_age).
    pub fn with_refresh(self, refresh: Duration) -> Result<Self, InvalidLastGood> {
        LastGoodConfig { refresh, ..self }.check()
    }

    fn check(self) -> Result<Self, InvalidLastGood> {
        if self.max_age.is_zero() || self.max_age > Self::MAX_AGE {
            return Err(InvalidLastGood::MaxAge(self.max_age));
        }
        if !(1..=Self::MAX_ENTRIES).contains(&self.max_entries) {
            return Err(InvalidLastGood::MaxEntries(self.max_entries));
        }
        if self.max_bytes == 0 {
            return Err(InvalidLastGood::MaxBytes);
        }
        if self.refresh > self.max_age {
            return Err(InvalidLastGood::Refresh(self.refresh));
        }
        Ok(self)
    }

    /// How old an answer may be.
    pub const fn max_age(&self) -> Duration {
        self.max_age
    }

    /// How many answers are kept.
    pub const fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// How many bytes they have together.
    pub const fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// How often the answer to the same call is kept anew.
    pub const fn refresh(&self) -> Duration {
        self.refresh
    }
}

impl Default for LastGoodConfig {
    /// 1 024 answers and 8 MiB of them, for 5 minutes, each at most once a second.
    fn default() -> Self {
        LastGoodConfig {
            max_age: Duration::from_secs(300),
            max_entries: 1_024,
            max_bytes: 8 << 20,
            refresh: Duration::from_secs(1),
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        LastGoodConfig::default().into()
    }
}

impl TryFrom<Raw> for LastGoodConfig {
    type Error = InvalidLastGood;

    fn try_from(raw: Raw) -> Result<Self, InvalidLastGood> {
        let Raw { max_age_ms, max_entries, max_bytes, refresh_ms } = raw;
        let (max_age, refresh) = (Duration::from_millis(max_age_ms), Duration::from_millis(refresh_ms));
        LastGoodConfig { max_age, max_entries, max_bytes, refresh }.check()
    }
}

impl From<LastGoodConfig> for Raw {
    fn from(config: LastGoodConfig) -> Self {
        // Both are bounded: they fit.
        Raw {
            max_age_ms: config.max_age.as_millis() as u64,
            max_entries: config.max_entries,
            max_bytes: config.max_bytes,
            refresh_ms: config.refresh.as_millis() as u64,
        }
    }
}

impl fmt::Display for InvalidLastGood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidLastGood::MaxAge(age) => write!(f, "max_age_ms: {age:?} is not from 1 ms to 30 days"),
            InvalidLastGood::MaxEntries(entries) => {
                write!(f, "max_entries: {entries} is not from 1 to a million")
            }
            InvalidLastGood::MaxBytes => f.write_str("max_bytes: there has to be room for something"),
            InvalidLastGood::Refresh(refresh) => {
                write!(f, "refresh_ms: {refresh:?} is above max_age_ms")
            }
        }
    }
}

impl std::error::Error for InvalidLastGood {}
