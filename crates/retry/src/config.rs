//! How often, how soon, and at whose expense: validated values.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use towpath_core::{Backoff, BudgetConfig};

/// How a call is attempted: how often, how soon again, for how long each time, at whose expense.
///
/// In a file, times are whole milliseconds, and what is left out has its default:
///
/// | | default | from |
/// | --- | --- | --- |
/// | `max_attempts` | 3, the first one and hedges included | Finagle and gRPC's examples have 3 to 4 |
/// | `backoff` | 50 ms, doubling up to 10 s, full jitter | "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 |
/// | `at_once` | 0: also the first retry waits | |
/// | `attempt_timeout_ms` | none: an attempt has what is left of the call's deadline | |
/// | `min_attempt_ms` | 1: what a frame can say at least | |
/// | `budget` | a fifth of the first attempts, and 10 a second | Finagle's `RetryBudget` |
/// | `hedge` | none | see [`HedgeConfig`] |
///
/// ```
/// use std::time::Duration;
/// use towpath_retry::RetryConfig;
///
/// let config: RetryConfig = serde_json::from_str(r#"{"max_attempts": 4, "attempt_timeout_ms": 200}"#)?;
/// assert_eq!(config, RetryConfig::default().with_max_attempts(4)?.with_attempt_timeout(Duration::from_millis(200))?);
/// assert!(serde_json::from_str::<RetryConfig>(r#"{"max_attempts": 0}"#).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct RetryConfig {
    max_attempts: u16,
    backoff: Backoff,
    at_once: u16,
    attempt_timeout: Option<Duration>,
    min_attempt: Duration,
    budget: BudgetConfig,
    hedge: Option<HedgeConfig>,
}

/// When a further attempt is made although none has failed: for idempotent calls only, and at its own
/// expense beside that of the retries.
///
/// In a file it is `{"after_ms": 50}` or `{"percentile": 95}`, with `max`, `share` and `per_second` if they are
/// to be other than 1, 0.1 and 5. The default is the 95th percentile: "The Tail at Scale" (Dean and Barroso,
/// 2013) found that this costs about 5 % more calls and takes most of the tail away.
///
/// ```
/// use towpath_retry::{HedgeAfter, HedgeConfig};
/// let hedge: HedgeConfig = serde_json::from_str(r#"{"percentile": 99}"#)?;
/// assert_eq!((hedge.after(), hedge.max()), (HedgeAfter::Percentile(99.0), 1));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawHedge", into = "RawHedge")]
pub struct HedgeConfig {
    after: HedgeAfter,
    max: u16,
    budget: BudgetConfig,
}

/// How long an attempt may take until another one is sent beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HedgeAfter {
    /// As long as this.
    Fixed(Duration),
    /// As long as this share of the answers took, in percent, within the last ten seconds. As long as there are
    /// fewer than [`HedgeConfig::MIN_SEEN`] answers to go by, nothing is hedged.
    Percentile(f64),
}

/// A config that makes no sense; it names the field.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum InvalidRetry {
    /// `max_attempts` is not from 1 to [`RetryConfig::MAX_ATTEMPTS`].
    MaxAttempts(u16),
    /// `attempt_timeout_ms` is not from 1 ms to [`RetryConfig::MAX_TIME`].
    AttemptTimeout(Duration),
    /// `min_attempt_ms` is not from 1 ms to [`RetryConfig::MAX_TIME`].
    MinAttempt(Duration),
    /// `after_ms` is not from 1 ms to [`RetryConfig::MAX_TIME`].
    HedgeAfter(Duration),
    /// `percentile` is not above 0 and below 100.
    Percentile(f64),
    /// `max` is not from 1 to [`RetryConfig::MAX_ATTEMPTS`].
    MaxHedges(u16),
    /// Both `after_ms` and `percentile`.
    TwoDelays,
    /// `share` or `per_second`.
    Budget(towpath_core::InvalidBudget),
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    max_attempts: u16,
    backoff: Backoff,
    at_once: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_timeout_ms: Option<u64>,
    min_attempt_ms: u64,
    budget: BudgetConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    hedge: Option<HedgeConfig>,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawHedge {
    #[serde(skip_serializing_if = "Option::is_none")]
    after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    percentile: Option<f64>,
    max: u16,
    share: f64,
    per_second: u32,
}

