//! How long leases last, and how much is taken: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How long leases last, and how much a [`Registry`](crate::Registry) takes.
///
/// In a file, times are whole milliseconds, and what is left out has its default:
///
/// | | default | |
/// | --- | --- | --- |
/// | `heartbeat_ms` | 10 000 | how often heartbeats are wanted; it is told to whoever registers. Consul's and Nacos' examples have 5 to 10 s |
/// | `missed` | 2 | a lease runs out when so many were missed: after 20 s |
/// | `max_services` | 1024 | |
/// | `max_instances` | 65 536 | of all services together |
/// | `max_service_bytes` | 8 388 608 | what the instances of one service may say of themselves together: a list of them has to fit into one answer, 16 MiB |
/// | `max_watches` | 65 536 | watches that wait at a time |
/// | `max_wait_ms` | 60 000 | how long a watch waits, whatever it asks for |
///
/// ```
/// use std::time::Duration;
/// use towpath_registry::RegistryConfig;
///
/// let config: RegistryConfig = serde_json::from_str(r#"{"heartbeat_ms": 2000, "missed": 3}"#)?;
/// assert_eq!(config, RegistryConfig::default().with_heartbeat(Duration::from_secs(2))?.with_missed(3)?);
/// assert_eq!(config.lease(), Duration::from_secs(6));
/// assert!(serde_json::from_str::<RegistryConfig>(r#"{"missed": 0}"#).unwrap_err().to_string().starts_with("missed"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct RegistryConfig {
    heartbeat: Duration,
    missed: u32,
    max_services: usize,
    max_instances: usize,
    max_service_bytes: usize,
    max_watches: usize,
    max_wait: Duration,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    heartbeat_ms: u64,
    missed: u32,
    max_services: usize,
    max_instances: usize,
    max_service_bytes: usize,
    max_watches: usize,
    max_wait_ms: u64,
}

/// A config that makes no sense; it names the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRegistry {
    /// `heartbeat_ms` is not from 100 ms to an hour.
    Heartbeat(Duration),
    /// `missed` is not from 1 to 100.
    Missed(u32),
    /// `max_services`, `max_instances`, `max_service_bytes` or `max_watches` is not from 1 to
    /// [`RegistryConfig::MAX_COUNT`].
    Count(&'static str, usize),
    /// `max_wait_ms` is not from 100 ms to ten minutes.
    MaxWait(Duration),
}

impl RegistryConfig {
    /// The most of whatever is counted: 2³⁰.
    pub const MAX_COUNT: usize = 1 << 30;

    /// How often heartbeats are wanted.
    ///
    /// # Errors
    /// If it is not from 100 ms to an hour.
    pub fn with_heartbeat(self, heartbeat: Duration) -> Result<Self, InvalidRegistry> {
        let range = Duration::from_millis(100)..=Duration::from_secs(3_600);
        if !range.contains(&heartbeat) {
            return Err(InvalidRegistry::Heartbeat(heartbeat));
        }
        Ok(RegistryConfig { heartbeat, ..self })
    }

    /// After how many missed heartbeats a lease runs out.
    ///
    /// # Errors
    /// If it is not from 1 to 100.
    pub fn with_missed(self, missed: u32) -> Result<Self, InvalidRegistry> {
        if !(1..=100).contains(&missed) {
            return Err(InvalidRegistry::Missed(missed));
        }
        Ok(RegistryConfig { missed, ..self })
    }

    /// How many services, and how many instances of all of them.
    ///
    /// # Errors
    /// If one is not from 1 to [`MAX_COUNT`](Self::MAX_COUNT).
    pub fn with_most(self, services: usize, instances: usize) -> Result<Self, InvalidRegistry> {
        let max_services = count("max_services", services)?;
        let max_instances = count("max_instances", instances)?;
        Ok(RegistryConfig { max_services, max_instances, ..self })
    }

    /// How many bytes the instances of one service may say of themselves together.
    ///
    /// # Errors
    /// If it is not from 1 to [`MAX_COUNT`](Self::MAX_COUNT).
    pub fn with_max_service_bytes(self, bytes: usize) -> Result<Self, InvalidRegistry> {
        Ok(RegistryConfig { max_service_bytes: count("max_service_bytes", bytes)?, ..self })
    }

