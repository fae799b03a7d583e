//! How often endpoints are probed, and what of it makes them unhealthy: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// What an endpoint is taken for before its first probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initial {
    /// Healthy until as many probes have failed as it takes: a new endpoint gets calls at once.
    #[default]
    Healthy,
    /// Unhealthy until the first probe: one success lets it in. It is probed within a tenth of the interval.
    Unhealthy,
}

/// What a [`HealthConfig`] is made of, unchecked: change what is to differ, and check the whole.
///
/// ```
/// use std::time::Duration;
/// use towpath_health::{HealthConfig, HealthOptions};
/// let config = HealthConfig::try_new(HealthOptions {
///     interval: Duration::from_secs(10),
///     recheck: Some(Duration::from_secs(2)),
///     ..HealthOptions::default()
/// })?;
/// assert_eq!((config.failures, config.successes), (3, 2));
/// # Ok::<(), towpath_health::InvalidHealth>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HealthOptions {
    /// The time from one probe of an endpoint to the next: 10 ms to a day. Default: 5 s.
    pub interval: Duration,
    /// The same for an endpoint that is unhealthy or in doubt, that is, whose last probe failed: at most `interval`. `None`,
    /// the default: no other. A short one finds failures sooner, and takes a short pause for a failure sooner, too.
    pub recheck: Option<Duration>,
    /// The share of these times by which chance makes each of them shorter or longer, so that the probes of many stay
    /// apart: 0 to 0.5. Default: 0.1. The first probe of a new endpoint comes at any time within the interval.
    pub jitter: f64,
    /// How long a probe may take, from 1 ms up to `interval`; after that it has failed. Default: 1 s.
    pub timeout: Duration,
    /// How many probes in a row have to fail until an endpoint is unhealthy: 1 to 1000. Default: 3.
    pub failures: u32,
    /// How many probes in a row have to succeed until an unhealthy endpoint is healthy again: 1 to 1000. Default: 2.
    pub successes: u32,
    /// How many probes are under way at a time, at most: 1 to 65 536. Default: 256. Where that is too few, all endpoints
    /// are probed more rarely: `endpoints` times the time that a probe takes, divided by `concurrency`, is the least
    /// interval there is. Each takes a file descriptor.
    pub concurrency: usize,
    /// What an endpoint is taken for before its first probe. Default: healthy.
    pub initial: Initial,
}

/// How often endpoints are probed, and what of it makes them unhealthy.
///
/// Its fields are those of [`HealthOptions`], checked. In a file, times are whole milliseconds, and what is left
/// out has its default:
///
/// ```
/// use std::time::Duration;
/// use towpath_health::{HealthConfig, Initial};
/// let config: HealthConfig = serde_json::from_str(r#"{"interval_ms": 2000, "initial": "unhealthy"}"#)?;
/// assert_eq!((config.interval, config.initial), (Duration::from_secs(2), Initial::Unhealthy));
/// let refused = serde_json::from_str::<HealthConfig>(r#"{"timeout_ms": 6000}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("timeout_ms: 6s is not from 1ms to 5s"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct HealthConfig(HealthOptions);

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHealth {
    field: &'static str,
    reason: String,
}

impl HealthConfig {
    /// The longest interval: a day.
    pub const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

    /// The most probes at a time.
    pub const MAX_CONCURRENCY: usize = 65_536;

    /// Checks a config.
    ///
    /// # Errors
    /// If a field is out of the range that is said there.
    pub fn try_new(options: HealthOptions) -> Result<Self, InvalidHealth> {
        let o = &options;
        between("interval_ms", o.interval, ms(10), Self::MAX_INTERVAL)?;
        if let Some(recheck) = o.recheck {
            between("recheck_ms", recheck, ms(10), o.interval)?;
        }
        if !(0.0..=0.5).contains(&o.jitter) {
            return refuse("jitter", format!("{} is not from 0 to 0.5", o.jitter));
        }
        between("timeout_ms", o.timeout, ms(1), o.interval)?;
        for (field, count) in [("failures", o.failures), ("successes", o.successes)] {
            if !(1..=1000).contains(&count) {
                return refuse(field, format!("{count} is not from 1 to 1000"));
            }
        }
        if !(1..=Self::MAX_CONCURRENCY).contains(&o.concurrency) {
            let (n, most) = (o.concurrency, Self::MAX_CONCURRENCY);
            return refuse("concurrency", format!("{n} is not from 1 to {most}"));
        }
        Ok(HealthConfig(options))
    }

    /// The fields, to make another config of them.
    pub fn options(&self) -> HealthOptions {
        self.0.clone()
    }
}

