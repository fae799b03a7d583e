//! How many calls may be in flight, and what the others do: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How many calls may be in flight at a time, and what happens to one that comes when they are.
///
/// In a file, what is left out has its default:
///
/// ```
/// use std::time::Duration;
/// use towpath_limit::{ConcurrencyConfig, QueueOrder, WhenFull};
///
/// let text = r#"{"limit": 64, "when_full": {"wait": {"queue": 128, "timeout_ms": 50, "order": "newest_first"}}}"#;
/// let config: ConcurrencyConfig = serde_json::from_str(text)?;
/// let timeout = Duration::from_millis(50);
/// assert_eq!(config.when_full(), WhenFull::Wait { queue: 128, timeout, order: QueueOrder::NewestFirst });
/// let refused = serde_json::from_str::<ConcurrencyConfig>(r#"{"limit": 0}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("limit: 0 is not from 1 to 1000000"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct ConcurrencyConfig {
    limit: u32,
    when_full: WhenFull,
    retry_after: Option<Duration>,
}

/// What a call does that comes when as many are in flight as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It is refused at once.
    Reject,
    /// It waits in its own future, for `timeout` at most and not beyond its deadline, together with up to `queue`
    /// calls; further ones are refused at once (or, with the newest first, push the oldest one out).
    Wait {
        /// How many may wait at a time.
        queue: u32,
        /// How long each may wait.
        timeout: Duration,
        /// Whose turn it is.
        order: QueueOrder,
    },
    /// The service is not ready: its caller waits in `poll_ready`, for as long as it likes, in the order in which
    /// they came. For callers that can go elsewhere, or that are to be slowed down. There is no bound to how many
    /// wait, and no deadline: nobody knows of the call yet.
    Backpressure,
}

/// Whose turn it is when there is room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueOrder {
    /// Who came first. Fair; when there is always a queue, everybody has waited for long.
    #[default]
    OldestFirst,
    /// Who came last. When there is always a queue, those whose turn comes have hardly waited, and the others
    /// wait in vain.
    NewestFirst,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    limit: u32,
    when_full: RawWhenFull,
    retry_after_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum RawWhenFull {
    Reject,
    Wait(RawWait),
    Backpressure,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWait {
    queue: u32,
    timeout_ms: u64,
    #[serde(default)]
    order: QueueOrder,
}

/// A limit that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidConcurrency {
    /// The limit is not from 1 to [`ConcurrencyConfig::MAX`].
    BadLimit(u32),
    /// The queue has not from 1 to [`ConcurrencyConfig::MAX`] places.
    BadQueue(u32),
    /// The time-out of the wait is under 1 ms or above [`ConcurrencyConfig::MAX_WAIT`].
    BadTimeout(Duration),
}

impl ConcurrencyConfig {
    /// The largest limit, and the longest queue: a million.
    pub const MAX: u32 = 1_000_000;

    /// The longest wait: an hour.
    pub const MAX_WAIT: Duration = Duration::from_secs(3_600);

    /// Checks a limit; calls above it are refused at once, unless [`with_when_full`](Self::with_when_full) says
    /// otherwise.
    ///
    /// # Errors
    /// If the limit is not from 1 to [`MAX`](Self::MAX).
    pub const fn try_new(limit: u32) -> Result<Self, InvalidConcurrency> {
        if limit == 0 || limit > Self::MAX {
            return Err(InvalidConcurrency::BadLimit(limit));
        }
        Ok(ConcurrencyConfig { limit, ..Self::DEFAULT })
    }

    /// Another word on what calls do that find no room.
    ///
    /// # Errors
    /// If a wait has a queue that is not from 1 to [`MAX`](Self::MAX), or a time-out under 1 ms or above
    /// [`MAX_WAIT`](Self::MAX_WAIT).
    pub const fn with_when_full(self, when_full: WhenFull) -> Result<Self, InvalidConcurrency> {
        if let WhenFull::Wait { queue, timeout, .. } = when_full {
            if queue == 0 || queue > Self::MAX {
                return Err(InvalidConcurrency::BadQueue(queue));
            }
            if timeout.as_nanos() < 1_000_000 || timeout.as_nanos() > Self::MAX_WAIT.as_nanos() {
                return Err(InvalidConcurrency::BadTimeout(timeout));
            }
        }
        Ok(ConcurrencyConfig { when_full, ..self })
    }

    /// Another hint for callers that are refused; `None`: no hint.
    #[must_use]
    pub const fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        ConcurrencyConfig { retry_after, ..self }
    }

    /// How many calls may be in flight.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// What a call does that finds no room.
    pub const fn when_full(&self) -> WhenFull {
        self.when_full
    }

    /// What callers are told that are refused.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    const DEFAULT: Self = ConcurrencyConfig {
        limit: 1_024,
        when_full: WhenFull::Reject,
        retry_after: Some(Duration::from_millis(100)),
    };
}

