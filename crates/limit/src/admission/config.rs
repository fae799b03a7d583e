//! Who is let in: a validated value.

use crate::AdaptiveConfig;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How many calls are let in, how long the others may wait, and what is left to those with a higher priority.
///
/// In a file, what is left out has its default:
///
/// ```
/// use towpath_limit::{AdmissionConfig, LimitBy};
///
/// let text = r#"{"limit": {"gradient": {"max": 200}}, "queue": 64, "target_ms": 10}"#;
/// let config: AdmissionConfig = serde_json::from_str(text)?;
/// assert!(matches!(config.limit(), LimitBy::Gradient(bounds) if bounds.max() == 200));
/// let refused = serde_json::from_str::<AdmissionConfig>(r#"{"target_ms": 0}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("target_ms: 0ns is not from 1 ms"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct AdmissionConfig {
    limit: LimitBy,
    queue: u32,
    target: Duration,
    interval: Duration,
    shares: [u8; 8],
}

/// How many calls may be in flight, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimitBy {
    /// So many: for a service whose capacity is known.
    Fixed(u32),
    /// [`Gradient`](crate::Gradient) finds out.
    Gradient(AdaptiveConfig),
    /// [`Aimd`](crate::Aimd) finds out.
    Aimd(AdaptiveConfig),
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    limit: LimitBy,
    queue: u32,
    target_ms: u64,
    interval_ms: u64,
    shares: [u8; 8],
}

/// An admission that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum InvalidAdmission {
    /// The fixed limit is not from 1 to [`AdmissionConfig::MAX`].
    BadLimit(u32),
    /// The queue is longer than [`AdmissionConfig::MAX`].
    BadQueue(u32),
    /// The target is under 1 ms or above the interval.
    BadTarget(Duration),
    /// The interval is under 1 ms or above [`AdmissionConfig::MAX_INTERVAL`].
    BadInterval(Duration),
    /// The shares are not from 1 to 100, or one is less than that of a lower priority.
    BadShares([u8; 8]),
}

impl AdmissionConfig {
    /// The largest limit, and the longest queue: a million.
    pub const MAX: u32 = 1_000_000;

    /// The longest interval: a minute.
    pub const MAX_INTERVAL: Duration = Duration::from_secs(60);

    /// Checks a limit. The rest has its defaults.
    ///
    /// # Errors
    /// If a fixed limit is not from 1 to [`MAX`](Self::MAX).
    pub const fn try_new(limit: LimitBy) -> Result<Self, InvalidAdmission> {
        match limit {
            LimitBy::Fixed(limit) if limit == 0 || limit > Self::MAX => {
                Err(InvalidAdmission::BadLimit(limit))
            }
            _ => Ok(AdmissionConfig { limit, ..Self::DEFAULT }),
        }
    }

    /// How many calls may wait for room at a time. None: all that find no room are refused at once.
    ///
    /// # Errors
    /// If it is above [`MAX`](Self::MAX).
    pub const fn with_queue(self, queue: u32) -> Result<Self, InvalidAdmission> {
        if queue > Self::MAX {
            return Err(InvalidAdmission::BadQueue(queue));
        }
        Ok(AdmissionConfig { queue, ..self })
    }

    /// How long a call may wait: for `interval` where the queue was empty within the last `interval`; for `target`
    /// where it was not.
    ///
    /// # Errors
    /// If the target is under 1 ms or above the interval, or the interval above
    /// [`MAX_INTERVAL`](Self::MAX_INTERVAL).
    pub fn with_delay(self, target: Duration, interval: Duration) -> Result<Self, InvalidAdmission> {
        let least = Duration::from_millis(1);
        if interval < least || interval > Self::MAX_INTERVAL {
            return Err(InvalidAdmission::BadInterval(interval));
        }
        if target < least || target > interval {
            return Err(InvalidAdmission::BadTarget(target));
        }
        Ok(AdmissionConfig { target, interval, ..self })
    }

    /// How many percent of the limit calls of each priority may fill, from 0 to 7: what is left is for those above
    /// them. Among those that wait, the highest priority goes first in any case.
    ///
    /// # Errors
    /// If they are not from 1 to 100, or one is less than that of a lower priority.
    pub const fn with_shares(self, shares: [u8; 8]) -> Result<Self, InvalidAdmission> {
        let (mut priority, mut before) = (0, 1);
        while priority < 8 {
            if shares[priority] < before || shares[priority] > 100 {
                return Err(InvalidAdmission::BadShares(shares));
            }
            before = shares[priority];
            priority += 1;
        }
        Ok(AdmissionConfig { shares, ..self })
    }

    /// How many calls may be in flight.
    pub const fn limit(&self) -> LimitBy {
        self.limit
    }

    /// How many calls may wait.
    pub const fn queue(&self) -> u32 {
        self.queue
    }

    /// How long a call may wait in a queue that stands.
    pub const fn target(&self) -> Duration {
        self.target
    }

