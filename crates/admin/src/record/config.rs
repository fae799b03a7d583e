//! How much is recorded: a validated value.

use serde::{Deserialize, Serialize};
use std::{error::Error as StdError, fmt};

/// How many calls are kept to be explained, besides the counts that each call adds to.
///
/// In a file: `sample` 0.01 (one call in a hundred), `failures` 512 and `samples` 128 kept, and `messages` true (what an
/// application's fault says is shown, beside its code).
///
/// ```
/// use towpath_admin::RecordConfig;
/// let config: RecordConfig = serde_json::from_str(r#"{"sample": 0.5}"#)?;
/// assert_eq!((config.sample(), config.failures()), (0.5, 512));
/// assert!(serde_json::from_str::<RecordConfig>(r#"{"sample": 2.0}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct RecordConfig(Raw);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    sample: f64,
    failures: usize,
    samples: usize,
    messages: bool,
}

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRecord {
    field: &'static str,
    why: &'static str,
}

/// Each takes about a kilobyte.
const MOST: usize = 65_536;

impl Default for Raw {
    fn default() -> Self {
        Raw { sample: 0.01, failures: 512, samples: 128, messages: true }
    }
}

impl RecordConfig {
    /// Keeps this share of all calls, from 0 to 1, whatever becomes of them.
    ///
    /// # Errors
    /// If it is no such share.
    pub fn with_sample(self, sample: f64) -> Result<Self, InvalidRecord> {
        Raw { sample, ..self.0 }.try_into()
    }

    /// Keeps so many calls that failed, and so many of the sample: the last ones. 1 to 65 536 each.
    ///
    /// # Errors
    /// If one is out of its range.
    pub fn with_kept(self, failures: usize, samples: usize) -> Result<Self, InvalidRecord> {
        Raw { failures, samples, ..self.0 }.try_into()
    }

    /// Whether what an application's fault says is shown, beside its code. Say `false` where such texts name people.
    #[must_use]
    pub fn with_messages(self, messages: bool) -> Self {
        RecordConfig(Raw { messages, ..self.0 })
    }

    /// Which share of all calls is kept.
    pub const fn sample(&self) -> f64 {
        self.0.sample
    }

    /// How many calls are kept that failed.
    pub const fn failures(&self) -> usize {
        self.0.failures
    }

    /// How many calls are kept of the sample.
    pub const fn samples(&self) -> usize {
        self.0.samples
    }

    /// Whether what an application's fault says is shown.
    pub const fn messages(&self) -> bool {
        self.0.messages
    }
}

impl TryFrom<Raw> for RecordConfig {
    type Error = InvalidRecord;

    fn try_from(raw: Raw) -> Result<Self, InvalidRecord> {
        if !(0.0..=1.0).contains(&raw.sample) {
            return Err(InvalidRecord { field: "sample", why: "has to be a share from 0 to 1" });
        }
        for (field, given) in [("failures", raw.failures), ("samples", raw.samples)] {
            if !(1..=MOST).contains(&given) {
                return Err(InvalidRecord { field, why: "has to be from 1 to 65536" });
            }
        }
        Ok(RecordConfig(raw))
    }
}

impl From<RecordConfig> for Raw {
    fn from(config: RecordConfig) -> Self {
        config.0
    }
}

impl InvalidRecord {
    /// The name of the field, as in a file.
    pub fn field(&self) -> &str {
        self.field
    }
}

impl fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.why)
    }
}

impl StdError for InvalidRecord {}
