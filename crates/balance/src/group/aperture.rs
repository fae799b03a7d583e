//! A slice of a large fleet for each client, so that together they load all alike.

use super::{
    part::Part,
    share::{ALL, by_health, within},
};
use crate::{
    hash::{ring_order, weights},
    pick::{Pick, Renew, View},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
};
use towpath_core::{Endpoint, EndpointStatus, Live};

/// Keeps the calls of this client among a slice of the endpoints, where another picker picks: with hundreds of clients and
/// servers each client's calls to each server are so few that it knows nothing of its latency, and connections that are
/// used now and then are cold.
///
/// Only the endpoints of the slice are readied, and so connected with, by a balancer that has a task
/// ([`Balancer::over`](crate::Balancer::over)). For each of them that fails the next one on the ring is readied as well, before
/// a call goes there; when all of the slice are well again those are spares, and pools let their idle connections to them go.
///
/// The endpoints stand on a ring, each with as much of it as it weighs, in an order that all clients compute alike from
/// their addresses (or [names](crate::affinity_hash)). Each client has the slice that its number says, and may cut
/// endpoints at its ends, which then get that part of their share. As slices are whole multiples of the distance between
/// clients, all endpoints get the same from all clients together. (Finagle's deterministic aperture; the idea of subsets
/// that are not drawn at random is in Google's "Site Reliability Engineering", chapter 20.)
///
/// If too few of the slice are well, the other endpoints get what it cannot take, as with
/// [`Priorities`](crate::Priorities), with a factor of 1.4.
///
/// A [`ConsistentHash`](crate::ConsistentHash) within it would send a key to another endpoint from each client.
#[derive(Clone, Debug)]
pub struct Aperture<P> {
    config: Live<ApertureConfig>,
    /// Where a client stands that does not know.
    somewhere: u32,
    inner: P,
}

/// What an [`ApertureConfig`] is made of, unchecked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApertureOptions {
    /// How many clients there are like this one: 1 to 65 536. `None`, the default: that is not known, and the slice begins
    /// anywhere. Then endpoints get the same from all clients only on an average.
    pub clients: Option<u32>,
    /// Which of them this one is, from 0. Default: 0.
    pub client: u32,
    /// A slice is at least as large as that of so many endpoints: 1 to 65 536. Default: 12 (Finagle's).
    pub least: u32,
}

/// Which slice.
///
/// Its fields are those of [`ApertureOptions`], checked:
///
/// ```
/// use towpath_balance::ApertureConfig;
/// let config: ApertureConfig = serde_json::from_str(r#"{"clients": 40, "client": 7}"#)?;
/// assert_eq!(config.least, 12);
/// let refused = serde_json::from_str::<ApertureConfig>(r#"{"clients": 40, "client": 40}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("client: 40 is not below 40"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ApertureOptions", into = "ApertureOptions")]
pub struct ApertureConfig(ApertureOptions);

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAperture {
    field: &'static str,
    reason: String,
}

/// The slice, and the rest.
pub struct Slice<T> {
    near: Option<Part<T>>,
    far: Option<Part<T>>,
    /// Those of the far ones that have a weight, in the order in which they stand in for those of the slice.
    next: Box<[u32]>,
    /// How many of the slice are stood in for.
    missing: AtomicUsize,
    /// The share that the slice takes.
    share: AtomicU32,
}

/// As many clients as there can be.
const MOST: u32 = 65_536;
/// The largest weight of an endpoint within a slice.
const SCALE: u128 = 1_000_000;
/// So much of a slice may be lost before others get its calls.
const OVER_PROVISIONING: f32 = 1.4;

impl ApertureConfig {
    /// Checks a config.
    ///
    /// # Errors
    /// If a field is out of the range that is said there, or there is no such client.
    pub fn try_new(options: ApertureOptions) -> Result<Self, InvalidAperture> {
        let check = |field, value: u32| match (1..=MOST).contains(&value) {
            true => Ok(()),
            false => Err(InvalidAperture { field, reason: format!("{value} is not from 1 to {MOST}") }),
        };
        let clients = options.clients.unwrap_or(MOST);
        check("clients", clients)?;
        check("least", options.least)?;
        if options.client >= clients {
            let reason = format!("{} is not below {clients}", options.client);
            return Err(InvalidAperture { field: "client", reason });
        }
        Ok(ApertureConfig(options))
    }

