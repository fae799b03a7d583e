//! What is counted of the calls of one target.

use super::{
    outcome::{End, Outcome},
    state::Role,
};
use crate::{hub::Hub, names::Metric, registry::OTHER, table::Table, timing::Timing};
use metrics::Histogram;
use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use towpath_core::Tally;

/// What is counted of the calls of one kind and one target. It stays when their layers are gone, as counts do.
pub(crate) struct Book {
    pub(crate) role: Role,
    pub(crate) target: Arc<str>,
    max: usize,
    /// By method.
    methods: Table<Series>,
    /// Attempts by the place of their method and by endpoint.
    ends: Table<Series>,
    /// Calls whose method has no place.
    other: Series,
    /// Calls for whose set of labels there is no room.
    overflow: Set,
    sets: AtomicUsize,
    begun: Tally,
}

/// Calls of one method, or of one method at one endpoint.
struct Series {
    method: Box<str>,
    endpoint: Box<str>,
    /// `None` in it: no room.
    ok: OnceLock<Option<Box<Set>>>,
    others: Mutex<Vec<(Outcome, Option<Arc<Set>>)>>,
}

/// One set of labels.
struct Set {
    timing: Timing,
    handle: OnceLock<Histogram>,
}

impl Set {
    fn new() -> Self {
        Set { timing: Timing::new(), handle: OnceLock::new() }
    }
}

impl Series {
    fn new(method: &str, endpoint: &str) -> Self {
        let (method, endpoint) = (method.into(), endpoint.into());
        Series { method, endpoint, ok: OnceLock::new(), others: Mutex::default() }
    }
}

impl Book {
    pub(crate) fn new(role: Role, target: Arc<str>, max: usize) -> Self {
        Book {
            role,
            target,
            max,
            methods: Table::new(max),
            ends: Table::new(if role == Role::Attempt { max } else { 0 }),
            other: Series::new(OTHER, ""),
            overflow: Set::new(),
            sets: AtomicUsize::new(0),
            begun: Tally::new(),
        }
    }

    /// A call begins. The place of its method, if it has one; `last` is the one that was asked for last.
    #[inline]
    pub(crate) fn begin(&self, method: &[u8], last: u32) -> Option<u32> {
        self.begun.add(0, 1);
        if self.methods.is(last, method, 0) { Some(last) } else { self.methods.find(method, 0) }
    }

    /// Gives a method its place, if there is room.
    #[cold]
    pub(crate) fn settle(&self, method: &str) -> Option<u32> {
        self.methods.find_or_add(method.as_bytes(), 0, || Series::new(method, ""))
    }

    /// The place of a method at an endpoint, which has the place `method`.
    #[inline]
    pub(crate) fn at(&self, method: u32, endpoint: u64, locate: impl FnOnce() -> Arc<str>) -> Option<u32> {
        let key = method.to_le_bytes();
        self.ends.find(&key, endpoint).or_else(|| {
            let method = self.methods.at(method)?;
            self.ends.find_or_add(&key, endpoint, || Series::new(&method.method, &locate()))
        })
    }

    /// A call of a method, or of one at an endpoint, has ended.
    #[inline]
    pub(crate) fn end(&self, place: Place, outcome: Outcome, took: Duration) {
        let series = match place {
            Place::Method(place) => self.methods.at(place),
            Place::End(place) => self.ends.at(place),
            Place::None => None,
        };
        let series = series.unwrap_or(&self.other);
        match series.ok.get() {
            Some(Some(set)) if outcome.end == End::Ok => set.timing.add(took),
            _ => self.end_otherwise(series, outcome, took),
        }
    }

    #[cold]
    fn end_otherwise(&self, series: &Series, outcome: Outcome, took: Duration) {
        if outcome.end == End::Ok {
            let set = series.ok.get_or_init(|| self.claim().then(|| Box::new(Set::new())));
            return set.as_deref().unwrap_or(&self.overflow).timing.add(took);
        }
        let mut others = series.others.lock().unwrap_or_else(PoisonError::into_inner);
        let known = others.iter().find(|(known, _)| *known == outcome).map(|(_, set)| set.clone());
        let set = known.unwrap_or_else(|| {
            let set = self.claim().then(|| Arc::new(Set::new()));
            // What has no room is not noted either: its kinds may be without number.
            if set.is_some() {
                others.push((outcome, set.clone()));
            }
            set
        });
        drop(others);
        set.as_deref().unwrap_or(&self.overflow).timing.add(took);
    }

    /// Whether there may be one more set of labels.
    fn claim(&self) -> bool {
        self.sets.fetch_update(Relaxed, Relaxed, |sets| (sets < self.max).then_some(sets + 1)).is_ok()
    }

    /// Passes on what is new.
    pub(crate) fn refresh(&self, hub: &Hub, histograms: bool) {
        // Ends first: what has ended has begun.
        let ended = self.ended();
        let in_flight = self.begun.total(0).saturating_sub(ended);
        hub.set(self.role.in_flight(), &[&self.target], in_flight as f64);
        if !histograms {
            return;
        }
        let metric = self.role.metric();
        self.each(|labels, set, handle| {
            let handle = handle.get_or_init(|| hub.histogram(metric, labels));
            for bucket in set.take().into_iter().filter(|bucket| bucket.count > 0) {
                handle.record_many(bucket.mean(), bucket.count as usize);
            }
        });
    }

    /// How many calls have ended.
    fn ended(&self) -> u64 {
        let mut ended = self.overflow.timing.count();
        for Series { ok, others, .. } in self.series() {
            ended += ok.get().and_then(Option::as_deref).map_or(0, |set| set.timing.count());
            let others = others.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ended +=
                others.iter().filter_map(|(_, set)| set.as_ref()).map(|set| set.timing.count()).sum::<u64>();
        }
        ended
    }

    fn series(&self) -> impl Iterator<Item = &Series> {
        self.methods.iter().chain(self.ends.iter()).chain([&self.other])
    }

    /// All sets of labels that there are.
    pub(crate) fn each(&self, mut show: impl FnMut(&[&str], &Timing, &OnceLock<Histogram>)) {
        for Series { method, endpoint, ok, others } in self.series() {
            let mut one = |outcome: &Outcome, set: &Set| {
                let (end, error) = (outcome.end.as_str(), outcome.error_type());
                match self.role {
                    Role::Attempt => {
                        show(&[&self.target, method, endpoint, end, error], &set.timing, &set.handle);
                    }
                    _ => show(&[&self.target, method, end, error], &set.timing, &set.handle),
                }
            };
            if let Some(Some(set)) = ok.get() {
                one(&Outcome { end: End::Ok, code: None }, set);
            }
            let others = others.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (outcome, set) in &others {
                if let Some(set) = set {
                    one(outcome, set);
                }
            }
        }
        if self.sets.load(Relaxed) >= self.max {
            let mut labels = [OTHER; 5];
            labels[0] = &self.target;
            show(&labels[..self.metric().labels.len()], &self.overflow.timing, &self.overflow.handle);
        }
    }

    pub(crate) fn metric(&self) -> &'static Metric {
        self.role.metric()
    }
}

/// Where a call is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Method(u32),
    End(u32),
    None,
}
