//! When a breaker opens, for how long, and how it closes: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Over which calls the rates are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Those that ended in this time, in ten exact buckets: the current one and the nine before. From 100 ms to
    /// an hour.
    Time(Duration),
    /// The last so many, one by one. From 1 to [`BreakerConfig::MAX_CALLS`].
    Calls(u32),
}

/// What a [`BreakerConfig`] is made of, unchecked: change what is to differ, and check the whole.
///
/// ```
/// use std::time::Duration;
/// use towpath_breaker::{BreakerConfig, BreakerOptions, Window};
/// let config = BreakerConfig::try_new(BreakerOptions {
///     window: Window::Calls(100),
///     consecutive_failures: Some(5),
///     ..BreakerOptions::default()
/// })?;
/// assert_eq!(config.open, Duration::from_secs(5));
/// # Ok::<(), towpath_breaker::InvalidBreaker>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerOptions {
    /// Over which calls the rates are taken. Default: 10 s (Hystrix).
    pub window: Window,
    /// Opens when this share of the calls in the window failed, or more: above 0, up to 1. `None`: no matter how
    /// many. Default: 0.5 (Hystrix).
    pub failure_rate: Option<f64>,
    /// Rates say nothing before so many calls are in the window. Default: 20 (Hystrix).
    pub min_calls: u32,
    /// Opens after so many failures without a success between them. Soft failures neither count nor end the row.
    /// `None`, the default: no matter how many.
    pub consecutive_failures: Option<u32>,
    /// A call that takes this long or longer is slow, whatever its outcome. `None`, the default: none is.
    pub slow: Option<Duration>,
    /// Opens when this share of the calls in the window was slow, or more: above 0, up to 1. Default: 1.
    pub slow_rate: f64,
    /// How long it is open before probes are let through, the first time. Default: 5 s (Hystrix).
    pub open: Duration,
    /// By how much the open time grows when the probes fail, or when it opens again soon after it closed: 1 to 100.
    /// Default: 2.
    pub open_factor: f64,
    /// The longest open time. Default: 60 s.
    pub open_max: Duration,
    /// The share of the open time that chance takes away, at most, so that many breakers do not probe at once: 0
    /// to 1. Default: 0.1.
    pub jitter: f64,
    /// How many probes a half-open breaker lets through; if all of them succeed it closes. 1 to 1000. Default: 1
    /// (Hystrix).
    pub probes: u16,
    /// A probe that has no answer by then has failed. Default: 10 s, as long as a call may take by default.
    pub probe_timeout: Duration,
    /// For how long after closing only a share of the calls is let through, which grows from a tenth to all.
    /// Default: zero, all at once, as with Envoy (whose slow start is off unless asked for), Finagle and
    /// linkerd: a breaker that half admits turns calls away from a healthy service. To be used where a service
    /// comes back with cold caches.
    pub ramp: Duration,
}

/// When a breaker opens, for how long, and how it closes.
///
/// Its fields are those of [`BreakerOptions`], checked. In a file, times are whole milliseconds, and what is left
/// out has its default:
///
/// ```
/// use std::time::Duration;
/// use towpath_breaker::{BreakerConfig, Window};
/// let config: BreakerConfig = serde_json::from_str(r#"{"window_calls": 50, "open_ms": 200, "slow_ms": 800}"#)?;
/// assert_eq!((config.window, config.open), (Window::Calls(50), Duration::from_millis(200)));
/// let refused = serde_json::from_str::<BreakerConfig>(r#"{"failure_rate": 50}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("failure_rate: 50 is not above 0 and at most 1"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct BreakerConfig(BreakerOptions);

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidBreaker {
    field: &'static str,
    reason: String,
}

impl BreakerConfig {
    /// The most calls of a [`Window::Calls`]: 1 024.
    pub const MAX_CALLS: u32 = 1_024;

    /// The longest of all times: a day.
    pub const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

