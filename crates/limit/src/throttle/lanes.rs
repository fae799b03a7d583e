//! A counter for each priority.

use super::{ThrottleConfig, counter::Counter};
use std::sync::OnceLock;
use tokio::time::Instant;
use towpath_core::{Live, Priority};

/// How many priorities there are.
const LEVELS: usize = 8;

/// What is counted of each priority by itself. A service sheds its lowest priorities first, so that each has a share of its own
/// that is refused; by one share for all, calls would be held back that it would accept.
pub(super) struct Lanes {
    pub(super) config: Live<ThrottleConfig>,
    /// Made for the first call of the priority: most clients have one.
    lanes: [OnceLock<Box<Counter>>; LEVELS],
}

impl Lanes {
    pub(super) fn new(config: Live<ThrottleConfig>) -> Self {
        Lanes { config, lanes: [const { OnceLock::new() }; LEVELS] }
    }

    #[inline]
    pub(super) fn of(&self, priority: Priority) -> &Counter {
        self.lane(priority.level())
    }

    /// The same, by the number of the priority.
    #[inline]
    pub(super) fn lane(&self, level: u8) -> &Counter {
        let lane = &self.lanes[usize::from(level) % LEVELS];
        lane.get_or_init(|| Box::new(Counter::new(self.config.clone())))
    }

    fn used(&self) -> impl Iterator<Item = &Counter> {
        self.lanes.iter().filter_map(|lane| Some(&**lane.get()?))
    }

    /// Which share of all calls is held back: of as many of each priority as there were in the window.
    pub(super) fn share(&self, now: Instant) -> f64 {
        let (mut held_back, mut calls) = (0.0, 0.0);
        for lane in self.used() {
            let (share, of) = (lane.share(now), lane.window().0 as f64);
            held_back += share * of;
            calls += of;
        }
        if calls > 0.0 { held_back / calls } else { 0.0 }
    }

    /// How many calls there were within the window, and how many of them were accepted.
    pub(super) fn window(&self) -> (u64, u64) {
        let windows = self.used().map(Counter::window);
        windows.fold((0, 0), |(calls, accepted), of| (calls + of.0, accepted + of.1))
    }
}
