//! Handles of the recorder's, by their sets of labels: a bounded number for each metric.

use crate::names::Metric;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What is counted together when there are too many sets of labels.
pub(crate) const OTHER: &str = "other";

static METADATA: Metadata<'static> = Metadata::new("towpath_metrics", Level::INFO, Some("towpath_metrics"));

/// Handles, up to a number for each metric.
pub(crate) struct Registry {
    max: usize,
    handles: Mutex<HashMap<&'static str, HashMap<Box<str>, Handle>>>,
}

#[derive(Clone)]
enum Handle {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// A key for a metric; labels without a value are left out.
pub(crate) fn key(metric: &Metric, values: &[&str]) -> Key {
    let pairs = metric.labels.iter().zip(values).filter(|(_, value)| !value.is_empty());
    let labels: Vec<Label> = pairs.map(|(name, value)| Label::new(*name, value.to_string())).collect();
    Key::from_parts(metric.name, labels)
}

/// The handle of a histogram, which is counted elsewhere.
pub(crate) fn histogram(recorder: &dyn Recorder, metric: &Metric, values: &[&str]) -> Histogram {
    recorder.register_histogram(&key(metric, values), &METADATA)
}

impl Registry {
    pub(crate) fn new(max: usize) -> Self {
        Registry { max, handles: Mutex::default() }
    }

    pub(crate) fn counter(&self, recorder: &dyn Recorder, metric: &Metric, values: &[&str]) -> Counter {
        let make = |key: &Key| Handle::Counter(recorder.register_counter(key, &METADATA));
        match self.handle(metric, values, make) {
            Handle::Counter(counter) => counter,
            _ => Counter::noop(),
        }
    }

    pub(crate) fn gauge(&self, recorder: &dyn Recorder, metric: &Metric, values: &[&str]) -> Gauge {
        let make = |key: &Key| Handle::Gauge(recorder.register_gauge(key, &METADATA));
        match self.handle(metric, values, make) {
            Handle::Gauge(gauge) => gauge,
            _ => Gauge::noop(),
        }
    }

    pub(crate) fn histogram(&self, recorder: &dyn Recorder, metric: &Metric, values: &[&str]) -> Histogram {
        let make = |key: &Key| Handle::Histogram(recorder.register_histogram(key, &METADATA));
        match self.handle(metric, values, make) {
            Handle::Histogram(histogram) => histogram,
            _ => Histogram::noop(),
        }
    }

    fn handle(&self, metric: &Metric, values: &[&str], make: impl FnOnce(&Key) -> Handle) -> Handle {
        // No label holds it: what does not fit is no worse than mixed up.
        let mut name = values.join("\u{1f}");
        let mut all = self.lock();
        let known = all.entry(metric.name).or_default();
        if let Some(handle) = known.get(name.as_str()) {
            return handle.clone();
        }
        let others = [OTHER; 8];
        let mut values = values;
        if known.len() >= self.max {
            values = &others[..metric.labels.len().min(others.len())];
            name = OTHER.into();
            if let Some(handle) = known.get(OTHER) {
                return handle.clone();
            }
        }
        drop(all);
        // Without the lock: a recorder is foreign code. Two that make the same get the same from it.
        let handle = make(&key(metric, values));
        let mut all = self.lock();
        let known = all.entry(metric.name).or_default();
        known.entry(name.into()).or_insert(handle).clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, HashMap<Box<str>, Handle>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
