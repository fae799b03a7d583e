//! What is counted of each method: a bounded table that only grows, and is read without a lock.

use super::histogram::{BUCKETS, percentile};
use crate::{text, view::MethodView};
use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use towpath_core::{Clock, Method, Tally};

/// So many methods have a place; all others share one.
const MOST: usize = 64;
/// At most half full, so that a look-up reads one or two of them.
const PLACES: usize = 2 * MOST;
/// Two buckets of the histogram of all calls are one here, so that a time is known to about 13 %: there may be many methods.
const TIMES: usize = BUCKETS / 2;
const OK: usize = TIMES;
const FAULTS: usize = TIMES + 1;
const FAILED: usize = TIMES + 2;
const COUNTS: usize = TIMES + 3;

/// What is counted is looked at again after this: what is "now" is from the last but one look on.
const WINDOW: Duration = Duration::from_secs(5);
/// What was looked at longer ago is not "now".
const STALE: Duration = Duration::from_secs(15);

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Ok,
    Fault,
    Failed,
}

/// Where a method is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u8);

pub(super) struct Methods {
    places: Box<[OnceLock<Box<Counted>>]>,
    /// Those that have no place.
    others: OnceLock<Box<Counted>>,
    count: Mutex<usize>,
}

/// The calls of a method.
struct Counted {
    name: Box<str>,
    counts: Tally<COUNTS>,
    past: Mutex<Past>,
}

/// What had been counted at the last two looks.
struct Past {
    older: Look,
    newer: Look,
}

struct Look {
    at: Instant,
    counts: Vec<u64>,
}

impl Methods {
    pub(super) fn new() -> Self {
        Methods {
            places: (0..PLACES).map(|_| OnceLock::new()).collect(),
            others: OnceLock::new(),
            count: Mutex::new(0),
        }
    }

    /// Where a method is, if it has a place; `last` is where the one was that was asked for last.
    #[inline]
    pub(super) fn find(&self, name: &[u8], last: &mut Place) -> Option<Place> {
        if self.at(*last).is_some_and(|counted| *counted.name.as_bytes() == *name) {
            return Some(*last);
        }
        *last = self.probe(name).ok()?;
        Some(*last)
    }