    /// How long a call may wait in one that does not; and how long it takes to tell.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// How many percent of the limit calls of each priority may fill.
    pub const fn shares(&self) -> &[u8; 8] {
        &self.shares
    }

    /// How many calls may be in flight for one of each priority to join them; at least one.
    pub(super) fn rooms(&self, limit: u32) -> [u32; 8] {
        self.shares.map(|share| {
            let room = u64::from(limit) * u64::from(share) / 100;
            // At most `limit`.
            (room as u32).max(1)
        })
    }

    const DEFAULT: Self = AdmissionConfig {
        limit: LimitBy::Gradient(AdaptiveConfig::DEFAULT),
        queue: 1_024,
        target: Duration::from_millis(20),
        interval: Duration::from_millis(100),
        shares: [50, 60, 70, 80, 100, 100, 100, 100],
    };
}

/// A [gradient](crate::Gradient) limit; 1 024 places to wait in, for 20 ms or 100 ms (the target is between CoDel's 5 ms
/// for links and what calls of some milliseconds bear; the interval is CoDel's); half of the limit for the lowest
/// priority, all of it from the default one on.
impl Default for AdmissionConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for LimitBy {
    fn default() -> Self {
        AdmissionConfig::DEFAULT.limit
    }
}

impl Default for Raw {
    fn default() -> Self {
        AdmissionConfig::default().into()
    }
}

impl TryFrom<Raw> for AdmissionConfig {
    type Error = InvalidAdmission;

    fn try_from(raw: Raw) -> Result<Self, InvalidAdmission> {
        let ms = Duration::from_millis;
        AdmissionConfig::try_new(raw.limit)?
            .with_queue(raw.queue)?
            .with_delay(ms(raw.target_ms), ms(raw.interval_ms))?
            .with_shares(raw.shares)
    }
}

impl From<AdmissionConfig> for Raw {
    fn from(config: AdmissionConfig) -> Self {
        // At most a minute, as checked when it was made.
        let ms = |duration: Duration| duration.as_millis() as u64;
        let AdmissionConfig { limit, queue, target, interval, shares } = config;
        Raw { limit, queue, target_ms: ms(target), interval_ms: ms(interval), shares }
    }
}

impl fmt::Display for InvalidAdmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidAdmission::BadLimit(limit) => write!(f, "limit.fixed: {limit} is not from 1 to 1000000"),
            InvalidAdmission::BadQueue(queue) => write!(f, "queue: {queue} is above 1000000"),
            InvalidAdmission::BadTarget(target) => {
                write!(f, "target_ms: {target:?} is not from 1 ms to the interval")
            }
            InvalidAdmission::BadInterval(interval) => {
                write!(f, "interval_ms: {interval:?} is not from 1 ms to a minute")
            }
            InvalidAdmission::BadShares(shares) => {
                write!(f, "shares: {shares:?} are not percents from 1 to 100 that never fall")
            }
        }
    }
}

impl std::error::Error for InvalidAdmission {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range() {
        let config = AdmissionConfig::default();
        assert!(AdmissionConfig::try_new(LimitBy::Fixed(0)).is_err());
        assert_eq!(config.with_queue(1_000_001), Err(InvalidAdmission::BadQueue(1_000_001)));
        let ms = Duration::from_millis;
        assert!(config.with_delay(ms(5), ms(5)).is_ok());
        assert_eq!(config.with_delay(ms(6), ms(5)), Err(InvalidAdmission::BadTarget(ms(6))));
        assert_eq!(config.with_delay(ms(6), ms(60_001)), Err(InvalidAdmission::BadInterval(ms(60_001))));
        for shares in [[0; 8], [101; 8], [50, 40, 100, 100, 100, 100, 100, 100]] {
            assert_eq!(config.with_shares(shares), Err(InvalidAdmission::BadShares(shares)));
        }
        assert_eq!(config.rooms(10), [5, 6, 7, 8, 10, 10, 10, 10]);
        assert_eq!(config.rooms(1), [1; 8]);
    }

    #[test]
    fn the_form_in_a_file() {
        assert_eq!(serde_json::from_str::<AdmissionConfig>("{}").unwrap(), AdmissionConfig::default());
        let config = AdmissionConfig::try_new(LimitBy::Fixed(9)).unwrap().with_queue(0).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert!(
            text.starts_with(r#"{"limit":{"fixed":9},"queue":0,"target_ms":20,"interval_ms":100,"shares""#)
        );
        assert_eq!(serde_json::from_str::<AdmissionConfig>(&text).unwrap(), config);
        let read = |text| serde_json::from_str::<AdmissionConfig>(text).unwrap_err().to_string();
        assert!(read(r#"{"limit":{"fixed":0}}"#).contains("limit.fixed: 0 is not"));
        assert!(read(r#"{"limit":{"aimd":{"min":0}}}"#).contains("min 0"));
        assert!(read(r#"{"queues":1}"#).contains("unknown field"));
    }
}