    /// Checks a config.
    ///
    /// # Errors
    /// If a field is out of the range that is said there; if nothing would ever open the breaker; or if fewer
    /// calls are kept than rates need.
    pub fn try_new(options: BreakerOptions) -> Result<Self, InvalidBreaker> {
        let o = &options;
        match o.window {
            Window::Time(time) => between("window_ms", time, ms(100), Duration::from_secs(3600))?,
            Window::Calls(n) if n == 0 || n > Self::MAX_CALLS => {
                return refuse("window_calls", format!("{n} is not from 1 to {}", Self::MAX_CALLS));
            }
            Window::Calls(n) if n < o.min_calls => {
                return refuse("window_calls", format!("{n} is less than min_calls, {}", o.min_calls));
            }
            Window::Calls(_) => {}
        }
        if let Some(rate) = o.failure_rate {
            share("failure_rate", rate)?;
        }
        share("slow_rate", o.slow_rate)?;
        if o.min_calls == 0 {
            return refuse("min_calls", "0 is not at least 1".into());
        }
        if o.consecutive_failures == Some(0) {
            return refuse("consecutive_failures", "0 is not at least 1; leave it out for none".into());
        }
        if let Some(slow) = o.slow {
            between("slow_ms", slow, ms(1), Self::MAX_TIME)?;
        }
        if o.failure_rate.is_none() && o.consecutive_failures.is_none() && o.slow.is_none() {
            return refuse(
                "failure_rate",
                "nothing would open it: give failure_rate, consecutive_failures or slow_ms".into(),
            );
        }
        between("open_ms", o.open, ms(1), Self::MAX_TIME)?;
        between("open_max_ms", o.open_max, o.open, Self::MAX_TIME)?;
        if !(1.0..=100.0).contains(&o.open_factor) {
            return refuse("open_factor", format!("{} is not from 1 to 100", o.open_factor));
        }
        if !(0.0..=1.0).contains(&o.jitter) {
            return refuse("jitter", format!("{} is not from 0 to 1", o.jitter));
        }
        if !(1..=1000).contains(&o.probes) {
            return refuse("probes", format!("{} is not from 1 to 1000", o.probes));
        }
        between("probe_timeout_ms", o.probe_timeout, ms(1), Self::MAX_TIME)?;
        between("ramp_ms", o.ramp, Duration::ZERO, Self::MAX_TIME)?;
        Ok(BreakerConfig(options))
    }

    /// Opens as the default does, and asks again soon: after 100 ms, then at waits that grow by a tenth each, up to
    /// 5 s. So it notices that an outage is over later by at most a tenth of a second and a tenth of what it had
    /// lasted, be it long or short, for two dozen calls in its first half minute.
    ///
    /// For a breaker above retry, where nobody else can answer: there each second that it is open beyond
    /// the outage is a second of failed calls. Below a balancer, where others answer meanwhile, the default.
    pub fn prompt() -> Self {
        BreakerConfig(BreakerOptions {
            open: ms(100),
            open_factor: 1.1,
            open_max: Duration::from_secs(5),
            ..BreakerOptions::default()
        })
    }

    /// The fields, to make another config of them.
    pub fn options(&self) -> BreakerOptions {
        self.0.clone()
    }
}

impl std::ops::Deref for BreakerConfig {
    type Target = BreakerOptions;

    fn deref(&self) -> &BreakerOptions {
        &self.0
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn refuse<T>(field: &'static str, reason: String) -> Result<T, InvalidBreaker> {
    Err(InvalidBreaker { field, reason })
}

fn share(field: &'static str, share: f64) -> Result<(), InvalidBreaker> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    refuse(field, format!("{share} is not above 0 and at most 1 (0.5 is half)"))
}

fn between(
    field: &'static str,
    time: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), InvalidBreaker> {
    if (least..=most).contains(&time) {
        return Ok(());
    }
    refuse(field, format!("{time:?} is not from {least:?} to {most:?}"))
}

impl InvalidBreaker {
    /// The name of the field, as in a file.
    pub fn field(&self) -> &str {
        self.field
    }
}

impl fmt::Display for InvalidBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidBreaker {}

/// Hystrix' numbers: half of at least 20 calls in 10 s, open for 5 s, one probe.
impl Default for BreakerOptions {
    fn default() -> Self {
        BreakerOptions {
            window: Window::Time(Duration::from_secs(10)),
            failure_rate: Some(0.5),
            min_calls: 20,
            consecutive_failures: None,
            slow: None,
            slow_rate: 1.0,
            open: Duration::from_secs(5),
            open_factor: 2.0,
            open_max: Duration::from_secs(60),
            jitter: 0.1,
            probes: 1,
            probe_timeout: Duration::from_secs(10),
            ramp: Duration::ZERO,
        }
    }
}

/// As [`BreakerOptions`].
impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig(BreakerOptions::default())
    }
}

impl TryFrom<BreakerOptions> for BreakerConfig {
    type Error = InvalidBreaker;

    fn try_from(options: BreakerOptions) -> Result<Self, InvalidBreaker> {
        BreakerConfig::try_new(options)
    }
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    #[serde(skip_serializing_if = "Option::is_none")]
    window_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_calls: Option<u32>,
    failure_rate: Option<f64>,
    min_calls: u32,
    consecutive_failures: Option<u32>,
    slow_ms: Option<u64>,
    slow_rate: f64,
    open_ms: u64,
    open_factor: f64,
    open_max_ms: u64,
    jitter: f64,
    probes: u16,
    probe_timeout_ms: u64,
    ramp_ms: u64,
}

impl Default for Raw {
    fn default() -> Self {
        // Which window it is, is known when the whole is.
        let mut raw: Raw = BreakerConfig::default().into();
        raw.window_ms = None;
        raw
    }
}

impl TryFrom<Raw> for BreakerConfig {
    type Error = InvalidBreaker;