    /// Where it is; or where it would be. Whoever makes up names that fall together has 64 of them compared, and no more.
    fn probe(&self, name: &[u8]) -> Result<Place, usize> {
        let hash =
            name.iter().fold(name.len(), |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let mut place = hash % PLACES;
        loop {
            match self.places[place].get() {
                None => return Err(place),
                Some(counted) if *counted.name.as_bytes() == *name => return Ok(Place(place as u8)),
                Some(_) => place = (place + 1) % PLACES,
            }
        }
    }

    #[inline]
    fn at(&self, Place(place): Place) -> Option<&Counted> {
        self.places.get(usize::from(place))?.get().map(|counted| &**counted)
    }

    /// Its name, if it has a place.
    pub(super) fn name(&self, place: Place) -> Option<&str> {
        self.at(place).map(|counted| &*counted.name)
    }

    /// Counts a call of a method that has a place.
    #[inline]
    pub(super) fn ended(&self, place: Place, ended: Ended, bucket: usize) {
        if let Some(counted) = self.at(place) {
            counted.add(ended, bucket);
        }
    }

    /// Counts a call of a method that has none, and gives it one if there is room and it is known to be one: names that
    /// strangers make up take nobody's place.
    #[cold]
    pub(super) fn ended_elsewhere(&self, method: &Method, known: bool, ended: Ended, bucket: usize) {
        let place = if known { self.add(method.as_str()) } else { None };
        let others = || &**self.others.get_or_init(|| Counted::new(""));
        place.and_then(|place| self.at(place)).unwrap_or_else(others).add(ended, bucket);
    }

    fn add(&self, name: &str) -> Option<Place> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        match self.probe(name.as_bytes()) {
            Ok(place) => Some(place),
            Err(_) if *count >= MOST => None,
            Err(place) => {
                *count += 1;
                self.places[place].get_or_init(|| Counted::new(name));
                Some(Place(place as u8))
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = (usize, &Counted)> {
        let all = self.places.iter().chain([&self.others]).enumerate();
        all.filter_map(|(at, counted)| Some((at, &**counted.get()?)))
    }

    /// Looks at a part of them: all have had their turn after some seconds. (Each takes a sum over all threads, and this is done
    /// by a call.)
    pub(super) fn cut(&self, now: Instant, second: u64) {
        let turns = WINDOW.as_secs();
        self.all().filter(|(at, _)| *at as u64 % turns == second % turns).for_each(|(_, one)| one.cut(now));
    }

    /// The busiest first; those without a place are one, with an empty name, at the end.
    pub(super) fn views(&self, now: Instant) -> Vec<MethodView> {
        let mut views: Vec<MethodView> = self.all().map(|(_, one)| one.view(now)).collect();
        views.sort_by(|a, b| {
            let last = a.name.is_empty().cmp(&b.name.is_empty());
            last.then(b.rate.total_cmp(&a.rate)).then_with(|| a.name.cmp(&b.name))
        });
        views
    }
}

impl Default for Place {
    fn default() -> Self {
        Place(u8::MAX)
    }
}

impl Counted {
    fn new(name: &str) -> Box<Self> {
        let look = || Look { at: Clock::now(), counts: vec![0; COUNTS] };
        let past = Mutex::new(Past { older: look(), newer: look() });
        Box::new(Counted { name: name.into(), counts: Tally::new(), past })
    }

    #[inline]
    fn add(&self, ended: Ended, bucket: usize) {
        let outcome = match ended {
            Ended::Ok => OK,
            Ended::Fault => FAULTS,
            Ended::Failed => FAILED,
        };
        self.counts.add(outcome, 1);
        self.counts.add(bucket / 2, 1);
    }

    fn totals(&self) -> impl Iterator<Item = u64> {
        (0..COUNTS).map(|count| self.counts.total(count))
    }

    fn cut(&self, now: Instant) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(past.newer.at) < WINDOW {
            return;
        }
        let Past { older, newer } = &mut *past;
        std::mem::swap(older, newer);
        newer.at = now;
        newer.counts.clear();
        newer.counts.extend(self.totals());
    }

    fn view(&self, now: Instant) -> MethodView {
        self.cut(now);
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let ago = |look: &Look| now.saturating_duration_since(look.at);
        let since = if ago(&past.older) > STALE { &past.newer } else { &past.older };
        let totals: Vec<u64> = self.totals().collect();
        let more: Vec<u64> =
            totals.iter().zip(&since.counts).map(|(now, then)| now.saturating_sub(*then)).collect();
        // A bucket here is two of those whose bounds are known; the upper one of them says how long it was at most.
        let times: Vec<u64> = more[..TIMES].iter().flat_map(|count| [0, *count]).collect();
        let calls = more[OK] + more[FAULTS] + more[FAILED];
        // The first call of all is no burst.
        let seconds = ago(since).max(Duration::from_secs(1)).as_secs_f64();
        MethodView {
            name: text::plain(&self.name),
            calls: totals[OK] + totals[FAULTS] + totals[FAILED],
            faults: totals[FAULTS],
            failed: totals[FAILED],
            rate: calls as f64 / seconds,
            success: (calls > 0).then(|| more[OK] as f64 / calls as f64),
            p50_us: percentile(&times, 0.5),
            p99_us: percentile(&times, 0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(methods: &Methods, name: &'static str, ended: Ended, micros: u64) {
        let (mut last, bucket) = (Place::default(), super::super::histogram::bucket(micros));
        match methods.find(name.as_bytes(), &mut last) {
            Some(place) => methods.ended(place, ended, bucket),
            None => methods.ended_elsewhere(&Method::from_static(name), true, ended, bucket),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_the_numbers_of_the_last_seconds() {
        let methods = Methods::new();
        for second in 1..=30 {
            (0..99).for_each(|_| call(&methods, "Shop.Sell", Ended::Ok, 1_000));
            call(&methods, "Shop.Sell", Ended::Fault, 9_000);
            call(&methods, "Shop.Lose", Ended::Failed, 50);
            tokio::time::advance(Duration::from_secs(1)).await;
            methods.cut(Clock::now(), second);
        }
        let views = methods.views(Clock::now());
        let [sell, lose] = &views[..] else { panic!("{views:?}") };
        assert_eq!((&*sell.name, sell.calls, sell.faults, sell.failed), ("Shop.Sell", 3_000, 30, 0));
        assert!((99.0..=101.0).contains(&sell.rate), "{sell:?}");
        assert_eq!(sell.success, Some(0.99));
        assert!((1_000..1_140).contains(&sell.p50_us.unwrap()), "{sell:?}");
        assert!((1_000..1_140).contains(&sell.p99_us.unwrap()), "{sell:?}");
        assert_eq!((&*lose.name, lose.failed, lose.success), ("Shop.Lose", 30, Some(0.0)));
        // When nothing came for a while, nothing comes.
        tokio::time::advance(Duration::from_secs(20)).await;
        methods.views(Clock::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        let late = methods.views(Clock::now()).remove(1);
        assert_eq!((late.calls, late.rate, late.success, late.p50_us), (3_000, 0.0, None, None));
    }

    #[test]
    fn there_are_no_more_than_there_is_room_for() {
        let methods = Methods::new();
        let names: Vec<&'static str> = (0..100).map(|n| &*format!("A.M{n}").leak()).collect();
        for name in names.iter().chain(&names) {
            call(&methods, name, Ended::Ok, 7);
        }
        let views = methods.views(Clock::now());
        assert_eq!(views.len(), MOST + 1);
        let (others, own) = views.split_last().unwrap();
        assert!(own.iter().all(|one| one.calls == 2), "{own:?}");
        assert_eq!((&*others.name, others.calls), ("", 72));
    }

    #[test]
    fn a_name_that_nobody_knows_takes_no_place() {
        let methods = Methods::new();
        methods.ended_elsewhere(&Method::from_static("A.MadeUp"), false, Ended::Failed, 1);
        let views = methods.views(Clock::now());
        assert_eq!((views.len(), &*views[0].name, views[0].failed), (1, "", 1));
    }
}
