//! Which calls are recorded: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, ops::Deref, time::Duration};

/// What a [`TraceConfig`] is made of, unchecked: change what is to differ, and check the whole.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// The share of the traces that begin here which is sampled, from 0 to 1. Default: 0.01, one in a hundred. A
    /// trace that came with the call is sampled or not as its flag says.
    pub sample: f64,
    /// Whether a caller is believed when it says that its trace is sampled. Where it is not (at the edge, before
    /// strangers), the ids are passed on, and which traces are sampled is decided here. Default: true.
    pub trust_callers: bool,
    /// Calls that were not sampled and fail are [kept](crate::Why::Failed) all the same: what the stack failed with,
    /// and the faults that are failures. Default: true.
    pub keep_failures: bool,
    /// Calls that an application answers with a fault of its own (`USR-E-001`, no such user) count as failures
    /// for [`keep_failures`](Self::keep_failures). Default: false.
    pub keep_faults: bool,
    /// Calls that take as long or longer are kept, whatever their outcome. `None`: none is. Default: 1 s.
    pub keep_slow: Option<Duration>,
    /// So many calls a second are kept at most, by each layer: a service that is down fails all calls. A call is kept
    /// beyond that only if something below it was, as that would have no parent. 0 keeps none. Default: 100.
    pub keep_per_second: u32,
}

impl Default for TraceOptions {
    fn default() -> Self {
        TraceOptions {
            sample: 0.01,
            trust_callers: true,
            keep_failures: true,
            keep_faults: false,
            keep_slow: Some(Duration::from_secs(1)),
            keep_per_second: 100,
        }
    }
}

/// Which calls are recorded.
///
/// Its fields are those of [`TraceOptions`], checked. In a file, times are whole milliseconds, what is left out has
/// its default, and `null` keeps no slow calls:
///
/// ```
/// use std::time::Duration;
/// use towpath_trace::TraceConfig;
/// let config: TraceConfig = serde_json::from_str(r#"{"sample": 0.1, "keep_slow_ms": 250}"#)?;
/// assert_eq!((config.sample, config.keep_slow), (0.1, Some(Duration::from_millis(250))));
/// let refused = serde_json::from_str::<TraceConfig>(r#"{"sample": 10}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("sample: 10 is not from 0 to 1"), "{refused}");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct TraceConfig(TraceOptions);

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTrace {
    field: &'static str,
    reason: String,
}

impl TraceConfig {
    /// The longest [`keep_slow`](TraceOptions::keep_slow): a day.
    pub const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

    /// Checks a config.
    ///
    /// # Errors
    /// If a field is out of the range that is said there.
    pub fn try_new(options: TraceOptions) -> Result<Self, InvalidTrace> {
        let refuse = |field, reason| Err(InvalidTrace { field, reason });
        if !(0.0..=1.0).contains(&options.sample) {
            return refuse("sample", format!("{} is not from 0 to 1", options.sample));
        }
        if let Some(slow) = options.keep_slow
            && !(Duration::from_millis(1)..=Self::MAX_TIME).contains(&slow)
        {
            return refuse("keep_slow_ms", format!("{slow:?} is not from 1 ms to {:?}", Self::MAX_TIME));
        }
        Ok(TraceConfig(options))
    }

    /// Samples this share of the traces that begin here, and keeps failures and slow calls by default.
    ///
    /// # Errors
    /// If it is not from 0 to 1.
    pub fn sampled(share: f64) -> Result<Self, InvalidTrace> {
        TraceConfig::try_new(TraceOptions { sample: share, ..TraceOptions::default() })
    }

    /// What it is made of, to make another one of it.
    pub fn options(&self) -> TraceOptions {
        self.0.clone()
    }
}

impl Deref for TraceConfig {
    type Target = TraceOptions;

    fn deref(&self) -> &TraceOptions {
        &self.0
    }
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    sample: f64,
    trust_callers: bool,
    keep_failures: bool,
    keep_faults: bool,
    keep_slow_ms: Option<u64>,
    keep_per_second: u32,
}

impl Default for Raw {
    fn default() -> Self {
        TraceConfig::default().into()
    }
}

impl TryFrom<Raw> for TraceConfig {
    type Error = InvalidTrace;

    fn try_from(raw: Raw) -> Result<Self, InvalidTrace> {
        let Raw { sample, trust_callers, keep_failures, keep_faults, keep_slow_ms, keep_per_second } = raw;
        let keep_slow = keep_slow_ms.map(Duration::from_millis);
        TraceConfig::try_new(TraceOptions {
            sample,
            trust_callers,
            keep_failures,
            keep_faults,
            keep_slow,
            keep_per_second,
        })
    }
}

impl From<TraceConfig> for Raw {
    fn from(TraceConfig(options): TraceConfig) -> Self {
        let TraceOptions { sample, trust_callers, keep_failures, keep_faults, keep_slow, keep_per_second } =
            options;
        // At most a day, as checked when it was made.
        let keep_slow_ms = keep_slow.map(|slow| slow.as_millis() as u64);
        Raw { sample, trust_callers, keep_failures, keep_faults, keep_slow_ms, keep_per_second }
    }
}

impl fmt::Display for InvalidTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidTrace {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_in_a_file() {
        let read = |text: &str| serde_json::from_str::<TraceConfig>(text).map_err(|error| error.to_string());
        assert_eq!(read("{}").unwrap(), TraceConfig::default());
        let none = read(r#"{"keep_slow_ms": null, "keep_failures": false, "trust_callers": false}"#).unwrap();
        assert_eq!((none.keep_slow, none.keep_failures, none.trust_callers), (None, false, false));
        assert_eq!(read(&serde_json::to_string(&none).unwrap()).unwrap(), none);
        for (text, says) in [
            (r#"{"sample": -0.1}"#, "sample: -0.1 is not from 0 to 1"),
            (r#"{"keep_slow_ms": 0}"#, "keep_slow_ms: 0ns is not from 1 ms"),
            (r#"{"ratio": 1}"#, "unknown field `ratio`"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
        }
        assert!(TraceConfig::sampled(f64::NAN).is_err());
    }
}
