//! When calls are due.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    thread,
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// The longest nap of the thread that lets calls go: it looks up whether all is to end.
const NAP: Duration = Duration::from_millis(100);

/// A timetable of calls, evenly apart, for all who send them.
///
/// Whoever is free takes the next entry; an entry that is taken late is late, and its time stays what it was.
pub(super) struct Pace {
    begin: Instant,
    rate: f64,
    /// How many entries there are.
    total: u64,
    next: AtomicU64,
    /// As many permits as entries are due and not taken.
    due: Semaphore,
}

impl Pace {
    pub(super) fn new(rate: f64, begin: Instant, duration: Duration) -> Self {
        let total = ((rate * duration.as_secs_f64()).ceil() as u64).max(1);
        Pace { begin, rate, total, next: AtomicU64::new(0), due: Semaphore::new(0) }
    }

    fn time(&self, entry: u64) -> Instant {
        self.begin + Duration::from_secs_f64(entry as f64 / self.rate)
    }

    /// The time of the next entry, when it has come; `None` when the timetable is at its end.
    pub(super) async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let entry = self.next.fetch_add(1, AcqRel);
        (entry < self.total).then(|| self.time(entry))
    }

    /// Whether all entries were taken.
    pub(super) fn is_over(&self) -> bool {
        self.next.load(Acquire) >= self.total
    }

    /// Ends it; how long each entry that was due and not taken had waited by then.
    pub(super) fn end(&self, at: Instant) -> Vec<Duration> {
        self.due.close();
        let next = self.next.fetch_max(self.total, AcqRel);
        let waits = (next..self.total).map(|entry| at.checked_duration_since(self.time(entry)));
        waits.map_while(|waited| waited).collect()
    }

    /// Lets entries go when they are due. A thread of its own: a runtime's timers are a millisecond apart,
    /// and what they are late would count as the service's.
    #[allow(clippy::disallowed_methods, reason = "the thread is its own, and holds up nobody")]
    pub(super) fn start(self: &Arc<Self>, stop: &Arc<AtomicBool>) {
        let (pace, stop) = (self.clone(), stop.clone());
        thread::spawn(move || {
            let mut gone = 0;
            while gone < pace.total && !stop.load(Relaxed) && !pace.due.is_closed() {
                let now = Instant::now();
                let passed = now.saturating_duration_since(pace.begin).as_secs_f64();
                let due = ((passed * pace.rate) as u64 + 1).min(pace.total);
                if due > gone {
                    pace.due.add_permits((due - gone) as usize);
                    gone = due;
                }
                thread::sleep(pace.time(gone).saturating_duration_since(Instant::now()).min(NAP));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn entries_are_evenly_apart_and_keep_their_times() {
        let begin = Instant::now();
        let pace = Arc::new(Pace::new(1000.0, begin, Duration::from_millis(20)));
        pace.start(&Arc::default());
        for entry in 0..19 {
            let time = pace.next().await.unwrap();
            assert!((time - begin).abs_diff(Duration::from_millis(entry)) < Duration::from_micros(1));
            assert!(Instant::now() >= time, "before its time");
        }
        // One is left, and it had 1 ms to wait by then.
        let waits = pace.end(begin + Duration::from_millis(20));
        assert!(waits.len() == 1 && pace.is_over());
        assert!(waits[0].abs_diff(Duration::from_millis(1)) < Duration::from_micros(1), "{waits:?}");
        assert_eq!(pace.next().await, None);
        assert!(pace.end(begin + Duration::from_secs(1)).is_empty());
    }

    #[tokio::test]
    async fn who_is_late_takes_entries_with_their_old_times() {
        let begin = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        let pace = Arc::new(Pace::new(2.0, begin, Duration::from_secs(1)));
        pace.start(&Arc::default());
        assert_eq!(pace.next().await, Some(begin));
        assert_eq!(pace.next().await, Some(begin + Duration::from_millis(500)));
    }
}