    fn try_from(raw: Raw) -> Result<Self, InvalidBreaker> {
        let window = match (raw.window_ms, raw.window_calls) {
            (Some(_), Some(_)) => {
                return refuse("window_calls", "give either window_ms or window_calls".into());
            }
            (Some(time), None) => Window::Time(ms(time)),
            (None, Some(calls)) => Window::Calls(calls),
            (None, None) => BreakerOptions::default().window,
        };
        BreakerConfig::try_new(BreakerOptions {
            window,
            failure_rate: raw.failure_rate,
            min_calls: raw.min_calls,
            consecutive_failures: raw.consecutive_failures,
            slow: raw.slow_ms.map(ms),
            slow_rate: raw.slow_rate,
            open: ms(raw.open_ms),
            open_factor: raw.open_factor,
            open_max: ms(raw.open_max_ms),
            jitter: raw.jitter,
            probes: raw.probes,
            probe_timeout: ms(raw.probe_timeout_ms),
            ramp: ms(raw.ramp_ms),
        })
    }
}

impl From<BreakerConfig> for Raw {
    fn from(BreakerConfig(o): BreakerConfig) -> Self {
        // All are at most a day, as checked when it was made.
        let whole = |time: Duration| time.as_millis() as u64;
        let (window_ms, window_calls) = match o.window {
            Window::Time(time) => (Some(whole(time)), None),
            Window::Calls(calls) => (None, Some(calls)),
        };
        Raw {
            window_ms,
            window_calls,
            failure_rate: o.failure_rate,
            min_calls: o.min_calls,
            consecutive_failures: o.consecutive_failures,
            slow_ms: o.slow.map(whole),
            slow_rate: o.slow_rate,
            open_ms: whole(o.open),
            open_factor: o.open_factor,
            open_max_ms: whole(o.open_max),
            jitter: o.jitter,
            probes: o.probes,
            probe_timeout_ms: whole(o.probe_timeout),
            ramp_ms: whole(o.ramp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_hystrix() {
        let config = BreakerConfig::default();
        let failing = (config.min_calls, config.failure_rate, config.window);
        assert_eq!(failing, (20, Some(0.5), Window::Time(Duration::from_secs(10))));
        assert_eq!((config.open, config.probes), (Duration::from_secs(5), 1));
        assert_eq!(BreakerConfig::try_new(config.options()), Ok(config));
        let prompt = BreakerConfig::prompt();
        assert_eq!(BreakerConfig::try_new(prompt.options()), Ok(prompt));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        let refused = |change: fn(&mut BreakerOptions)| {
            let mut options = BreakerOptions::default();
            change(&mut options);
            BreakerConfig::try_new(options).unwrap_err().field
        };
        assert_eq!(refused(|o| o.window = Window::Time(ms(99))), "window_ms");
        assert_eq!(refused(|o| o.window = Window::Calls(0)), "window_calls");
        assert_eq!(refused(|o| o.window = Window::Calls(1_025)), "window_calls");
        assert_eq!(refused(|o| o.window = Window::Calls(19)), "window_calls");
        assert_eq!(refused(|o| o.failure_rate = Some(0.0)), "failure_rate");
        assert_eq!(refused(|o| o.failure_rate = Some(f64::NAN)), "failure_rate");
        assert_eq!(refused(|o| o.failure_rate = None), "failure_rate");
        assert_eq!(refused(|o| o.slow_rate = 1.1), "slow_rate");
        assert_eq!(refused(|o| o.min_calls = 0), "min_calls");
        assert_eq!(refused(|o| o.consecutive_failures = Some(0)), "consecutive_failures");
        assert_eq!(refused(|o| o.slow = Some(Duration::ZERO)), "slow_ms");
        assert_eq!(refused(|o| o.open = Duration::ZERO), "open_ms");
        assert_eq!(refused(|o| o.open_max = ms(4_999)), "open_max_ms");
        assert_eq!(refused(|o| o.open_factor = 0.9), "open_factor");
        assert_eq!(refused(|o| o.jitter = -0.1), "jitter");
        assert_eq!(refused(|o| o.probes = 0), "probes");
        assert_eq!(refused(|o| o.probe_timeout = Duration::ZERO), "probe_timeout_ms");
        assert_eq!(refused(|o| o.ramp = Duration::MAX), "ramp_ms");
    }

    #[test]
    fn the_form_in_a_file() {
        let read = |text: &str| serde_json::from_str::<BreakerConfig>(text);
        assert_eq!(read("{}").unwrap(), BreakerConfig::default());
        let config = BreakerConfig::try_new(BreakerOptions {
            window: Window::Calls(64),
            slow: Some(ms(250)),
            consecutive_failures: Some(5),
            failure_rate: None,
            ..BreakerOptions::default()
        });
        for config in [config.unwrap(), BreakerConfig::prompt()] {
            assert_eq!(read(&serde_json::to_string(&config).unwrap()).unwrap(), config);
        }
        assert!(read(r#"{"window_ms": 1000, "window_calls": 50}"#).is_err());
        assert!(read(r#"{"sleep_window": 5}"#).unwrap_err().to_string().contains("unknown field"));
        let error = read(r#"{"open_ms": 0}"#).unwrap_err().to_string();
        assert!(error.starts_with("open_ms: 0ns is not from 1ms"), "{error}");
    }
}
