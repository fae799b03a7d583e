//! When a caller holds itself back: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// When a caller holds itself back.
///
/// ```
/// use std::time::Duration;
/// use towpath_limit::ThrottleConfig;
///
/// let config: ThrottleConfig = serde_json::from_str(r#"{"multiplier": 1.5, "window_ms": 30000}"#)?;
/// assert_eq!((config.multiplier(), config.window()), (1.5, Duration::from_secs(30)));
/// let refused = serde_json::from_str::<ThrottleConfig>(r#"{"multiplier": 0.5}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("multiplier: 0.5 is not from 1 to 100"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct ThrottleConfig {
    multiplier: f64,
    window: Duration,
    min_calls: u32,
    max_share: f64,
}

/// Never all: some have to find out.
const MAX_SHARE: f64 = 0.999;

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    multiplier: f64,
    window_ms: u64,
    min_calls: u32,
    max_share: f64,
}

/// A throttle that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum InvalidThrottle {
    /// The multiplier is not from 1 to 100.
    BadMultiplier(f64),
    /// The window is not from a second to [`ThrottleConfig::MAX_WINDOW`].
    BadWindow(Duration),
    /// The largest share is not from 0 to 0.999.
    BadShare(f64),
}

impl ThrottleConfig {
    /// The longest window: an hour.
    pub const MAX_WINDOW: Duration = Duration::from_secs(3_600);

    /// Checks a multiplier and a window: calls are held back once there were more than `multiplier` of them for each
    /// that was accepted within the `window`.
    ///
    /// # Errors
    /// If the multiplier is not from 1 to 100, or the window not from a second to [`MAX_WINDOW`](Self::MAX_WINDOW).
    pub fn try_new(multiplier: f64, window: Duration) -> Result<Self, InvalidThrottle> {
        if !(1.0..=100.0).contains(&multiplier) {
            return Err(InvalidThrottle::BadMultiplier(multiplier));
        }
        if window < Duration::from_secs(1) || window > Self::MAX_WINDOW {
            return Err(InvalidThrottle::BadWindow(window));
        }
        Ok(ThrottleConfig { multiplier, window, ..Self::default() })
    }

    /// With fewer calls than this in the window none is held back.
    #[must_use]
    pub fn with_min_calls(self, min_calls: u32) -> Self {
        ThrottleConfig { min_calls, ..self }
    }

    /// The largest share of the calls that is held back: the others find out whether the service has recovered.
    ///
    /// # Errors
    /// If it is not from 0 to 0.999.
    pub fn with_max_share(self, max_share: f64) -> Result<Self, InvalidThrottle> {
        if !(0.0..=MAX_SHARE).contains(&max_share) {
            return Err(InvalidThrottle::BadShare(max_share));
        }
        Ok(ThrottleConfig { max_share, ..self })
    }

    /// How many calls there may be for each that is accepted.
    pub const fn multiplier(&self) -> f64 {
        self.multiplier
    }

    /// In how long.
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// How many calls it takes.
    pub const fn min_calls(&self) -> u32 {
        self.min_calls
    }

    /// The largest share of the calls that is held back.
    pub const fn max_share(&self) -> f64 {
        self.max_share
    }

    /// Which share of the calls is held back, after so many of which so many were accepted: `(calls - multiplier *
    /// accepted) / (calls + 1)`, within bounds.
    pub(super) fn share(&self, calls: u64, accepted: u64) -> f64 {
        if self.is_too_few(calls) {
            return 0.0;
        }
        let above = calls as f64 - self.multiplier * accepted as f64;
        (above / (calls as f64 + 1.0)).clamp(0.0, self.max_share)
    }

    /// Whether so few calls say nothing yet.
    pub(super) fn is_too_few(&self, calls: u64) -> bool {
        calls < u64::from(self.min_calls)
    }

    /// When a call is to come again that was held back with so many others. Of `n` that come again one goes through, so
    /// they are told to come `n` times as late: then each of them gets through once a second, in the mean, however many
    /// are held back. After a window all is different.
    pub(super) fn retry_after(&self, share: f64) -> Duration {
        Duration::from_secs(1).div_f64(1.0 - share.min(MAX_SHARE)).min(self.window)
    }
}