impl std::ops::Deref for HealthConfig {
    type Target = HealthOptions;

    fn deref(&self) -> &HealthOptions {
        &self.0
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn refuse<T>(field: &'static str, reason: String) -> Result<T, InvalidHealth> {
    Err(InvalidHealth { field, reason })
}

fn between(
    field: &'static str,
    time: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), InvalidHealth> {
    if (least..=most).contains(&time) {
        return Ok(());
    }
    refuse(field, format!("{time:?} is not from {least:?} to {most:?}"))
}

impl InvalidHealth {
    /// The name of the field, as in a file.
    pub fn field(&self) -> &str {
        self.field
    }
}

impl fmt::Display for InvalidHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidHealth {}

impl Default for HealthOptions {
    fn default() -> Self {
        HealthOptions {
            interval: Duration::from_secs(5),
            recheck: None,
            jitter: 0.1,
            timeout: Duration::from_secs(1),
            failures: 3,
            successes: 2,
            concurrency: 256,
            initial: Initial::Healthy,
        }
    }
}

/// As [`HealthOptions`].
impl Default for HealthConfig {
    fn default() -> Self {
        HealthConfig(HealthOptions::default())
    }
}

impl TryFrom<HealthOptions> for HealthConfig {
    type Error = InvalidHealth;

    fn try_from(options: HealthOptions) -> Result<Self, InvalidHealth> {
        HealthConfig::try_new(options)
    }
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    interval_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    recheck_ms: Option<u64>,
    jitter: f64,
    timeout_ms: u64,
    failures: u32,
    successes: u32,
    concurrency: usize,
    initial: Initial,
}

impl Default for Raw {
    fn default() -> Self {
        HealthConfig::default().into()
    }
}

impl TryFrom<Raw> for HealthConfig {
    type Error = InvalidHealth;

    fn try_from(raw: Raw) -> Result<Self, InvalidHealth> {
        HealthConfig::try_new(HealthOptions {
            interval: ms(raw.interval_ms),
            recheck: raw.recheck_ms.map(ms),
            jitter: raw.jitter,
            timeout: ms(raw.timeout_ms),
            failures: raw.failures,
            successes: raw.successes,
            concurrency: raw.concurrency,
            initial: raw.initial,
        })
    }
}

impl From<HealthConfig> for Raw {
    fn from(HealthConfig(o): HealthConfig) -> Self {
        // All are at most a day, as checked when it was made.
        let whole = |time: Duration| time.as_millis() as u64;
        Raw {
            interval_ms: whole(o.interval),
            recheck_ms: o.recheck.map(whole),
            jitter: o.jitter,
            timeout_ms: whole(o.timeout),
            failures: o.failures,
            successes: o.successes,
            concurrency: o.concurrency,
            initial: o.initial,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        let refused = |change: fn(&mut HealthOptions)| {
            let mut options = HealthOptions::default();
            change(&mut options);
            HealthConfig::try_new(options).unwrap_err().field
        };
        assert_eq!(refused(|o| o.interval = ms(9)), "interval_ms");
        assert_eq!(refused(|o| o.interval = Duration::MAX), "interval_ms");
        assert_eq!(refused(|o| o.recheck = Some(ms(5_001))), "recheck_ms");
        assert_eq!(refused(|o| o.jitter = 0.51), "jitter");
        assert_eq!(refused(|o| o.jitter = f64::NAN), "jitter");
        assert_eq!(refused(|o| o.timeout = Duration::ZERO), "timeout_ms");
        assert_eq!(refused(|o| o.timeout = ms(5_001)), "timeout_ms");
        assert_eq!(refused(|o| o.failures = 0), "failures");
        assert_eq!(refused(|o| o.successes = 1001), "successes");
        assert_eq!(refused(|o| o.concurrency = 0), "concurrency");
        let config = HealthConfig::default();
        assert_eq!(HealthConfig::try_new(config.options()), Ok(config));
    }

    #[test]
    fn the_form_in_a_file() {
        let read = |text: &str| serde_json::from_str::<HealthConfig>(text);
        assert_eq!(read("{}").unwrap(), HealthConfig::default());
        let config = HealthConfig::try_new(HealthOptions {
            recheck: Some(ms(250)),
            initial: Initial::Unhealthy,
            ..HealthOptions::default()
        });
        let config = config.unwrap();
        assert_eq!(read(&serde_json::to_string(&config).unwrap()).unwrap(), config);
        assert!(read(r#"{"period_ms": 5}"#).unwrap_err().to_string().contains("unknown field"));
        assert!(read(r#"{"initial": "maybe"}"#).is_err());
    }
}
