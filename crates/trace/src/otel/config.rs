//! How spans are sent: a validated value.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, ops::Deref, time::Duration};

/// What an [`ExportConfig`] is made of, unchecked.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportOptions {
    /// The name of this service (`service.name`). Default: none is said, and OpenTelemetry's SDK takes it from
    /// `OTEL_SERVICE_NAME`, or calls it `unknown_service`.
    pub service: Option<String>,
    /// What else is to be said of this service (`service.version`, `deployment.environment.name`).
    pub resource: BTreeMap<String, String>,
    /// The share of the traces that do not begin with a call (a job, a timer) which is sampled, from 0 to 1.
    /// Default: 0.01, as of those that do.
    pub sample_others: f64,
    /// How many spans wait to be sent, at most: what ends beyond that is dropped, and counted. From 1 to 1 000 000.
    /// Default: 2 048 (OpenTelemetry).
    pub queue: usize,
    /// How many spans are sent at once, at most. From 1. Default: 512 (OpenTelemetry).
    pub batch: usize,
    /// How long a span waits for others, at most. From 10 ms to an hour. Default: 1 s. (OpenTelemetry has 5 s; who is
    /// woken at night does not want to wait for it.)
    pub interval: Duration,
    /// How long it may take to send a batch; then it is given up. From 10 ms to an hour. Default: 10 s
    /// (OpenTelemetry).
    pub timeout: Duration,
}

impl Default for ExportOptions {
    fn default() -> Self {
        ExportOptions {
            service: None,
            resource: BTreeMap::new(),
            sample_others: 0.01,
            queue: 2_048,
            batch: 512,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
        }
    }
}

/// How spans are sent.
///
/// Its fields are those of [`ExportOptions`], checked. In a file, times are whole milliseconds, and what is left out
/// has its default:
///
/// ```
/// use std::time::Duration;
/// use towpath_trace::otel::ExportConfig;
/// let config: ExportConfig = serde_json::from_str(r#"{"service": "orders", "interval_ms": 200}"#)?;
/// assert_eq!((config.service.as_deref(), config.interval), (Some("orders"), Duration::from_millis(200)));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct ExportConfig(ExportOptions);

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidExport {
    pub(super) field: &'static str,
    pub(super) reason: String,
}

impl ExportConfig {
    /// Checks a config.
    ///
    /// # Errors
    /// If a field is out of the range that is said there.
    pub fn try_new(options: ExportOptions) -> Result<Self, InvalidExport> {
        let refuse = |field, reason| Err(InvalidExport { field, reason });
        if !(0.0..=1.0).contains(&options.sample_others) {
            return refuse("sample_others", format!("{} is not from 0 to 1", options.sample_others));
        }
        if !(1..=1_000_000).contains(&options.queue) {
            return refuse("queue", format!("{} is not from 1 to 1000000", options.queue));
        }
        if options.batch == 0 {
            return refuse("batch", "0 is not at least 1".into());
        }
        for (field, time) in [("interval_ms", options.interval), ("timeout_ms", options.timeout)] {
            if !(Duration::from_millis(10)..=Duration::from_secs(3_600)).contains(&time) {
                return refuse(field, format!("{time:?} is not from 10 ms to 1 h"));
            }
        }
        Ok(ExportConfig(options))
    }

    /// In the name of a service.
    pub fn of_service(name: impl Into<String>) -> Self {
        ExportConfig(ExportOptions { service: Some(name.into()), ..ExportOptions::default() })
    }

    /// What it is made of, to make another one of it.
    pub fn options(&self) -> ExportOptions {
        self.0.clone()
    }
}

impl Deref for ExportConfig {
    type Target = ExportOptions;

    fn deref(&self) -> &ExportOptions {
        &self.0
    }
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    service: Option<String>,
    resource: BTreeMap<String, String>,
    sample_others: f64,
    queue: usize,
    batch: usize,
    interval_ms: u64,
    timeout_ms: u64,
}

impl Default for Raw {
    fn default() -> Self {
        ExportConfig::default().into()
    }
}

impl TryFrom<Raw> for ExportConfig {
    type Error = InvalidExport;

    fn try_from(raw: Raw) -> Result<Self, InvalidExport> {
        let Raw { service, resource, sample_others, queue, batch, interval_ms, timeout_ms } = raw;
        let (interval, timeout) = (Duration::from_millis(interval_ms), Duration::from_millis(timeout_ms));
        ExportConfig::try_new(ExportOptions {
            service,
            resource,
            sample_others,
            queue,
            batch,
            interval,
            timeout,
        })
    }
}

impl From<ExportConfig> for Raw {
    fn from(ExportConfig(options): ExportConfig) -> Self {
        let ExportOptions { service, resource, sample_others, queue, batch, interval, timeout } = options;
        // At most an hour, as checked when it was made.
        let (interval_ms, timeout_ms) = (interval.as_millis() as u64, timeout.as_millis() as u64);
        Raw { service, resource, sample_others, queue, batch, interval_ms, timeout_ms }
    }
}

impl fmt::Display for InvalidExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidExport {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_in_a_file() {
        let read = |text: &str| serde_json::from_str::<ExportConfig>(text).map_err(|error| error.to_string());
        assert_eq!(read("{}").unwrap(), ExportConfig::default());
        let some = read(r#"{"service": "a", "resource": {"service.version": "1"}, "queue": 1}"#).unwrap();
        assert_eq!(read(&serde_json::to_string(&some).unwrap()).unwrap(), some);
        for (text, says) in [
            (r#"{"sample_others": 2}"#, "sample_others: 2 is not from 0 to 1"),
            (r#"{"queue": 0}"#, "queue: 0 is not from 1 to 1000000"),
            (r#"{"batch": 0}"#, "batch: 0 is not at least 1"),
            (r#"{"interval_ms": 9}"#, "interval_ms: 9ms is not from 10 ms to 1 h"),
            (r#"{"timeout_ms": 3600001}"#, "timeout_ms: 3600.001s is not from 10 ms to 1 h"),
            (r#"{"endpoint": ""}"#, "unknown field `endpoint`"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
}