/// The timer and the wire count whole milliseconds.
const MIN_TIME: Duration = Duration::from_millis(1);

fn is_time(time: Duration) -> bool {
    (MIN_TIME..=RetryConfig::MAX_TIME).contains(&time)
}

impl RetryConfig {
    /// The most attempts: 100.
    pub const MAX_ATTEMPTS: u16 = 100;

    /// The longest time: `u32::MAX` ms, about 49 days, as much as fits into a frame.
    pub const MAX_TIME: Duration = Duration::from_millis(u32::MAX as u64);

    /// At most so many attempts, retries and hedges included. With 1 nothing is ever attempted again.
    ///
    /// # Errors
    /// If it is not from 1 to [`MAX_ATTEMPTS`](Self::MAX_ATTEMPTS).
    pub fn with_max_attempts(self, max_attempts: u16) -> Result<Self, InvalidRetry> {
        if !(1..=Self::MAX_ATTEMPTS).contains(&max_attempts) {
            return Err(InvalidRetry::MaxAttempts(max_attempts));
        }
        Ok(RetryConfig { max_attempts, ..self })
    }

    /// How long to wait before each retry.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        RetryConfig { backoff, ..self }
    }

    /// So many retries do not wait: for callees of which there are several, where another one may do better at
    /// once. A callee that has too much to do just now, or that says when to come again, is waited for
    /// nevertheless.
    #[must_use]
    pub fn with_at_once(self, at_once: u16) -> Self {
        RetryConfig { at_once, ..self }
    }

    /// How long one attempt may take, within the deadline of the call.
    ///
    /// # Errors
    /// If it is not from 1 ms to [`MAX_TIME`](Self::MAX_TIME).
    pub fn with_attempt_timeout(self, timeout: impl Into<Option<Duration>>) -> Result<Self, InvalidRetry> {
        let attempt_timeout = timeout.into();
        match attempt_timeout.filter(|timeout| !is_time(*timeout)) {
            Some(timeout) => Err(InvalidRetry::AttemptTimeout(timeout)),
            None => Ok(RetryConfig { attempt_timeout, ..self }),
        }
    }

    /// What must be left of the deadline when a further attempt begins: with less it is not begun.
    ///
    /// # Errors
    /// If it is not from 1 ms to [`MAX_TIME`](Self::MAX_TIME).
    pub fn with_min_attempt(self, min_attempt: Duration) -> Result<Self, InvalidRetry> {
        if !is_time(min_attempt) {
            return Err(InvalidRetry::MinAttempt(min_attempt));
        }
        Ok(RetryConfig { min_attempt, ..self })
    }

    /// How many further attempts there may be, measured by the first ones. It does not apply to a
    /// [budget that was handed in](crate::RetryLayer::share_budget).
    #[must_use]
    pub fn with_budget(self, budget: BudgetConfig) -> Self {
        RetryConfig { budget, ..self }
    }

    /// Whether slow attempts get company, and when.
    #[must_use]
    pub fn with_hedge(self, hedge: impl Into<Option<HedgeConfig>>) -> Self {
        RetryConfig { hedge: hedge.into(), ..self }
    }

    /// The most attempts, the first one included.
    pub const fn max_attempts(&self) -> u16 {
        self.max_attempts
    }

    /// How long to wait before each retry.
    pub const fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// How many retries do not wait.
    pub const fn at_once(&self) -> u16 {
        self.at_once
    }

    /// How long one attempt may take.
    pub const fn attempt_timeout(&self) -> Option<Duration> {
        self.attempt_timeout
    }

    /// What must be left of the deadline when a further attempt begins.
    pub const fn min_attempt(&self) -> Duration {
        self.min_attempt
    }

    /// The size of the budget.
    pub const fn budget(&self) -> BudgetConfig {
        self.budget
    }

    /// Whether slow attempts get company, and when.
    pub const fn hedge(&self) -> Option<&HedgeConfig> {
        self.hedge.as_ref()
    }

    /// Which percentile of the answers is to be measured, if any.
    pub(crate) fn percentile(&self) -> Option<f64> {
        match self.hedge()?.after {
            HedgeAfter::Fixed(_) => None,
            HedgeAfter::Percentile(percentile) => Some(percentile),
        }
    }
}