    /// The fields, to make another config of them.
    pub fn options(&self) -> ApertureOptions {
        self.0.clone()
    }
}

impl std::ops::Deref for ApertureConfig {
    type Target = ApertureOptions;

    fn deref(&self) -> &ApertureOptions {
        &self.0
    }
}

impl Default for ApertureOptions {
    fn default() -> Self {
        ApertureOptions { clients: None, client: 0, least: 12 }
    }
}

impl TryFrom<ApertureOptions> for ApertureConfig {
    type Error = InvalidAperture;

    fn try_from(options: ApertureOptions) -> Result<Self, InvalidAperture> {
        ApertureConfig::try_new(options)
    }
}

impl From<ApertureConfig> for ApertureOptions {
    fn from(config: ApertureConfig) -> Self {
        config.0
    }
}

impl InvalidAperture {
    /// The name of the field, as in a file.
    pub fn field(&self) -> &str {
        self.field
    }
}

impl fmt::Display for InvalidAperture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidAperture {}

impl<P> Aperture<P> {
    /// Within the slice, and outside, `inner` picks. The config can be a [`Live`] one that is replaced while balancers run,
    /// as when clients come and go.
    pub fn new(config: impl Into<Live<ApertureConfig>>, inner: P) -> Self {
        Aperture { config: config.into(), somewhere: fastrand::u32(..MOST), inner }
    }
}

/// What each endpoint weighs within the slice: 0 outside. All numbers are whole: a turn of the ring has as many steps as the
/// weights together, times the clients.
fn slice(config: &ApertureOptions, somewhere: u32, endpoints: &[&Endpoint]) -> Vec<u32> {
    let weights = weights(endpoints);
    let present = weights.iter().filter(|weight| **weight > 0).count().max(1) as u128;
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let (clients, client) = match config.clients {
        Some(clients) => (u128::from(clients), u128::from(config.client)),
        None => (u128::from(MOST), u128::from(somewhere)),
    };
    let times = (u128::from(config.least) * clients).div_ceil(present).clamp(1, clients);
    // Of two turns, so that none has to be cut where a turn ends.
    let (from, upto) = (client * sum, (client + times) * sum);
    let mut overlaps = vec![0; endpoints.len()];
    let mut start = 0;
    for index in ring_order(endpoints) {
        let end = start + u128::from(weights[index]) * clients;
        let overlap = |start: u128, end: u128| end.min(upto).saturating_sub(start.max(from));
        let turn = sum * clients;
        overlaps[index] = overlap(start, end) + overlap(start + turn, end + turn);
        start = end;
    }
    let most = overlaps.iter().copied().max().unwrap_or(0).max(1);
    let scaled = |overlap: &u128| match overlap {
        0 => 0,
        overlap => u32::try_from((overlap * SCALE).div_ceil(most)).unwrap_or(u32::MAX),
    };
    overlaps.iter().map(scaled).collect()
}

/// Those outside of the slice, from its end on.
fn beyond(own: &[u32], endpoints: &[&Endpoint]) -> Box<[u32]> {
    let weights = weights(endpoints);
    let mut ring: Vec<_> = ring_order(endpoints).into_iter().filter(|index| weights[*index] > 0).collect();
    let is_own = |index: &usize| own[*index] > 0;
    let ends = (1..ring.len()).find(|at| is_own(&ring[at - 1]) && !is_own(&ring[*at]));
    ring.rotate_left(ends.unwrap_or(0));
    ring.into_iter().filter(|index| !is_own(index)).map(|index| index as u32).collect()
}

/// Whether it is known that calls cannot go there: not while its first connect, or the first one after a loss, is under way.
fn fails(view: &View<'_>, index: usize) -> bool {
    let state = view.endpoint(index).state();
    !matches!(state.status(), EndpointStatus::Ready | EndpointStatus::Connecting { next_try: None })
        || state.asks_ejection()
}