    /// How many watches may wait at a time, and for how long each.
    ///
    /// # Errors
    /// If the number is not from 1 to [`MAX_COUNT`](Self::MAX_COUNT), or the time not from 100 ms to ten minutes.
    pub fn with_watches(self, max_watches: usize, max_wait: Duration) -> Result<Self, InvalidRegistry> {
        let range = Duration::from_millis(100)..=Duration::from_secs(600);
        if !range.contains(&max_wait) {
            return Err(InvalidRegistry::MaxWait(max_wait));
        }
        Ok(RegistryConfig { max_watches: count("max_watches", max_watches)?, max_wait, ..self })
    }

    /// How often heartbeats are wanted.
    pub const fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// How long a lease lasts without a heartbeat: as many intervals as may be missed.
    pub fn lease(&self) -> Duration {
        self.heartbeat * self.missed
    }

    /// How many services there may be.
    pub const fn max_services(&self) -> usize {
        self.max_services
    }

    /// How many instances there may be, of all services together.
    pub const fn max_instances(&self) -> usize {
        self.max_instances
    }

    /// How many bytes the instances of one service may say of themselves together.
    pub const fn max_service_bytes(&self) -> usize {
        self.max_service_bytes
    }

    /// How many watches may wait at a time.
    pub const fn max_watches(&self) -> usize {
        self.max_watches
    }

    /// How long a watch waits, whatever it asks for.
    pub const fn max_wait(&self) -> Duration {
        self.max_wait
    }
}

fn count(field: &'static str, n: usize) -> Result<usize, InvalidRegistry> {
    match n {
        1..=RegistryConfig::MAX_COUNT => Ok(n),
        _ => Err(InvalidRegistry::Count(field, n)),
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        RegistryConfig {
            heartbeat: Duration::from_secs(10),
            missed: 2,
            max_services: 1_024,
            max_instances: 65_536,
            max_service_bytes: 8 << 20,
            max_watches: 65_536,
            max_wait: Duration::from_secs(60),
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        RegistryConfig::default().into()
    }
}

impl TryFrom<Raw> for RegistryConfig {
    type Error = InvalidRegistry;

    fn try_from(raw: Raw) -> Result<Self, InvalidRegistry> {
        RegistryConfig::default()
            .with_heartbeat(Duration::from_millis(raw.heartbeat_ms))?
            .with_missed(raw.missed)?
            .with_most(raw.max_services, raw.max_instances)?
            .with_max_service_bytes(raw.max_service_bytes)?
            .with_watches(raw.max_watches, Duration::from_millis(raw.max_wait_ms))
    }
}

impl From<RegistryConfig> for Raw {
    fn from(config: RegistryConfig) -> Self {
        // At most an hour, as checked when it was made.
        let ms = |time: Duration| time.as_millis() as u64;
        Raw {
            heartbeat_ms: ms(config.heartbeat),
            missed: config.missed,
            max_services: config.max_services,
            max_instances: config.max_instances,
            max_service_bytes: config.max_service_bytes,
            max_watches: config.max_watches,
            max_wait_ms: ms(config.max_wait),
        }
    }
}

impl fmt::Display for InvalidRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidRegistry::Heartbeat(time) => {
                write!(f, "heartbeat_ms: {time:?} is not from 100 ms to an hour")
            }
            InvalidRegistry::Missed(n) => write!(f, "missed: {n} is not from 1 to 100"),
            InvalidRegistry::Count(field, n) => {
                write!(f, "{field}: {n} is not from 1 to {}", RegistryConfig::MAX_COUNT)
            }
            InvalidRegistry::MaxWait(time) => {
                write!(f, "max_wait_ms: {time:?} is not from 100 ms to ten minutes")
            }
        }
    }
}

impl std::error::Error for InvalidRegistry {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_in_a_file() {
        let text = serde_json::to_string(&RegistryConfig::default()).unwrap();
        assert_eq!(serde_json::from_str::<RegistryConfig>(&text).unwrap(), RegistryConfig::default());
        for (bad, says) in [
            (r#"{"heartbeat_ms":99}"#, "heartbeat_ms"),
            (r#"{"missed":101}"#, "missed"),
            (r#"{"max_services":0}"#, "max_services"),
            (r#"{"max_instances":0}"#, "max_instances"),
            (r#"{"max_service_bytes":0}"#, "max_service_bytes"),
            (r#"{"max_watches":0}"#, "max_watches"),
            (r#"{"max_wait_ms":600001}"#, "max_wait_ms"),
            (r#"{"heartbeats":1}"#, "unknown field"),
        ] {
            let error = serde_json::from_str::<RegistryConfig>(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
