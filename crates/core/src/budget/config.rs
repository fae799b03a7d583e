//! The size of a budget: a validated value.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How large a [`Budget`](super::Budget) is: a share of the first attempts, and a reserve.
///
/// In a file, what is left out has its default:
///
/// ```
/// use towpath_core::BudgetConfig;
/// let config: BudgetConfig = serde_json::from_str(r#"{"per_second": 3}"#)?;
/// assert_eq!((config.share(), config.per_second()), (0.2, 3));
/// assert!(serde_json::from_str::<BudgetConfig>(r#"{"share": 20}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct BudgetConfig {
    share: f64,
    per_second: u32,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    share: f64,
    per_second: u32,
}

/// A budget that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum InvalidBudget {
    /// The share is not from 0 to [`BudgetConfig::MAX_SHARE`].
    BadShare(f64),
    /// The reserve is above [`BudgetConfig::MAX_PER_SECOND`].
    ReserveTooLarge(u32),
}

impl BudgetConfig {
    /// The largest share: ten more tries for each first attempt. 20 for 20 % is a slip of the pen.
    pub const MAX_SHARE: f64 = 10.0;

    /// The largest reserve: a million a second.
    pub const MAX_PER_SECOND: u32 = 1_000_000;

    /// Checks a size: `share` of a further try for each first attempt, counted in thousandths, and
    /// `per_second` tries in each second beside that.
    ///
    /// # Errors
    /// If the share is not from 0 to [`MAX_SHARE`](Self::MAX_SHARE), or the reserve is above
    /// [`MAX_PER_SECOND`](Self::MAX_PER_SECOND).
    pub fn try_new(share: f64, per_second: u32) -> Result<Self, InvalidBudget> {
        if !(0.0..=Self::MAX_SHARE).contains(&share) {
            return Err(InvalidBudget::BadShare(share));
        }
        if per_second > Self::MAX_PER_SECOND {
            return Err(InvalidBudget::ReserveTooLarge(per_second));
        }
        Ok(BudgetConfig { share, per_second })
    }

    /// What each first attempt adds, in tries.
    pub const fn share(&self) -> f64 {
        self.share
    }

    /// What each second adds, in tries.
    pub const fn per_second(&self) -> u32 {
        self.per_second
    }
}

impl Default for BudgetConfig {
    /// A fifth of the first attempts, and 10 a second.
    fn default() -> Self {
        BudgetConfig { share: 0.2, per_second: 10 }
    }
}

impl Default for Raw {
    fn default() -> Self {
        BudgetConfig::default().into()
    }
}

impl TryFrom<Raw> for BudgetConfig {
    type Error = InvalidBudget;

    fn try_from(raw: Raw) -> Result<Self, InvalidBudget> {
        BudgetConfig::try_new(raw.share, raw.per_second)
    }
}

impl From<BudgetConfig> for Raw {
    fn from(config: BudgetConfig) -> Self {
        Raw { share: config.share, per_second: config.per_second }
    }
}

impl fmt::Display for InvalidBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidBudget::BadShare(share) => {
                write!(f, "a share of {share} is not from 0 to 10 (0.2 is a fifth)")
            }
            InvalidBudget::ReserveTooLarge(per_second) => {
                write!(f, "a reserve of {per_second} a second is above a million")
            }
        }
    }
}

impl std::error::Error for InvalidBudget {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range() {
        assert!(BudgetConfig::try_new(0.0, 0).is_ok() && BudgetConfig::try_new(10.0, 1_000_000).is_ok());
        for share in [-0.1, 10.1, f64::INFINITY] {
            assert_eq!(BudgetConfig::try_new(share, 0), Err(InvalidBudget::BadShare(share)));
        }
        assert!(BudgetConfig::try_new(f64::NAN, 0).is_err());
        assert_eq!(BudgetConfig::try_new(0.0, 1_000_001), Err(InvalidBudget::ReserveTooLarge(1_000_001)));
    }

    #[test]
    fn the_form_in_a_file() {
        assert_eq!(serde_json::from_str::<BudgetConfig>("{}").unwrap(), BudgetConfig::default());
        let text = serde_json::to_string(&BudgetConfig::default()).unwrap();
        assert_eq!(text, r#"{"share":0.2,"per_second":10}"#);
        assert!(serde_json::from_str::<BudgetConfig>(r#"{"percent":20}"#).is_err());
    }
}