impl<T> Slice<T> {
    /// The endpoints of the slice.
    fn own(&self, view: &View<'_>) -> Vec<usize> {
        match self.near.as_ref().map(Part::indices) {
            None => Vec::new(),
            Some(None) => (0..view.len()).collect(),
            Some(Some(indices)) => indices.iter().map(|index| *index as usize).collect(),
        }
    }

    /// Counts how many are to be stood in for. One whose connect is tried again is, until it succeeds.
    fn look(&self, view: &View<'_>) {
        let own = self.own(view);
        let failing = own.iter().filter(|index| fails(view, **index)).count();
        let not_well = own.iter().filter(|index| !view.is_well(**index)).count();
        let before = self.missing.load(Relaxed);
        self.missing.store(before.min(not_well).max(failing), Relaxed);
    }

    /// Those that stand in: as many as are missing and do not fail themselves, and those before them.
    fn stand_in(&self, view: &View<'_>) -> impl Iterator<Item = usize> {
        let mut missing = self.missing.load(Relaxed);
        self.next.iter().map(|index| *index as usize).take_while(move |index| {
            let wanted = missing > 0;
            missing -= usize::from(wanted && !fails(view, *index));
            wanted
        })
    }

    /// What part of the calls of the slice the others can take, by weight.
    fn room(&self, view: &View<'_>) -> f32 {
        let weight = |index: &usize| view.whole_weight(*index);
        let all: f32 = self.own(view).iter().map(weight).sum();
        let far = self.far.as_ref().and_then(Part::indices).unwrap_or_default();
        let well: f32 = far
            .iter()
            .map(|index| *index as usize)
            .filter(|index| view.is_well(*index))
            .map(|index| weight(&index))
            .sum();
        if all > 0.0 { well / all } else { 0.0 }
    }
}

impl<P: Pick> Pick for Aperture<P> {
    type Table = Slice<P::Table>;

    fn is_heavy(&self) -> bool {
        self.inner.is_heavy()
    }

    fn table(&self, endpoints: &[&Endpoint]) -> Self::Table {
        let own = slice(&self.config.get(), self.somewhere, endpoints);
        let far: Vec<_> = (0..endpoints.len()).filter(|index| own[*index] == 0).collect();
        let near = (0..endpoints.len()).filter(|index| own[*index] > 0);
        Slice {
            near: Part::weighing(&self.inner, endpoints, near.map(|index| (index, own[index]))),
            far: Part::those(&self.inner, endpoints, &far),
            next: beyond(&own, endpoints),
            missing: AtomicUsize::new(0),
            share: AtomicU32::new(ALL),
        }
    }

    #[inline]
    fn pick(&self, table: &Self::Table, view: &View<'_>) -> Option<usize> {
        let pick = |part: &Option<Part<P::Table>>| part.as_ref()?.pick(&self.inner, view);
        let share = table.share.load(Relaxed);
        match share == ALL || within(fastrand::u32(..), share) {
            true => pick(&table.near).or_else(|| pick(&table.far)),
            false => pick(&table.far).or_else(|| pick(&table.near)),
        }
    }

    fn refresh(&self, table: &Self::Table, view: &View<'_>) {
        let parts = [&table.near, &table.far];
        parts.into_iter().flatten().for_each(|part| part.refresh(&self.inner, view));
        table.look(view);
        let near = table.near.as_ref().map_or(0.0, |part| part.health(&self.inner, view));
        let healths = [near, table.room(view)].map(|health| (OVER_PROVISIONING * health).min(1.0));
        table.share.store(by_health(&healths).next().unwrap_or(ALL), Relaxed);
    }

    fn suits(&self, table: &Self::Table, view: &View<'_>, index: usize) -> bool {
        let mut parts = [&table.near, &table.far].into_iter().flatten();
        parts.any(|part| part.suits(&self.inner, view, index))
    }

    fn wanted(&self, table: &Self::Table, view: &View<'_>) -> Option<Vec<usize>> {
        let mut wanted = table.own(view);
        wanted.extend(table.stand_in(view));
        Some(wanted)
    }

