//! What is kept back for the fallback itself: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How much of a call's deadline is kept back for the fallback itself, where that may take its time.
///
/// ```
/// use std::time::Duration;
/// use towpath_fallback::FallbackConfig;
/// let config: FallbackConfig = serde_json::from_str(r#"{"reserve_ms": 100}"#)?;
/// assert_eq!(config.reserve(), Duration::from_millis(100));
/// assert!(serde_json::from_str::<FallbackConfig>(r#"{"reserve_ms": 60001}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct FallbackConfig {
    reserve: Duration,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    reserve_ms: u64,
}

/// A reserve that makes no sense: above [`FallbackConfig::MAX_RESERVE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidReserve(pub Duration);

impl FallbackConfig {
    /// The largest reserve: a minute.
    pub const MAX_RESERVE: Duration = Duration::from_secs(60);

    /// Checks a reserve; 0 keeps nothing back.
    ///
    /// # Errors
    /// If it is above [`MAX_RESERVE`](Self::MAX_RESERVE).
    pub const fn try_new(reserve: Duration) -> Result<Self, InvalidReserve> {
        if reserve.as_nanos() > Self::MAX_RESERVE.as_nanos() {
            return Err(InvalidReserve(reserve));
        }
        Ok(FallbackConfig { reserve })
    }

    /// How much is kept back.
    pub const fn reserve(&self) -> Duration {
        self.reserve
    }

    /// How much of what is left is kept back: never more than a fifth, or a short deadline would be all reserve.
    pub(crate) fn of(&self, left: Duration) -> Duration {
        self.reserve.min(left / 5)
    }
}

impl Default for FallbackConfig {
    /// 50 ms: a round trip or a few within one site.
    fn default() -> Self {
        FallbackConfig { reserve: Duration::from_millis(50) }
    }
}

impl Default for Raw {
    fn default() -> Self {
        FallbackConfig::default().into()
    }
}

impl TryFrom<Raw> for FallbackConfig {
    type Error = InvalidReserve;

    fn try_from(raw: Raw) -> Result<Self, InvalidReserve> {
        FallbackConfig::try_new(Duration::from_millis(raw.reserve_ms))
    }
}

impl From<FallbackConfig> for Raw {
    fn from(config: FallbackConfig) -> Self {
        // At most a minute.
        Raw { reserve_ms: config.reserve.as_millis() as u64 }
    }
}

impl fmt::Display for InvalidReserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reserve_ms: {:?} is above {:?}", self.0, FallbackConfig::MAX_RESERVE)
    }
}

impl std::error::Error for InvalidReserve {}