/// Twice as many calls as are accepted, within two minutes, as in the book; from 20 calls on (Hystrix' volume for a
/// decision), and one call in twenty always goes through (Envoy's admission control: one in five).
impl Default for ThrottleConfig {
    fn default() -> Self {
        let window = Duration::from_secs(120);
        ThrottleConfig { multiplier: 2.0, window, min_calls: 20, max_share: 0.95 }
    }
}

impl Default for Raw {
    fn default() -> Self {
        ThrottleConfig::default().into()
    }
}

impl TryFrom<Raw> for ThrottleConfig {
    type Error = InvalidThrottle;

    fn try_from(raw: Raw) -> Result<Self, InvalidThrottle> {
        let config = ThrottleConfig::try_new(raw.multiplier, Duration::from_millis(raw.window_ms))?;
        config.with_min_calls(raw.min_calls).with_max_share(raw.max_share)
    }
}

impl From<ThrottleConfig> for Raw {
    fn from(config: ThrottleConfig) -> Self {
        let ThrottleConfig { multiplier, window, min_calls, max_share } = config;
        // At most an hour, as checked when it was made.
        Raw { multiplier, window_ms: window.as_millis() as u64, min_calls, max_share }
    }
}

impl fmt::Display for InvalidThrottle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidThrottle::BadMultiplier(multiplier) => {
                write!(f, "multiplier: {multiplier} is not from 1 to 100")
            }
            InvalidThrottle::BadWindow(window) => {
                write!(f, "window_ms: {window:?} is not from a second to an hour")
            }
            InvalidThrottle::BadShare(share) => write!(f, "max_share: {share} is not from 0 to 0.999"),
        }
    }
}

impl std::error::Error for InvalidThrottle {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_range() {
        let window = Duration::from_secs(1);
        assert!(ThrottleConfig::try_new(1.0, window).is_ok());
        assert!(ThrottleConfig::try_new(f64::NAN, window).is_err());
        assert!(ThrottleConfig::try_new(2.0, window / 2).is_err());
        assert_eq!(ThrottleConfig::default().with_max_share(1.0), Err(InvalidThrottle::BadShare(1.0)));
    }

    #[test]
    fn the_share() {
        let config = ThrottleConfig::default();
        assert_eq!((config.share(19, 0), config.share(20, 10), config.share(1_000, 500)), (0.0, 0.0, 0.0));
        assert_eq!(config.share(20, 0), 20.0 / 21.0f64.max(20.0 / 0.95));
        assert!((config.share(1_000, 400) - 200.0 / 1_001.0).abs() < 1e-9);
        assert_eq!(config.share(1_000, 0), 0.95);
    }

    #[test]
    fn the_more_are_held_back_the_later_is_one_to_come_again() {
        let config = ThrottleConfig::try_new(2.0, Duration::from_secs(30)).unwrap();
        let after = |share| config.retry_after(share).as_secs_f64();
        assert_eq!([0.0, 0.5, 0.9, 0.999].map(|share| after(share).round()), [1.0, 2.0, 10.0, 30.0]);
    }

    proptest! {
        /// Whatever the throttle has seen: from a second to the window, never sooner after more refusals, and in the
        /// mean a call goes through once a second, where the window does not cut that short.
        #[test]
        fn when_to_come_again(
            (multiplier, window, share) in (1.0f64..10.0, 1u64..3_600, 0.0f64..=MAX_SHARE),
            (calls, accepted, more) in (0u64..10_000, 0u64..10_000, 0u64..1_000),
        ) {
            let window = Duration::from_secs(window);
            let config = ThrottleConfig::try_new(multiplier, window).unwrap().with_max_share(share).unwrap();
            let calls = calls + accepted;
            let [now, then] = [calls, calls + more].map(|calls| config.share(calls, accepted));
            let after = config.retry_after(now);
            prop_assert!(after >= Duration::from_secs(1) && after <= window);
            prop_assert!(config.retry_after(then) >= after);
            if after < window {
                prop_assert!((after.as_secs_f64() * (1.0 - now) - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_form_in_a_file() {
        assert_eq!(serde_json::from_str::<ThrottleConfig>("{}").unwrap(), ThrottleConfig::default());
        let text = serde_json::to_string(&ThrottleConfig::default()).unwrap();
        assert_eq!(text, r#"{"multiplier":2.0,"window_ms":120000,"min_calls":20,"max_share":0.95}"#);
        assert!(serde_json::from_str::<ThrottleConfig>(r#"{"k":2}"#).is_err());
    }
}