    fn listen(&self, renew: &Renew) {
        let again = renew.clone();
        self.config.listen(move || again());
        self.inner.listen(renew);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PowerOfTwo, WeightedRoundRobin, pick::rig::Rig};
    use proptest::prelude::*;

    fn options(clients: Option<u32>, client: u32, least: u32) -> ApertureOptions {
        ApertureOptions { clients, client, least }
    }

    fn fleet(weights: &[u32]) -> Vec<Endpoint> {
        let endpoint =
            |(n, weight): (usize, &u32)| Endpoint::new(format!("mcp://10.1.0.{n}:80")).with_weight(*weight);
        weights.iter().enumerate().map(endpoint).collect()
    }

    proptest! {
        #[test]
        fn all_clients_together_load_all_by_weight(
            weights in proptest::collection::vec(0u32..9, 1..40),
            clients in 1u32..60,
            least in 1u32..20,
        ) {
            let fleet = fleet(&weights);
            let seen: Vec<_> = fleet.iter().collect();
            let mut loads = vec![0.0; weights.len()];
            for client in 0..clients {
                let own = slice(&options(Some(clients), client, least), 0, &seen);
                let sum: f64 = own.iter().map(|weight| f64::from(*weight)).sum();
                let present = weights.iter().filter(|weight| **weight > 0).count();
                prop_assert!(own.iter().filter(|weight| **weight > 0).count() >= 1.min(present));
                loads.iter_mut().zip(own).for_each(|(load, own)| *load += f64::from(own) / sum);
            }
            let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (load, weight) in loads.iter().zip(&weights) {
                let due = match sum {
                    0.0 => f64::from(clients) / weights.len() as f64,
                    sum => f64::from(clients) * f64::from(*weight) / sum,
                };
                prop_assert!((load - due).abs() < 1e-3 * f64::from(clients), "{} {}", load, due);
            }
        }
    }

    proptest! {
        /// Connections are as many as the slices, not as the fleet.
        #[test]
        fn all_clients_together_want_what_is_in_their_slices(
            endpoints in 1usize..60, clients in 1u32..40, least in 1u32..20,
        ) {
            let times = (u64::from(least) * u64::from(clients)).div_ceil(endpoints as u64).clamp(1, u64::from(clients));
            let most = (times * endpoints as u64).div_ceil(u64::from(clients)) as usize + 1;
            let mut wanted = vec![0; endpoints];
            for client in 0..clients {
                let config = ApertureConfig::try_new(options(Some(clients), client, least)).unwrap();
                let rig = Rig::new(Aperture::new(config, PowerOfTwo::new()), fleet(&vec![1; endpoints]));
                rig.refresh();
                let own = rig.wanted().unwrap();
                prop_assert!(own.len() <= most.min(endpoints), "{own:?}");
                prop_assert!(endpoints % clients as usize > 0 || own.len() == most - 1);
                own.into_iter().for_each(|index| wanted[index] += 1);
            }
            prop_assert!(wanted.iter().all(|clients| *clients > 0), "{wanted:?}");
        }

        /// For each that fails one more, if there is one that does not, and none without need.
        #[test]
        fn those_that_fail_are_stood_in_for(ill in proptest::collection::vec(any::<bool>(), 1..30), client in 0u32..4) {
            let config = ApertureConfig::try_new(options(Some(4), client, 5)).unwrap();
            let rig = Rig::new(Aperture::new(config, PowerOfTwo::new()), fleet(&vec![1; ill.len()]));
            rig.refresh();
            let own = rig.wanted().unwrap();
            for index in (0..ill.len()).filter(|index| ill[*index]) {
                rig.endpoint(index).state().set_unhealthy(true);
                rig.set_ready(index, false);
            }
            rig.refresh();
            let wide = rig.wanted().unwrap();
            prop_assert_eq!(&wide[..own.len()], &own);
            let well = |indices: &[usize]| indices.iter().filter(|index| !ill[**index]).count();
            let due = own.len().min(ill.iter().filter(|ill| !**ill).count());
            prop_assert_eq!(well(&wide), due);
            prop_assert!(wide.len() == own.len() || well(&wide[..wide.len() - 1]) < due || wide.len() == ill.len());
        }
    }

