//! How long calls wait, who is out, and what counts as load: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// What a [`BalanceConfig`] is made of, unchecked: change what is to differ, and check the whole.
///
/// ```
/// use std::time::Duration;
/// use towpath_balance::{BalanceConfig, BalanceOptions};
/// let config = BalanceConfig::try_new(BalanceOptions {
///     wait: Duration::from_millis(500),
///     slow_start: Duration::from_secs(30),
///     ..BalanceOptions::default()
/// })?;
/// assert_eq!(config.max_ejected, 0.5);
/// # Ok::<(), towpath_balance::InvalidBalance>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct BalanceOptions {
    /// How long a call waits while no endpoint is ready, or nobody knows yet which there are; up to a day. Its deadline
    /// holds all the same. Zero: it fails at once. Default: 3 s (linkerd's fail-fast time-out).
    pub wait: Duration,
    /// Which share of the endpoints may be out at a time because they or their health checks fail: 0 to 1. Of two or
    /// more one may, unless it is 0. Default: 0.5, all that the default of `panic_below` leaves; Envoy's is a tenth,
    /// which is little for small fleets. One that fails about as often as the others do is not taken out: there what is
    /// called is ill, and a breaker of the method answers.
    pub max_ejected: f64,
    /// If a smaller share of the endpoints than this is well, all of them get calls: 0 (never) to 1. Default: 0.5
    /// (Envoy's panic threshold).
    pub panic_below: f64,
    /// The time constant of the averages of latency and failures: 10 ms to an hour. After so long a peak is
    /// worth a third. Default: 5 s, with which an endpoint that has failed throughout is as good as the others 25 s
    /// after it was called last. (Finagle's and linkerd's is 10 s.)
    pub decay: Duration,
    /// How many times as long as usual a call that fails is taken to last: 0 (failures do not count) to 1 000 000.
    /// Default: 100 (linkerd's load biaser has 5 s, which is as much to a service that answers in 50 ms).
    pub failure_penalty: f64,
    /// The longest time for which an endpoint is left alone because it asked for it (`retry_after`); up to a day.
    /// Default: 300 s (linkerd's).
    pub retry_after_max: Duration,
    /// For how long the share of an endpoint grows that was added to a running fleet, or has returned; up to a
    /// day. Zero, the default: it has its whole share at once (as with Envoy, unless asked for).
    pub slow_start: Duration,
    /// The share with which it begins: above 0, up to 1. Default: 0.1 (Envoy's).
    pub slow_start_least: f64,
    /// How the share grows: as (time / `slow_start`) to the power of 1 / this. 1, the default (Envoy's): evenly;
    /// above it faster at first. 0.1 to 10.
    pub slow_start_aggression: f64,
}

/// How long calls wait, who is out, and what counts as load.
///
/// Its fields are those of [`BalanceOptions`], checked. In a file, times are whole milliseconds, and what is left
/// out has its default:
///
/// ```
/// use std::time::Duration;
/// use towpath_balance::BalanceConfig;
/// let config: BalanceConfig = serde_json::from_str(r#"{"wait_ms": 500, "max_ejected": 0.2}"#)?;
/// assert_eq!((config.wait, config.max_ejected), (Duration::from_millis(500), 0.2));
/// let refused = serde_json::from_str::<BalanceConfig>(r#"{"max_ejected": 20}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("max_ejected: 20 is not from 0 to 1"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct BalanceConfig(BalanceOptions);

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidBalance {
    field: &'static str,
    reason: String,
}

impl BalanceConfig {
    /// The longest of most times: a day.
    pub const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

    /// Checks a config.
    ///
    /// # Errors
    /// If a field is out of the range that is said there.
    pub fn try_new(options: BalanceOptions) -> Result<Self, InvalidBalance> {
        let o = &options;
        time("wait_ms", o.wait, Duration::ZERO, Self::MAX_TIME)?;
        number("max_ejected", o.max_ejected, 0.0, 1.0)?;
        number("panic_below", o.panic_below, 0.0, 1.0)?;
        time("decay_ms", o.decay, Duration::from_millis(10), Duration::from_secs(3600))?;
        number("failure_penalty", o.failure_penalty, 0.0, 1e6)?;
        time("retry_after_max_ms", o.retry_after_max, Duration::ZERO, Self::MAX_TIME)?;
        time("slow_start_ms", o.slow_start, Duration::ZERO, Self::MAX_TIME)?;
        number("slow_start_least", o.slow_start_least, 1e-6, 1.0)?;
        number("slow_start_aggression", o.slow_start_aggression, 0.1, 10.0)?;
        Ok(BalanceConfig(options))
    }

    /// The fields, to make another config of them.
    pub fn options(&self) -> BalanceOptions {
        self.0.clone()
    }
}

impl std::ops::Deref for BalanceConfig {
    type Target = BalanceOptions;

    fn deref(&self) -> &BalanceOptions {
        &self.0
    }
}

fn number(field: &'static str, value: f64, least: f64, most: f64) -> Result<(), InvalidBalance> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(InvalidBalance { field, reason: format!("{value} is not from {least} to {most}") })
}

