//! The own zone, while it has room.

use super::{
    part::Part,
    share::{ALL, by_health, of_key, within},
};
use crate::{
    hash::KeyFrom,
    pick::{Pick, Renew, View},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};
use towpath_core::{Endpoint, Live};

/// Keeps calls among the endpoints of the own [zone](Endpoint::zone), while these have room.
///
/// There are two ways in which they may have none:
///
/// - too few of them are well: the zone keeps what its share of well ones is good for, times a
///   [factor](ZonesOptions::over_provisioning), as with [`Priorities`](crate::Priorities);
/// - they are busy: the one that a call would go to, which has calls under way, has a [load](View::load) that is more than
///   some [times](ZonesOptions::spill) that of the one that it would go to elsewhere. As the load is what a call has to
///   expect, the way to another zone counts.
///
/// Calls with an affinity key or a session leave the zone for the first reason only, so that they do not go back and forth.
/// Endpoints that do not say where they stand are elsewhere. Within the zone, and outside, another picker picks.
#[derive(Clone, Debug)]
pub struct Zones<P> {
    config: Live<ZonesConfig>,
    inner: P,
}

/// What a [`ZonesConfig`] is made of, unchecked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ZonesOptions {
    /// The own zone. `None`, the default: none is preferred.
    pub zone: Option<String>,
    /// The zone's share is that of its endpoints that are well, times this: 1 to 100. Default: 1.4 (Envoy's, for
    /// priorities).
    pub over_provisioning: f64,
    /// So many times as busy as elsewhere the zone may be: 1 to 1 000. `None`: however busy it is. Default: 2.
    pub spill: Option<f64>,
}

/// Which zone is the own one, and when it has no room.
///
/// Its fields are those of [`ZonesOptions`], checked:
///
/// ```
/// use towpath_balance::ZonesConfig;
/// let config: ZonesConfig = serde_json::from_str(r#"{"zone": "eu-1a"}"#)?;
/// assert_eq!((config.zone.as_deref(), config.spill), (Some("eu-1a"), Some(2.0)));
/// let refused = serde_json::from_str::<ZonesConfig>(r#"{"spill": 0.5}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("spill: 0.5 is not from 1 to 1000"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ZonesOptions", into = "ZonesOptions")]
pub struct ZonesConfig(ZonesOptions);

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidZone {
    field: &'static str,
    reason: String,
}

/// Here and elsewhere.
pub struct Sides<T> {
    near: Option<Part<T>>,
    far: Option<Part<T>>,
    /// The share of the zone.
    share: AtomicU32,
    spill: Option<f32>,
}

impl ZonesConfig {
    /// Checks a config.
    ///
    /// # Errors
    /// If a field is out of the range that is said there.
    pub fn try_new(options: ZonesOptions) -> Result<Self, InvalidZone> {
        let check = |field, value: f64, most: f64| match (1.0..=most).contains(&value) {
            true => Ok(()),
            false => Err(InvalidZone { field, reason: format!("{value} is not from 1 to {most}") }),
        };
        check("over_provisioning", options.over_provisioning, 100.0)?;
        check("spill", options.spill.unwrap_or(1.0), 1_000.0)?;
        Ok(ZonesConfig(options))
    }

    /// The fields, to make another config of them.
    pub fn options(&self) -> ZonesOptions {
        self.0.clone()
    }
}

impl std::ops::Deref for ZonesConfig {
    type Target = ZonesOptions;

    fn deref(&self) -> &ZonesOptions {
        &self.0
    }
}

impl Default for ZonesOptions {
    fn default() -> Self {
        ZonesOptions { zone: None, over_provisioning: 1.4, spill: Some(2.0) }
    }
}

impl TryFrom<ZonesOptions> for ZonesConfig {
    type Error = InvalidZone;

    fn try_from(options: ZonesOptions) -> Result<Self, InvalidZone> {
        ZonesConfig::try_new(options)
    }
}

