//! How much is kept, and for how long: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use towpath_core::Patterns;

/// How much a [`DedupeLayer`](crate::DedupeLayer) keeps, and for how long. In a file, what is left out has its
/// default:
///
/// ```
/// use std::time::Duration;
/// use towpath_dedupe::{DedupeConfig, WhenFull};
/// let config: DedupeConfig = serde_json::from_str(r#"{"age_ms": 86400000, "when_full": "refuse"}"#)?;
/// assert_eq!((config.age(), config.when_full()), (Duration::from_secs(86_400), WhenFull::Refuse));
/// assert!(serde_json::from_str::<DedupeConfig>(r#"{"age_ms": 0}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct DedupeConfig {
    age: Duration,
    limits: Limits,
    require: Patterns,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) answer: usize,
    pub(crate) when_full: WhenFull,
}

/// What happens when a new key comes and there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// The oldest answer goes: a repetition of its call would be made again.
    #[default]
    Evict,
    /// The new call is turned away, until the oldest answer is old enough.
    Refuse,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    age_ms: u64,
    max_entries: usize,
    max_bytes: usize,
    max_answer_bytes: usize,
    when_full: WhenFull,
    require: Patterns,
}

/// A config that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidDedupe {
    /// `age_ms` is not from 1 ms to [`DedupeConfig::MAX_AGE`].
    BadAge(Duration),
    /// `max_entries` is not from 1 to [`DedupeConfig::MAX_ENTRIES`].
    BadEntries(usize),
    /// `max_bytes` is less than `max_answer_bytes`.
    TooFewBytes(usize),
}

impl DedupeConfig {
    /// The longest that an answer is kept: 7 days.
    pub const MAX_AGE: Duration = Duration::from_secs(7 * 86_400);

    /// The most keys that are known at a time: ten million.
    pub const MAX_ENTRIES: usize = 10_000_000;

    /// Keeps answers for so long: 10 minutes by default. It has to be longer than anybody goes on to repeat a call.
    /// (Stripe keeps them for 24 hours, for repetitions by people; the IETF's draft leaves it to the server.)
    ///
    /// # Errors
    /// If it is zero, or above [`MAX_AGE`](Self::MAX_AGE).
    pub fn with_age(mut self, age: Duration) -> Result<Self, InvalidDedupe> {
        if !(Duration::from_millis(1)..=Self::MAX_AGE).contains(&age) {
            return Err(InvalidDedupe::BadAge(age));
        }
        self.age = age;
        Ok(self)
    }

    /// Knows so many keys at a time: 10 000 by default. Those of calls that are being made count.
    ///
    /// # Errors
    /// If it is zero, or above [`MAX_ENTRIES`](Self::MAX_ENTRIES).
    pub fn with_max_entries(mut self, entries: usize) -> Result<Self, InvalidDedupe> {
        if !(1..=Self::MAX_ENTRIES).contains(&entries) {
            return Err(InvalidDedupe::BadEntries(entries));
        }
        self.limits.entries = entries;
        Ok(self)
    }

    /// Keeps answers of so many bytes: 64 MiB by default, and at most 1 MiB for one. An answer counts its body and its
    /// metadata, and 256 bytes for its key. Calls that are being made when there is no room left add their answers to it.
    ///
    /// Of an answer that is larger than one may be it is kept that it was given: whoever repeats the call is told so
    /// (MCP-E-003, processed), and it is not made again.
    ///
    /// # Errors
    /// If one may be larger than all.
    pub fn with_max_bytes(mut self, all: usize, one: usize) -> Result<Self, InvalidDedupe> {
        if all < one {
            return Err(InvalidDedupe::TooFewBytes(all));
        }
        (self.limits.bytes, self.limits.answer) = (all, one);
        Ok(self)
    }

    /// Says what gives way when there is no room: by default the oldest answer.
    #[must_use]
    pub const fn with_when_full(mut self, when_full: WhenFull) -> Self {
        self.limits.when_full = when_full;
        self
    }

    /// Turns calls of these methods away that have no key. None by default.
    #[must_use]
    pub fn with_required(mut self, methods: Patterns) -> Self {
        self.require = methods;
        self
    }

    /// How long answers are kept.
    pub const fn age(&self) -> Duration {
        self.age
    }

    /// How many keys are known at a time.
    pub const fn max_entries(&self) -> usize {
        self.limits.entries
    }

    /// How many bytes of answers are kept.
    pub const fn max_bytes(&self) -> usize {
        self.limits.bytes
    }

    /// How many bytes of one answer are kept.
    pub const fn max_answer_bytes(&self) -> usize {
        self.limits.answer
    }

    /// What gives way when there is no room.
    pub const fn when_full(&self) -> WhenFull {
        self.limits.when_full
    }

    /// Which methods ask for a key.
    pub const fn required(&self) -> &Patterns {
        &self.require
    }

    pub(crate) const fn limits(&self) -> Limits {
        self.limits
    }
}

/// 10 minutes, 10 000 keys, 64 MiB, 1 MiB for one answer; the oldest gives way; no method asks for a key.
impl Default for DedupeConfig {
    fn default() -> Self {
        let limits = Limits { entries: 10_000, bytes: 64 << 20, answer: 1 << 20, when_full: WhenFull::Evict };
        DedupeConfig { age: Duration::from_secs(600), limits, require: Patterns::default() }
    }
}

impl Default for Raw {
    fn default() -> Self {
        DedupeConfig::default().into()
    }
}

impl TryFrom<Raw> for DedupeConfig {
    type Error = InvalidDedupe;

    fn try_from(raw: Raw) -> Result<Self, InvalidDedupe> {
        let config = DedupeConfig::default()
            .with_age(Duration::from_millis(raw.age_ms))?
            .with_max_entries(raw.max_entries)?
            .with_max_bytes(raw.max_bytes, raw.max_answer_bytes)?;
        Ok(config.with_when_full(raw.when_full).with_required(raw.require))
    }
}

impl From<DedupeConfig> for Raw {
    fn from(config: DedupeConfig) -> Self {
        let Limits { entries, bytes, answer, when_full } = config.limits;
        Raw {
            // At most 7 days.
            age_ms: config.age.as_millis() as u64,
            max_entries: entries,
            max_bytes: bytes,
            max_answer_bytes: answer,
            when_full,
            require: config.require,
        }
    }
}

impl fmt::Display for InvalidDedupe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidDedupe::BadAge(age) => write!(f, "age_ms is {age:?}: 1 ms to 7 days"),
            InvalidDedupe::BadEntries(entries) => {
                write!(f, "max_entries is {entries}: 1 to {}", DedupeConfig::MAX_ENTRIES)
            }
            InvalidDedupe::TooFewBytes(bytes) => {
                write!(f, "max_bytes is {bytes}: at least max_answer_bytes")
            }
        }
    }
}

impl std::error::Error for InvalidDedupe {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_in_a_file() {
        let text = r#"{"age_ms":1,"max_entries":2,"max_bytes":4,"max_answer_bytes":3,"when_full":"refuse","require":["Orders.*"]}"#;
        let config: DedupeConfig = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
        for (text, says) in [
            (r#"{"age_ms":0}"#, "age_ms"),
            (r#"{"age_ms":604800001}"#, "age_ms"),
            (r#"{"max_entries":0}"#, "max_entries"),
            (r#"{"max_bytes":3}"#, "max_bytes"),
            (r#"{"when_full":"panic"}"#, "unknown variant"),
            (r#"{"max_keys":1}"#, "unknown field"),
        ] {
            let error = serde_json::from_str::<DedupeConfig>(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
