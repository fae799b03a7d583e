//! How long a registry is waited for, and when it is asked again.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use towpath_core::{Backoff, Jitter};

/// How long a registry is waited for, and when one that was not reached is asked again. How often heartbeats go out is
/// for the registry to say.
///
/// In a file, times are whole milliseconds, and what is left out has its default: `timeout_ms` 2000, for each question
/// and for taking one's leave; `backoff` from 500 ms, doubling up to 10 s, equal jitter.
///
/// ```
/// use std::time::Duration;
/// use towpath_registry::RegistrationConfig;
/// let config: RegistrationConfig = serde_json::from_str(r#"{"timeout_ms": 500}"#)?;
/// assert_eq!(config.timeout(), Duration::from_millis(500));
/// assert!(serde_json::from_str::<RegistrationConfig>(r#"{"timeout_ms": 0}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct RegistrationConfig {
    timeout: Duration,
    backoff: Backoff,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    timeout_ms: u64,
    backoff: Backoff,
}

/// `timeout_ms` is not from 1 ms to a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRegistrationConfig(Duration);

impl RegistrationConfig {
    /// How long an answer is waited for.
    ///
    /// # Errors
    /// If it is not from 1 ms to a minute.
    pub fn with_timeout(self, timeout: Duration) -> Result<Self, InvalidRegistrationConfig> {
        if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&timeout) {
            return Err(InvalidRegistrationConfig(timeout));
        }
        Ok(RegistrationConfig { timeout, ..self })
    }

    /// When a registry that was not reached is asked again.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        RegistrationConfig { backoff, ..self }
    }

    /// How long an answer is waited for.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// When a registry that was not reached is asked again.
    pub const fn backoff(&self) -> Backoff {
        self.backoff
    }
}

impl Default for RegistrationConfig {
    fn default() -> Self {
        let (base, max) = (Duration::from_millis(500), Duration::from_secs(10));
        let backoff = Backoff::try_new(base, max, 2.0, Jitter::Equal).unwrap_or_default();
        RegistrationConfig { timeout: Duration::from_secs(2), backoff }
    }
}

impl Default for Raw {
    fn default() -> Self {
        RegistrationConfig::default().into()
    }
}

impl TryFrom<Raw> for RegistrationConfig {
    type Error = InvalidRegistrationConfig;

    fn try_from(raw: Raw) -> Result<Self, InvalidRegistrationConfig> {
        let config = RegistrationConfig::default().with_backoff(raw.backoff);
        config.with_timeout(Duration::from_millis(raw.timeout_ms))
    }
}

impl From<RegistrationConfig> for Raw {
    fn from(config: RegistrationConfig) -> Self {
        // At most a minute, as checked when it was made.
        Raw { timeout_ms: config.timeout.as_millis() as u64, backoff: config.backoff }
    }
}

impl fmt::Display for InvalidRegistrationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timeout_ms: {:?} is not from 1 ms to a minute", self.0)
    }
}

impl std::error::Error for InvalidRegistrationConfig {}