    #[test]
    fn a_slice_has_as_many_as_are_asked_for() {
        let fleet = fleet(&[3; 100]);
        let seen: Vec<_> = fleet.iter().collect();
        let count = |own: &[u32]| own.iter().filter(|weight| **weight > 0).count();
        let own = slice(&options(Some(100), 7, 12), 0, &seen);
        assert_eq!((count(&own), own.iter().max()), (12, own.iter().filter(|weight| **weight > 0).min()));
        for somewhere in [0, 1, 40_000, MOST - 1] {
            let own = slice(&options(None, 0, 12), somewhere, &seen);
            assert!((12..=13).contains(&count(&own)), "{own:?}");
        }
        assert_eq!(count(&slice(&options(Some(3), 2, 1), 0, &seen)), 34, "a third: some are cut");
        assert_eq!(count(&slice(&options(None, 0, 12), 5, &seen[..9])), 9);
        assert!(slice(&ApertureOptions::default(), 5, &[]).is_empty());
    }

    #[test]
    fn one_that_joins_changes_little() {
        let fleet = fleet(&[1; 101]);
        let seen: Vec<_> = fleet.iter().collect();
        let own = |seen: &[&Endpoint], client| slice(&options(Some(50), client, 10), 0, seen);
        let changed: usize = (0..50)
            .map(|client| {
                let (before, after) = (own(&seen[..100], client), own(&seen, client));
                before.iter().zip(&after).filter(|(before, after)| (**before > 0) != (**after > 0)).count()
            })
            .sum();
        assert!(changed <= 50 * 3, "{changed} of 50 slices of 10");
    }

    #[test]
    fn the_rest_gets_what_the_slice_cannot_take() {
        fastrand::seed(1);
        let config = ApertureConfig::try_new(options(Some(4), 1, 5)).unwrap();
        let rig = Rig::new(Aperture::new(config, PowerOfTwo::new()), fleet(&[1; 20]));
        rig.refresh();
        let shares = rig.shares(10_000);
        let near: Vec<_> = (0..20).filter(|index| shares[*index] > 0).collect();
        assert_eq!(near.len(), 5);
        assert!(near.iter().all(|index| shares[*index].abs_diff(2_000) < 300), "{shares:?}");
        near[..3].iter().for_each(|index| rig.set_ready(*index, false));
        rig.refresh();
        let shares = rig.shares(10_000);
        let kept: usize = near.iter().map(|index| shares[*index]).sum();
        assert!(kept.abs_diff(5_600) < 200, "two of five, times 1.4: {kept}");
        near.iter().for_each(|index| rig.set_ready(*index, false));
        assert_eq!(rig.shares(1_000).iter().sum::<usize>(), 1_000, "before it is told");
    }

    #[test]
    fn one_at_the_end_of_a_slice_gets_its_part() {
        let config = ApertureConfig::try_new(options(Some(2), 0, 1)).unwrap();
        let rig = Rig::new(Aperture::new(config, WeightedRoundRobin::new()), fleet(&[1; 5]));
        let mut shares = rig.shares(5_000);
        shares.sort_unstable();
        assert_eq!(shares, [0, 0, 1_000, 2_000, 2_000]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let field = |options| ApertureConfig::try_new(options).map_err(|error| error.field().to_owned());
        assert_eq!(field(options(Some(0), 0, 1)).unwrap_err(), "clients");
        assert_eq!(field(options(Some(MOST + 1), 0, 1)).unwrap_err(), "clients");
        assert_eq!(field(options(Some(2), 2, 1)).unwrap_err(), "client");
        assert_eq!(field(options(None, 0, 0)).unwrap_err(), "least");
        assert!(field(ApertureOptions::default()).is_ok());
        let text = serde_json::to_string(&ApertureConfig::default()).unwrap();
        assert_eq!(serde_json::from_str::<ApertureConfig>(&text).unwrap(), ApertureConfig::default());
        assert!(serde_json::from_str::<ApertureConfig>(r#"{"peers":1}"#).is_err());
    }
}
