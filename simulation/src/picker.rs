//! Who says where a call goes.

use crate::{Failure, any::Any};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use towpath_balance::{
    Aperture, ApertureConfig, ApertureOptions, ConsistentHash, HashConfig, HashOptions, LeastRequest, Pick,
    PowerOfTwo, View, WeightedRandom, WeightedRoundRobin,
};

/// What a client has to say where its calls go.
pub(crate) enum Choice {
    /// A picker, in a balancer of ours.
    Picker(Any),
    /// A balancer of tower's.
    Tower(TowerLoad),
}

/// What tower's balancer takes for the load of an endpoint.
#[derive(Clone, Copy)]
pub(crate) enum TowerLoad {
    PeakEwma,
    PendingRequests,
}

/// The slots of a table: fewer than the default, as each of a thousand clients has one.
const SLOTS: u32 = 8_191;

/// Who says where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Picker {
    /// One after another.
    RoundRobin,
    /// The one with the fewest calls under way, and nothing else: a closure.
    LeastLoaded,
    /// Finagle's and linkerd's: the one of two with the lesser product of peak EWMA and calls under way, and nothing else: a
    /// closure.
    PeakEwma,
    /// [`LeastRequest`]: the one with the fewest calls under way, where a failure counts as a fuller endpoint.
    LeastRequest,
    /// [`PowerOfTwo::in_flight`]: the one of two with the fewer calls under way; failures count.
    InFlight,
    /// [`WeightedRoundRobin`]: one after another, each as often as its weight says.
    WeightedTurns,
    /// [`WeightedRandom`]: by lot, each as often as its weight says.
    WeightedLot,
    /// [`ConsistentHash`]: the same one for the same key.
    Hash,
    /// The same with a bounded load: who has half as many calls again as is its share is passed over.
    BoundedHash,
    /// tower's own balancer, `tower::balance::p2c`, by its `PeakEwma`.
    TowerPeakEwma,
    /// tower's own balancer, by its `PendingRequests`.
    TowerPending,
    /// [`PowerOfTwo`], the default.
    Ours,
    /// The same, among the twelve endpoints that [`Aperture`] gives each client.
    Slice,
}

impl Picker {
    /// How it is named.
    pub const fn name(self) -> &'static str {
        match self {
            Picker::RoundRobin => "round robin",
            Picker::LeastLoaded => "least loaded",
            Picker::PeakEwma => "peak EWMA of two",
            Picker::LeastRequest => "`LeastRequest`",
            Picker::InFlight => "`PowerOfTwo::in_flight`",
            Picker::WeightedTurns => "`WeightedRoundRobin`",
            Picker::WeightedLot => "`WeightedRandom`",
            Picker::Hash => "`ConsistentHash`",
            Picker::BoundedHash => "`ConsistentHash`, bound 1.5",
            Picker::TowerPeakEwma => "tower p2c, `PeakEwma`",
            Picker::TowerPending => "tower p2c, `PendingRequests`",
            Picker::Ours => "`PowerOfTwo` (default)",
            Picker::Slice => "`PowerOfTwo` in an `Aperture`",
        }
    }

    /// One of them, for one client: such a one of so many.
    pub(crate) fn make(self, client: usize, clients: usize) -> Result<Choice, Failure> {
        Ok(Choice::Picker(match self {
            Picker::RoundRobin => Any::new(round_robin()),
            Picker::LeastLoaded => Any::new(least_loaded),
            Picker::PeakEwma => Any::new(peak_ewma),
            Picker::LeastRequest => Any::new(LeastRequest),
            Picker::InFlight => Any::new(PowerOfTwo::in_flight()),
            Picker::WeightedTurns => Any::new(WeightedRoundRobin::new()),
            Picker::WeightedLot => Any::new(WeightedRandom),
            Picker::Hash => Any::new(hash(None)?),
            Picker::BoundedHash => Any::new(hash(Some(1.5))?),
            Picker::TowerPeakEwma => return Ok(Choice::Tower(TowerLoad::PeakEwma)),
            Picker::TowerPending => return Ok(Choice::Tower(TowerLoad::PendingRequests)),
            Picker::Ours => Any::new(PowerOfTwo::new()),
            Picker::Slice => {
                let (clients, client) = (Some(u32::try_from(clients)?), u32::try_from(client)?);
                let config =
                    ApertureConfig::try_new(ApertureOptions { clients, client, ..Default::default() })?;
                Any::new(Aperture::new(config, PowerOfTwo::new()))
            }
        }))
    }
}

fn hash(load_bound: Option<f64>) -> Result<ConsistentHash, Failure> {
    let options = HashOptions { slots: SLOTS, load_bound, ..HashOptions::default() };
    Ok(ConsistentHash::new(HashConfig::try_new(options)?))
}

/// As `RoundRobin`, which has a place of its own for each thread of the machine: a seed is to have the same course on all.
fn round_robin() -> impl Pick {
    let next = AtomicUsize::new(fastrand::u16(..).into());
    move |view: &View<'_>| {
        let turns = 0..view.len();
        turns.map(|_| next.fetch_add(1, Relaxed) % view.len()).find(|index| view.is_ready(*index))
    }
}

fn least_loaded(view: &View<'_>) -> Option<usize> {
    let start = view.random(view.len());
    let all = (start..view.len()).chain(0..start);
    all.filter(|index| view.is_ready(*index)).min_by_key(|index| view.in_flight(*index))
}

fn peak_ewma(view: &View<'_>) -> Option<usize> {
    let a = view.any_ready()?;
    // Another one, if there is.
    let b = (0..16).find_map(|_| view.any_ready().filter(|b| *b != a)).unwrap_or(a);
    let load = |index| view.latency(index).as_secs_f64() * f64::from(view.in_flight(index) + 1);
    Some(if load(b) < load(a) { b } else { a })
}
