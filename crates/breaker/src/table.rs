//! All breakers of a layer: one that has no key, and one for each key up to a bound.

use crate::{BreakerEvent, cell::Cell, hash::Seeded, settings::Settings};
use fastrand::Rng;
use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use towpath_core::{Cached, Clock, Endpoint, Live};

/// Where the breaker of each key is. Replaced whole when there is a new key, so that readers need no lock.
pub(crate) type Places = HashMap<Box<[u8]>, u32, Seeded>;

/// All breakers of a layer.
pub(crate) struct Table {
    /// For calls without a key, and for those whose key has no place. Its place is 0.
    common: Cell,
    /// The others: place 1 and so on. They stay once they are there.
    keyed: Box<[OnceLock<Box<Cell>>]>,
    places: Live<Places>,
    settings: Arc<Settings>,
    exhausted: AtomicBool,
}

impl Table {
    /// Room for `keys` keys. The common breaker has that name, or belongs to that endpoint.
    pub(crate) fn new(settings: Settings, keys: usize, endpoint: Option<Endpoint>) -> Self {
        let settings = Arc::new(settings);
        let name = match &endpoint {
            Some(endpoint) => endpoint.address().clone(),
            None if keys > 0 => "(other keys)".into(),
            None => "".into(),
        };
        Table {
            common: Cell::new(name, endpoint, settings.clone(), Clock::now(), Rng::new()),
            keyed: (0..keys).map(|_| OnceLock::new()).collect(),
            places: Live::new(HashMap::with_hasher(Seeded::new(fastrand::u64(..)))),
            settings,
            exhausted: AtomicBool::new(false),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The breaker at a place.
    #[inline]
    pub(crate) fn at(&self, place: u32) -> &Cell {
        match place.checked_sub(1).and_then(|index| self.keyed.get(index as usize)?.get()) {
            Some(cell) => cell,
            None => &self.common,
        }
    }

    /// What a service reads the places by.
    pub(crate) fn reader(&self) -> Cached<Places> {
        Cached::new(&self.places)
    }

    /// The place of a key; makes a breaker for one that is new.
    #[inline(always)]
    pub(crate) fn place(&self, key: Option<Cow<'_, [u8]>>, reader: &mut Cached<Places>) -> u32 {
        match key {
            Some(key) => self.place_of(key, reader),
            None => 0,
        }
    }

    #[inline]
    fn place_of(&self, key: Cow<'_, [u8]>, reader: &mut Cached<Places>) -> u32 {
        let places = reader.get(&self.places);
        match places.get(&*key) {
            Some(place) => *place,
            None if places.len() >= self.keyed.len() => self.no_place(),
            None => self.settle(&key),
        }
    }

    #[cold]
    fn settle(&self, key: &[u8]) -> u32 {
        let limit = self.keyed.len();
        let mut found = 0;
        let _ = self.places.update(|places| {
            if let Some(place) = places.get(key) {
                found = *place;
                return Err(());
            }
            let index = places.len();
            let Some(slot) = self.keyed.get(index) else { return Err(()) };
            // The bound is far below this.
            found = index as u32 + 1;
            slot.get_or_init(|| {
                let name = String::from_utf8_lossy(key).into();
                Box::new(Cell::new(name, None, self.settings.clone(), Clock::now(), Rng::new()))
            });
            let mut more = places.clone();
            more.insert(key.into(), found);
            Ok(more)
        });
        if found == 0 && limit > 0 { self.no_place() } else { found }
    }

    #[cold]
    fn no_place(&self) -> u32 {
        if !self.exhausted.swap(true, Relaxed) {
            self.settings.report(&BreakerEvent::KeysExhausted { limit: self.keyed.len() });
        }
        0
    }

    /// The place of a key that is there; `make`: of any, if there is room.
    pub(crate) fn find(&self, key: &[u8], make: bool) -> Option<u32> {
        let found = self.places.get().get(key).copied();
        match found {
            None if make => Some(self.settle(key)).filter(|place| *place > 0),
            found => found,
        }
    }

    /// The keyed breakers, in the order in which they came.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (u32, &Cell)> {
        let there = self.keyed.iter().map_while(|slot| slot.get());
        (1..).zip(there.map(|cell| &**cell))
    }
}
