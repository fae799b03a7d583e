//! The bounds of an adaptive limit: a validated value.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The bounds of an adaptive limit, where it starts, and how much slower than at its best a service may become.
///
/// ```
/// use towpath_limit::AdaptiveConfig;
/// let config: AdaptiveConfig = serde_json::from_str(r#"{"max": 200, "tolerance": 1.5}"#)?;
/// assert_eq!((config.min(), config.max(), config.initial(), config.tolerance()), (1, 200, 20, 1.5));
/// assert!(serde_json::from_str::<AdaptiveConfig>(r#"{"tolerance": 1}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct AdaptiveConfig {
    min: u32,
    max: u32,
    initial: u32,
    tolerance: f64,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    min: u32,
    max: u32,
    initial: u32,
    tolerance: f64,
}

/// Bounds that make no sense.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum InvalidAdaptive {
    /// It is not 1 <= min <= initial <= max <= [`AdaptiveConfig::MAX`].
    BadBounds {
        /// The smallest limit.
        min: u32,
        /// The first one.
        initial: u32,
        /// The largest.
        max: u32,
    },
    /// The tolerance is not from 1.05 to 10.
    BadTolerance(f64),
}

impl AdaptiveConfig {
    /// The largest limit that can be asked for: a million.
    pub const MAX: u32 = 1_000_000;

    /// Checks bounds.
    ///
    /// # Errors
    /// If it is not 1 <= `min` <= `initial` <= `max` <= [`MAX`](Self::MAX).
    pub const fn try_new(min: u32, initial: u32, max: u32) -> Result<Self, InvalidAdaptive> {
        if min < 1 || min > initial || initial > max || max > Self::MAX {
            return Err(InvalidAdaptive::BadBounds { min, initial, max });
        }
        Ok(AdaptiveConfig { min, max, initial, ..Self::DEFAULT })
    }

    /// How much slower than without a queue calls may become, in the mean: 1.2 is a fifth. Less keeps latencies
    /// lower; more keeps a service busy whose calls differ a lot.
    ///
    /// # Errors
    /// If it is not from 1.05 to 10.
    pub const fn with_tolerance(self, tolerance: f64) -> Result<Self, InvalidAdaptive> {
        if !(tolerance >= 1.05 && tolerance <= 10.0) {
            return Err(InvalidAdaptive::BadTolerance(tolerance));
        }
        Ok(AdaptiveConfig { tolerance, ..self })
    }

    /// The smallest limit.
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// The largest limit.
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// The first limit. A small service that may be overloaded as it starts had better be told its size: with 20 calls
    /// let in, one of two workers is late until it has found out.
    pub const fn initial(&self) -> u32 {
        self.initial
    }

    /// How much slower than without a queue calls may become.
    pub const fn tolerance(&self) -> f64 {
        self.tolerance
    }

    pub(crate) const DEFAULT: Self = AdaptiveConfig { min: 1, max: 1_000, initial: 20, tolerance: 1.2 };
}

/// From 1 to 1 000, 20 at first (as Netflix' concurrency-limits), a tolerance of a fifth (Envoy: a quarter).
impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for Raw {
    fn default() -> Self {
        AdaptiveConfig::default().into()
    }
}

impl TryFrom<Raw> for AdaptiveConfig {
    type Error = InvalidAdaptive;

    fn try_from(raw: Raw) -> Result<Self, InvalidAdaptive> {
        // Who lowers the largest in a file, or raises the smallest, need not name the first.
        let unsaid = raw.initial == Self::DEFAULT.initial && raw.min >= 1 && raw.min <= raw.max;
        let initial = if unsaid { raw.initial.clamp(raw.min, raw.max) } else { raw.initial };
        AdaptiveConfig::try_new(raw.min, initial, raw.max)?.with_tolerance(raw.tolerance)
    }
}

impl AdaptiveConfig {
    pub(crate) fn clamp(&self, limit: f64) -> f64 {
        limit.clamp(f64::from(self.min), f64::from(self.max))
    }
}

impl From<AdaptiveConfig> for Raw {
    fn from(config: AdaptiveConfig) -> Self {
        let AdaptiveConfig { min, max, initial, tolerance } = config;
        Raw { min, max, initial, tolerance }
    }
}

impl fmt::Display for InvalidAdaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidAdaptive::BadBounds { min, initial, max } => write!(
                f,
                "min {min}, initial {initial}, max {max}: it is to be 1 <= min <= initial <= max <= 1000000"
            ),
            InvalidAdaptive::BadTolerance(tolerance) => {
                write!(f, "tolerance: {tolerance} is not from 1.05 to 10 (1.2 is a fifth slower)")
            }
        }
    }
}

impl std::error::Error for InvalidAdaptive {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range() {
        assert!(AdaptiveConfig::try_new(1, 1, 1).is_ok());
        assert!(AdaptiveConfig::try_new(0, 1, 1).is_err());
        assert!(AdaptiveConfig::try_new(2, 1, 3).is_err() && AdaptiveConfig::try_new(1, 4, 3).is_err());
        let config = AdaptiveConfig::default();
        assert!(config.with_tolerance(f64::NAN).is_err() && config.with_tolerance(1.0).is_err());
    }

    #[test]
    fn the_form_in_a_file() {
        assert_eq!(serde_json::from_str::<AdaptiveConfig>("{}").unwrap(), AdaptiveConfig::default());
        let text = serde_json::to_string(&AdaptiveConfig::default()).unwrap();
        assert_eq!(text, r#"{"min":1,"max":1000,"initial":20,"tolerance":1.2}"#);
        let config: AdaptiveConfig = serde_json::from_str(r#"{"max":10}"#).unwrap();
        assert_eq!((config.initial(), config.max()), (10, 10));
        assert!(serde_json::from_str::<AdaptiveConfig>(r#"{"maximum":10}"#).is_err());
    }
}