/// 1 024 in flight, as Envoy's circuit breakers have it for a cluster; refusal at once; a hint of 100 ms, for want of
/// a better one: this limit knows nothing of how long calls take.
impl Default for ConcurrencyConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for Raw {
    fn default() -> Self {
        ConcurrencyConfig::default().into()
    }
}

impl TryFrom<Raw> for ConcurrencyConfig {
    type Error = InvalidConcurrency;

    fn try_from(raw: Raw) -> Result<Self, InvalidConcurrency> {
        let ms = Duration::from_millis;
        let when_full = match raw.when_full {
            RawWhenFull::Reject => WhenFull::Reject,
            RawWhenFull::Wait(RawWait { queue, timeout_ms, order }) => {
                WhenFull::Wait { queue, timeout: ms(timeout_ms), order }
            }
            RawWhenFull::Backpressure => WhenFull::Backpressure,
        };
        let retry_after = (raw.retry_after_ms > 0).then_some(ms(raw.retry_after_ms));
        Ok(ConcurrencyConfig::try_new(raw.limit)?.with_when_full(when_full)?.with_retry_after(retry_after))
    }
}

impl From<ConcurrencyConfig> for Raw {
    fn from(config: ConcurrencyConfig) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let when_full = match config.when_full {
            WhenFull::Reject => RawWhenFull::Reject,
            WhenFull::Wait { queue, timeout, order } => {
                RawWhenFull::Wait(RawWait { queue, timeout_ms: ms(timeout), order })
            }
            WhenFull::Backpressure => RawWhenFull::Backpressure,
        };
        Raw { limit: config.limit, when_full, retry_after_ms: config.retry_after.map_or(0, ms) }
    }
}

impl fmt::Display for InvalidConcurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidConcurrency::BadLimit(limit) => write!(f, "limit: {limit} is not from 1 to 1000000"),
            InvalidConcurrency::BadQueue(queue) => {
                write!(f, "when_full.wait.queue: {queue} is not from 1 to 1000000 (to have no queue, reject)")
            }
            InvalidConcurrency::BadTimeout(timeout) => {
                write!(f, "when_full.wait.timeout_ms: {timeout:?} is not from 1 ms to an hour")
            }
        }
    }
}

impl std::error::Error for InvalidConcurrency {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range() {
        assert!(ConcurrencyConfig::try_new(1).is_ok() && ConcurrencyConfig::try_new(1_000_000).is_ok());
        for limit in [0, 1_000_001] {
            assert_eq!(ConcurrencyConfig::try_new(limit), Err(InvalidConcurrency::BadLimit(limit)));
        }
        let wait = |queue, us| {
            let timeout = Duration::from_micros(us);
            let order = QueueOrder::OldestFirst;
            ConcurrencyConfig::default().with_when_full(WhenFull::Wait { queue, timeout, order })
        };
        assert!(wait(1, 1_000).is_ok());
        assert_eq!(wait(0, 1_000), Err(InvalidConcurrency::BadQueue(0)));
        assert!(matches!(wait(1, 999), Err(InvalidConcurrency::BadTimeout(_))));
        assert!(matches!(wait(1, 3_600_000_001), Err(InvalidConcurrency::BadTimeout(_))));
    }

    #[test]
    fn the_form_in_a_file() {
        assert_eq!(serde_json::from_str::<ConcurrencyConfig>("{}").unwrap(), ConcurrencyConfig::default());
        let text = serde_json::to_string(&ConcurrencyConfig::default()).unwrap();
        assert_eq!(text, r#"{"limit":1024,"when_full":"reject","retry_after_ms":100}"#);
        let wait =
            WhenFull::Wait { queue: 9, timeout: Duration::from_millis(7), order: QueueOrder::NewestFirst };
        for when_full in [wait, WhenFull::Backpressure] {
            let config = ConcurrencyConfig::try_new(3).unwrap().with_when_full(when_full).unwrap();
            let text = serde_json::to_string(&config.with_retry_after(None)).unwrap();
            assert_eq!(
                serde_json::from_str::<ConcurrencyConfig>(&text).unwrap(),
                config.with_retry_after(None)
            );
        }
        let read = |text| serde_json::from_str::<ConcurrencyConfig>(text).unwrap_err().to_string();
        assert!(read(r#"{"limits":1}"#).contains("unknown field"));
        assert!(
            read(r#"{"when_full":{"wait":{"queue":1,"timeout_ms":0}}}"#)
                .contains("when_full.wait.timeout_ms")
        );
    }
}