impl HedgeConfig {
    /// As many answers must have been seen within ten seconds before a percentile of them says anything: 100.
    pub const MIN_SEEN: u64 = 100;

    /// One hedge, after so long, for a tenth of the calls and five a second.
    ///
    /// # Errors
    /// If a fixed delay is not from 1 ms to [`RetryConfig::MAX_TIME`], or a percentile is not above 0 and below
    /// 100.
    pub fn try_new(after: HedgeAfter) -> Result<Self, InvalidRetry> {
        match after {
            HedgeAfter::Fixed(delay) if !is_time(delay) => Err(InvalidRetry::HedgeAfter(delay)),
            HedgeAfter::Percentile(p) if !(p > 0.0 && p < 100.0) => Err(InvalidRetry::Percentile(p)),
            _ => Ok(HedgeConfig { after, ..Default::default() }),
        }
    }

    /// At most so many hedges for a call, each after the same time again.
    ///
    /// # Errors
    /// If it is not from 1 to [`RetryConfig::MAX_ATTEMPTS`].
    pub fn with_max(self, max: u16) -> Result<Self, InvalidRetry> {
        if !(1..=RetryConfig::MAX_ATTEMPTS).contains(&max) {
            return Err(InvalidRetry::MaxHedges(max));
        }
        Ok(HedgeConfig { max, ..self })
    }

    /// The hedges' own share: each hedge takes one out of this, and one out of the budget of all attempts.
    #[must_use]
    pub fn with_budget(self, budget: BudgetConfig) -> Self {
        HedgeConfig { budget, ..self }
    }

    /// After how long.
    pub const fn after(&self) -> HedgeAfter {
        self.after
    }

    /// The most hedges for a call.
    pub const fn max(&self) -> u16 {
        self.max
    }

    /// The hedges' own share.
    pub const fn budget(&self) -> BudgetConfig {
        self.budget
    }
}

impl Default for RetryConfig {
    /// See the table at [`RetryConfig`].
    fn default() -> Self {
        RetryConfig {
            max_attempts: 3,
            backoff: Backoff::default(),
            at_once: 0,
            attempt_timeout: None,
            min_attempt: MIN_TIME,
            budget: BudgetConfig::default(),
            hedge: None,
        }
    }
}

impl Default for HedgeConfig {
    /// One hedge after the 95th percentile, for a tenth of the calls and five a second.
    fn default() -> Self {
        HedgeConfig {
            after: HedgeAfter::Percentile(95.0),
            max: 1,
            budget: BudgetConfig::try_new(0.1, 5).unwrap_or_default(),
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        RetryConfig::default().into()
    }
}

impl Default for RawHedge {
    fn default() -> Self {
        let usual = RawHedge::from(HedgeConfig::default());
        // Said twice would be two delays, if the other one is given.
        RawHedge { percentile: None, ..usual }
    }
}

impl TryFrom<Raw> for RetryConfig {
    type Error = InvalidRetry;

    fn try_from(raw: Raw) -> Result<Self, InvalidRetry> {
        RetryConfig::default()
            .with_backoff(raw.backoff)
            .with_at_once(raw.at_once)
            .with_budget(raw.budget)
            .with_hedge(raw.hedge)
            .with_max_attempts(raw.max_attempts)?
            .with_attempt_timeout(raw.attempt_timeout_ms.map(Duration::from_millis))?
            .with_min_attempt(Duration::from_millis(raw.min_attempt_ms))
    }
}

impl From<RetryConfig> for Raw {
    fn from(config: RetryConfig) -> Self {
        Raw {
            max_attempts: config.max_attempts,
            backoff: config.backoff,
            at_once: config.at_once,
            attempt_timeout_ms: config.attempt_timeout.map(whole_ms),
            min_attempt_ms: whole_ms(config.min_attempt),
            budget: config.budget,
            hedge: config.hedge,
        }
    }
}

impl TryFrom<RawHedge> for HedgeConfig {
    type Error = InvalidRetry;