impl From<ZonesConfig> for ZonesOptions {
    fn from(config: ZonesConfig) -> Self {
        config.0
    }
}

impl InvalidZone {
    /// The name of the field, as in a file.
    pub fn field(&self) -> &str {
        self.field
    }
}

impl fmt::Display for InvalidZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidZone {}

impl<P> Zones<P> {
    /// Within the zone, and outside, `inner` picks. The config can be a [`Live`] one that is replaced while balancers run.
    pub fn new(config: impl Into<Live<ZonesConfig>>, inner: P) -> Self {
        Zones { config: config.into(), inner }
    }
}

impl<P: Pick> Zones<P> {
    #[inline]
    fn between(
        &self,
        table: &Sides<P::Table>,
        near: &Part<P::Table>,
        far: &Part<P::Table>,
        view: &View<'_>,
    ) -> Option<usize> {
        let key = of_key(&KeyFrom::ALL, view);
        let share = table.share.load(Relaxed);
        if share != ALL && !within(key.unwrap_or_else(|| fastrand::u32(..)), share) {
            return far.pick(&self.inner, view).or_else(|| near.pick(&self.inner, view));
        }
        let Some(here) = near.pick(&self.inner, view) else { return far.pick(&self.inner, view) };
        // Who has nothing to do has room.
        let Some(spill) = table.spill.filter(|_| key.is_none() && view.in_flight(here) > 0) else {
            return Some(here);
        };
        let Some(there) = far.pick(&self.inner, view) else { return Some(here) };
        let load_here = view.load_beside(here, view.in_flight(there));
        let load_there = view.load_beside(there, view.in_flight(here));
        Some(if load_here > spill * load_there { there } else { here })
    }
}

impl<P: Pick> Pick for Zones<P> {
    type Table = Sides<P::Table>;

    fn is_heavy(&self) -> bool {
        self.inner.is_heavy()
    }

    fn table(&self, endpoints: &[&Endpoint]) -> Self::Table {
        let config = self.config.get();
        let is_near =
            |endpoint: &Endpoint| config.zone.as_deref().is_none_or(|zone| endpoint.zone() == Some(zone));
        Sides {
            near: Part::of(&self.inner, endpoints, is_near),
            far: Part::of(&self.inner, endpoints, |endpoint| !is_near(endpoint)),
            share: AtomicU32::new(ALL),
            spill: config.spill.map(|spill| spill as f32),
        }
    }

    #[inline]
    fn pick(&self, table: &Self::Table, view: &View<'_>) -> Option<usize> {
        match (&table.near, &table.far) {
            (Some(near), Some(far)) => self.between(table, near, far, view),
            (Some(all), None) | (None, Some(all)) => all.pick(&self.inner, view),
            (None, None) => None,
        }
    }

    fn refresh(&self, table: &Self::Table, view: &View<'_>) {
        for side in [&table.near, &table.far].into_iter().flatten() {
            side.refresh(&self.inner, view);
        }
        if let (Some(near), Some(far)) = (&table.near, &table.far) {
            let factor = self.config.get().over_provisioning as f32;
            let healths = [near, far].map(|side| (factor * side.health(&self.inner, view)).min(1.0));
            table.share.store(by_health(&healths).next().unwrap_or(ALL), Relaxed);
        }
    }

    fn suits(&self, table: &Self::Table, view: &View<'_>, index: usize) -> bool {
        let mut sides = [&table.near, &table.far].into_iter().flatten();
        sides.any(|side| side.suits(&self.inner, view, index))
    }

    fn wanted(&self, table: &Self::Table, view: &View<'_>) -> Option<Vec<usize>> {
        Part::wanted([&table.near, &table.far].into_iter().flatten(), &self.inner, view)
    }

    fn listen(&self, renew: &Renew) {
        let again = renew.clone();
        self.config.listen(move || again());
        self.inner.listen(renew);
    }
}
