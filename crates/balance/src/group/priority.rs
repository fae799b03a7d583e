//! Those of a lower priority when the others cannot take it.

use super::{
    part::Part,
    share::{by_health, of_key, within},
};
use crate::{
    hash::KeyFrom,
    pick::{Pick, Renew, View},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fmt,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};
use towpath_core::{Endpoint, Live};

/// Keeps calls among the endpoints of the first [priority](Endpoint::priority) as far as these are well, and lets the next
/// ones have the rest.
///
/// A level whose endpoints are all well takes everything. As some fail, it keeps what its share of well ones is good for,
/// times a [factor](PriorityConfig): with 1.4, a level of which 71 % are well still takes all, one of which half are well
/// takes 70 %. What is left goes to the next level, by the same rule. If all levels together are not good for everything,
/// each takes its part of what they are. (As Envoy has it.) Shares are by weight; a level of which none takes calls is
/// passed over.
///
/// Within a level another picker picks. Calls with an affinity key or a session go to the same level while the shares
/// stay.
#[derive(Clone, Debug)]
pub struct Priorities<P> {
    config: Live<PriorityConfig>,
    inner: P,
}

/// How much of its endpoints a level may lose before the next one gets calls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct PriorityConfig(f64);

/// A factor that makes no sense.
#[derive(Clone, Debug, PartialEq)]
pub struct InvalidPriority(f64);

/// The levels.
pub struct Levels<T>(Box<[Level<T>]>);

struct Level<T> {
    part: Part<T>,
    /// Where its share ends.
    upto: AtomicU32,
}

impl PriorityConfig {
    /// The share of a level is that of its endpoints that are well, times this: 1 to 100. Default: 1.4 (Envoy's).
    ///
    /// ```
    /// use towpath_balance::PriorityConfig;
    /// let config: PriorityConfig = serde_json::from_str(r#"{"over_provisioning": 2.0}"#)?;
    /// assert_eq!(config.over_provisioning(), 2.0);
    /// assert!(serde_json::from_str::<PriorityConfig>(r#"{"over_provisioning": 0.5}"#).is_err());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// If it is out of that range.
    pub fn try_new(over_provisioning: f64) -> Result<Self, InvalidPriority> {
        match (1.0..=100.0).contains(&over_provisioning) {
            true => Ok(PriorityConfig(over_provisioning)),
            false => Err(InvalidPriority(over_provisioning)),
        }
    }

    /// The factor.
    pub fn over_provisioning(&self) -> f64 {
        self.0
    }
}

impl Default for PriorityConfig {
    fn default() -> Self {
        PriorityConfig(1.4)
    }
}

impl fmt::Display for InvalidPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "over_provisioning: {} is not from 1 to 100", self.0)
    }
}

impl std::error::Error for InvalidPriority {}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    over_provisioning: f64,
}

impl Default for Raw {
    fn default() -> Self {
        PriorityConfig::default().into()
    }
}

impl TryFrom<Raw> for PriorityConfig {
    type Error = InvalidPriority;

    fn try_from(raw: Raw) -> Result<Self, InvalidPriority> {
        PriorityConfig::try_new(raw.over_provisioning)
    }
}

impl From<PriorityConfig> for Raw {
    fn from(config: PriorityConfig) -> Self {
        Raw { over_provisioning: config.0 }
    }
}

impl<P> Priorities<P> {
    /// Within each level `inner` picks. The config can be a [`Live`] one that is replaced while balancers run.
    pub fn new(config: impl Into<Live<PriorityConfig>>, inner: P) -> Self {
        Priorities { config: config.into(), inner }
    }
}

impl<P: Pick> Priorities<P> {
    /// There is more than one level.
    #[inline]
    fn among(&self, levels: &[Level<P::Table>], view: &View<'_>) -> Option<usize> {
        let whole = levels.first().is_some_and(|first| within(u32::MAX, first.upto.load(Relaxed)));
        let number = match whole {
            true => 0,
            false => of_key(&KeyFrom::ALL, view).unwrap_or_else(|| fastrand::u32(..)),
        };
        let drawn = levels.iter().position(|level| within(number, level.upto.load(Relaxed)));
        let pick = |level: &Level<P::Table>| level.part.pick(&self.inner, view);
        let picked = drawn.and_then(|drawn| pick(&levels[drawn]));
        // The shares may be older than the states.
        picked.or_else(|| levels.iter().find_map(pick))
    }
}

impl<P: Pick> Pick for Priorities<P> {
    type Table = Levels<P::Table>;

    fn is_heavy(&self) -> bool {
        self.inner.is_heavy()
    }

    fn table(&self, endpoints: &[&Endpoint]) -> Self::Table {
        let priorities: BTreeSet<_> = endpoints.iter().map(|endpoint| endpoint.priority()).collect();
        let part = |priority| Part::of(&self.inner, endpoints, |endpoint| endpoint.priority() == priority);
        let level = |part| Level { part, upto: AtomicU32::new(u32::MAX) };
        Levels(priorities.into_iter().filter_map(part).map(level).collect())
    }

    #[inline]
    fn pick(&self, table: &Self::Table, view: &View<'_>) -> Option<usize> {
        match &*table.0 {
            [all] => all.part.pick(&self.inner, view),
            levels => self.among(levels, view),
        }
    }

    fn refresh(&self, table: &Self::Table, view: &View<'_>) {
        let factor = self.config.get().0 as f32;
        table.0.iter().for_each(|level| level.part.refresh(&self.inner, view));
        let health = |level: &Level<P::Table>| (factor * level.part.health(&self.inner, view)).min(1.0);
        let healths: Vec<_> = table.0.iter().map(health).collect();
        for (level, upto) in table.0.iter().zip(by_health(&healths)) {
            level.upto.store(upto, Relaxed);
        }
    }

    fn wanted(&self, table: &Self::Table, view: &View<'_>) -> Option<Vec<usize>> {
        Part::wanted(table.0.iter().map(|level| &level.part), &self.inner, view)
    }

    fn suits(&self, table: &Self::Table, view: &View<'_>, index: usize) -> bool {
        table.0.iter().any(|level| level.part.suits(&self.inner, view, index))
    }

    fn listen(&self, renew: &Renew) {
        let again = renew.clone();
        self.config.listen(move || again());
        self.inner.listen(renew);
    }
}