    fn try_from(raw: RawHedge) -> Result<Self, InvalidRetry> {
        let after = match (raw.after_ms, raw.percentile) {
            (Some(_), Some(_)) => return Err(InvalidRetry::TwoDelays),
            (Some(ms), None) => HedgeAfter::Fixed(Duration::from_millis(ms)),
            (None, Some(percentile)) => HedgeAfter::Percentile(percentile),
            (None, None) => HedgeConfig::default().after,
        };
        let budget = BudgetConfig::try_new(raw.share, raw.per_second).map_err(InvalidRetry::Budget)?;
        Ok(HedgeConfig::try_new(after)?.with_max(raw.max)?.with_budget(budget))
    }
}

impl From<HedgeConfig> for RawHedge {
    fn from(config: HedgeConfig) -> Self {
        let (after_ms, percentile) = match config.after {
            HedgeAfter::Fixed(delay) => (Some(whole_ms(delay)), None),
            HedgeAfter::Percentile(percentile) => (None, Some(percentile)),
        };
        let (share, per_second) = (config.budget.share(), config.budget.per_second());
        RawHedge { after_ms, percentile, max: config.max, share, per_second }
    }
}

/// At most `u32::MAX`, as checked when it was made.
fn whole_ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

impl fmt::Display for InvalidRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = RetryConfig::MAX_TIME;
        let time = |f: &mut fmt::Formatter<'_>, field: &str, got: &Duration| {
            write!(f, "{field}: {got:?} is not from 1 ms to {max:?}")
        };
        match self {
            InvalidRetry::MaxAttempts(n) => write!(f, "max_attempts: {n} is not from 1 to 100"),
            InvalidRetry::AttemptTimeout(got) => time(f, "attempt_timeout_ms", got),
            InvalidRetry::MinAttempt(got) => time(f, "min_attempt_ms", got),
            InvalidRetry::HedgeAfter(got) => time(f, "after_ms", got),
            InvalidRetry::Percentile(p) => write!(f, "percentile: {p} is not above 0 and below 100"),
            InvalidRetry::MaxHedges(n) => write!(f, "max: {n} hedges are not from 1 to 100"),
            InvalidRetry::TwoDelays => f.write_str("after_ms and percentile: only one of the two"),
            InvalidRetry::Budget(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for InvalidRetry {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InvalidRetry::Budget(why) => Some(why),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn refused(text: &str) -> String {
        serde_json::from_str::<RetryConfig>(text).unwrap_err().to_string()
    }

    #[test]
    fn the_form_in_a_file() {
        let config: RetryConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, RetryConfig::default());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<RetryConfig>(&text).unwrap(), config);
        let hedge = HedgeConfig::try_new(HedgeAfter::Fixed(ms(20))).unwrap().with_max(2).unwrap();
        let full = config
            .with_hedge(hedge)
            .with_at_once(1)
            .with_attempt_timeout(ms(5))
            .unwrap()
            .with_min_attempt(ms(2))
            .unwrap();
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<RetryConfig>(&text).unwrap(), full);
        assert_eq!(serde_json::from_str::<HedgeConfig>("{}").unwrap(), HedgeConfig::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, says) in [
            (r#"{"max_attempts":0}"#, "max_attempts: 0"),
            (r#"{"max_attempts":101}"#, "max_attempts: 101"),
            (r#"{"attempt_timeout_ms":0}"#, "attempt_timeout_ms: 0ns"),
            (r#"{"attempt_timeout_ms":4294967296}"#, "attempt_timeout_ms"),
            (r#"{"min_attempt_ms":0}"#, "min_attempt_ms: 0ns"),
            (r#"{"hedge":{"percentile":100}}"#, "percentile: 100"),
            (r#"{"hedge":{"percentile":0}}"#, "percentile: 0"),
            (r#"{"hedge":{"after_ms":0}}"#, "after_ms: 0ns"),
            (r#"{"hedge":{"after_ms":5,"percentile":5}}"#, "only one of the two"),
            (r#"{"hedge":{"max":0}}"#, "max: 0 hedges"),
            (r#"{"hedge":{"share":20}}"#, "a share of 20"),
            (r#"{"budget":{"share":20}}"#, "a share of 20"),
            (r#"{"backoff":{"base_ms":0}}"#, "too short"),
            (r#"{"retries":3}"#, "unknown field"),
        ] {
            assert!(refused(text).contains(says), "{text}: {}", refused(text));
        }
        assert!(HedgeConfig::try_new(HedgeAfter::Percentile(f64::NAN)).is_err());
    }
}