fn time(field: &'static str, value: Duration, least: Duration, most: Duration) -> Result<(), InvalidBalance> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(InvalidBalance { field, reason: format!("{value:?} is not from {least:?} to {most:?}") })
}

impl InvalidBalance {
    /// The name of the field, as in a file.
    pub fn field(&self) -> &str {
        self.field
    }
}

impl fmt::Display for InvalidBalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidBalance {}

impl Default for BalanceOptions {
    fn default() -> Self {
        BalanceOptions {
            wait: Duration::from_secs(3),
            max_ejected: 0.5,
            panic_below: 0.5,
            decay: Duration::from_secs(5),
            failure_penalty: 100.0,
            retry_after_max: Duration::from_secs(300),
            slow_start: Duration::ZERO,
            slow_start_least: 0.1,
            slow_start_aggression: 1.0,
        }
    }
}

/// As [`BalanceOptions`].
impl Default for BalanceConfig {
    fn default() -> Self {
        BalanceConfig(BalanceOptions::default())
    }
}

impl TryFrom<BalanceOptions> for BalanceConfig {
    type Error = InvalidBalance;

    fn try_from(options: BalanceOptions) -> Result<Self, InvalidBalance> {
        BalanceConfig::try_new(options)
    }
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    wait_ms: u64,
    max_ejected: f64,
    panic_below: f64,
    decay_ms: u64,
    failure_penalty: f64,
    retry_after_max_ms: u64,
    slow_start_ms: u64,
    slow_start_least: f64,
    slow_start_aggression: f64,
}

impl Default for Raw {
    fn default() -> Self {
        BalanceConfig::default().into()
    }
}

impl TryFrom<Raw> for BalanceConfig {
    type Error = InvalidBalance;

    fn try_from(raw: Raw) -> Result<Self, InvalidBalance> {
        let ms = Duration::from_millis;
        BalanceConfig::try_new(BalanceOptions {
            wait: ms(raw.wait_ms),
            max_ejected: raw.max_ejected,
            panic_below: raw.panic_below,
            decay: ms(raw.decay_ms),
            failure_penalty: raw.failure_penalty,
            retry_after_max: ms(raw.retry_after_max_ms),
            slow_start: ms(raw.slow_start_ms),
            slow_start_least: raw.slow_start_least,
            slow_start_aggression: raw.slow_start_aggression,
        })
    }
}

impl From<BalanceConfig> for Raw {
    fn from(BalanceConfig(o): BalanceConfig) -> Self {
        // All are at most a day, as checked when it was made.
        let whole = |time: Duration| time.as_millis() as u64;
        Raw {
            wait_ms: whole(o.wait),
            max_ejected: o.max_ejected,
            panic_below: o.panic_below,
            decay_ms: whole(o.decay),
            failure_penalty: o.failure_penalty,
            retry_after_max_ms: whole(o.retry_after_max),
            slow_start_ms: whole(o.slow_start),
            slow_start_least: o.slow_start_least,
            slow_start_aggression: o.slow_start_aggression,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges() {
        type Spoil = fn(&mut BalanceOptions);
        let bad: [(&str, Spoil); 10] = [
            ("wait_ms", |o| o.wait = Duration::MAX),
            ("max_ejected", |o| o.max_ejected = 1.01),
            ("panic_below", |o| o.panic_below = f64::NAN),
            ("decay_ms", |o| o.decay = Duration::ZERO),
            ("failure_penalty", |o| o.failure_penalty = -1.0),
            ("retry_after_max_ms", |o| o.retry_after_max = Duration::MAX),
            ("slow_start_ms", |o| o.slow_start = Duration::MAX),
            ("slow_start_least", |o| o.slow_start_least = 0.0),
            ("slow_start_aggression", |o| o.slow_start_aggression = 0.0),
            ("slow_start_aggression", |o| o.slow_start_aggression = f64::INFINITY),
        ];
        for (field, spoil) in bad {
            let mut options = BalanceOptions::default();
            spoil(&mut options);
            assert_eq!(BalanceConfig::try_new(options).unwrap_err().field(), field);
        }
        let mut extreme = BalanceOptions { wait: Duration::ZERO, max_ejected: 0.0, ..Default::default() };
        (extreme.panic_below, extreme.failure_penalty) = (1.0, 0.0);
        assert!(BalanceConfig::try_new(extreme).is_ok());
    }

    #[test]
    fn the_form_in_a_file() {
        let text = serde_json::to_string(&BalanceConfig::default()).unwrap();
        assert_eq!(serde_json::from_str::<BalanceConfig>(&text).unwrap(), BalanceConfig::default());
        assert_eq!(serde_json::from_str::<BalanceConfig>("{}").unwrap(), BalanceConfig::default());
        let refused = |text| serde_json::from_str::<BalanceConfig>(text).unwrap_err().to_string();
        assert!(refused(r#"{"decay_ms":1}"#).contains("decay_ms: 1ms is not from 10ms"));
        assert!(refused(r#"{"retries":3}"#).contains("unknown field"));
    }
}
