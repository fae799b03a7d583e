//! Who says that there is something to do, and who is to hear of it.

use crate::{
    gauge::Key,
    sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Order, fence},
};
use std::{
    pin::Pin,
    sync::{
        Arc, PoisonError,
        atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

/// When the fleet is to be tended again, and who waits for something to change. States of endpoints ring it, from
/// whatever thread; calls look at it, by one load.
pub(crate) struct Bell {
    /// Times are nanoseconds from here.
    base: Instant,
    /// When; all ones: there is nothing to do.
    due: AtomicU64,
    touched: Mutex<Vec<Key>>,
    /// Calls that wait for a change.
    changed: Arc<Notify>,
    order: Order,
    waiting: AtomicUsize,
    /// The driver.
    driver: Notify,
    /// Until then every call finds something to do.
    awake: AtomicBool,
    closed: AtomicBool,
}

const NEVER: u64 = u64::MAX;

impl Bell {
    /// There is something to do: what is done at the first use.
    pub(crate) fn new(base: Instant) -> Self {
        Bell {
            base,
            due: AtomicU64::new(0),
            touched: Mutex::new(Vec::new()),
            changed: Arc::default(),
            order: Order::new(),
            waiting: AtomicUsize::new(0),
            driver: Notify::new(),
            awake: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn nanos(&self, time: Instant) -> u64 {
        // 584 years fit.
        time.saturating_duration_since(self.base).as_nanos() as u64
    }

    pub(crate) fn instant(&self, nanos: u64) -> Instant {
        self.base + Duration::from_nanos(nanos)
    }

    #[inline]
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now >= self.due.load(Acquire)
    }

    /// Whether somebody has rung since the last round.
    pub(crate) fn has_rung(&self) -> bool {
        self.due.load(Acquire) == 0
    }

    /// The state of an endpoint has changed. Neither locks for long nor calls anything but wakers: who tells may hold
    /// a lock of its own.
    pub(crate) fn touch(&self, key: Key) {
        self.lock().push(key);
        self.ring();
    }

    /// There is something to do.
    pub(crate) fn ring(&self) {
        // All who write to it swap: each writes after what the one before it wrote.
        self.due.swap(0, Release);
        // Whoever waits does so before it looks whether something is due: one of us sees the other.
        fence(SeqCst);
        self.driver.notify_one();
        if self.waiting.load(Relaxed) > 0 {
            self.tell();
        }
    }

    /// A round begins: what is told from here on is for the next one, if this one does not see it.
    pub(crate) fn begin(&self) -> Vec<Key> {
        self.due.swap(NEVER, Relaxed);
        std::mem::take(&mut *self.lock())
    }

    /// A round has ended; the next one is due then, unless somebody has rung meanwhile.
    pub(crate) fn end(&self, next: Option<u64>) {
        let next = match self.awake.load(Relaxed) {
            true => next.map_or(NEVER, |next| next.max(1)),
            false => 1,
        };
        let _ = self.due.compare_exchange(NEVER, next, AcqRel, Relaxed);
    }

    /// Something that calls wait for may have changed.
    pub(crate) fn tell(&self) {
        self.order.pass();
        self.changed.notify_waiters();
    }

    /// From here on a change wakes; one before is seen by who looks now.
    pub(crate) fn line(&self) -> Pin<Box<OwnedNotified>> {
        let mut changed = Box::pin(self.changed.clone().notified_owned());
        changed.as_mut().enable();
        self.order.pass();
        changed
    }

    /// One more call waits, or one less.
    pub(crate) fn wait(&self, begins: bool) {
        match begins {
            true => self.waiting.fetch_add(1, Relaxed),
            false => self.waiting.fetch_sub(1, Relaxed),
        };
        fence(SeqCst);
    }

    pub(crate) fn driver(&self) -> &Notify {
        &self.driver
    }

    /// The first use is over.
    pub(crate) fn wake(&self) {
        self.awake.store(true, Relaxed);
    }

    /// The last service is gone.
    pub(crate) fn close(&self) {
        self.closed.store(true, Release);
        self.driver.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Key>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every order of who rings, who tends and who waits.
#[cfg(all(test, towpath_loom))]
mod orders {
    use super::{super::turn::Turn, *};
    use loom::thread;
    use std::{
        future::Future,
        task::{Context, Poll, Wake, Waker},
    };

    const ONE: Key = Key { slot: 1, generation: 0 };
    const OTHER: Key = Key { slot: 2, generation: 0 };

    /// What a fleet does with its bell.
    struct Fleet {
        bell: Bell,
        turn: Turn,
        /// How often each was found to be touched.
        found: [AtomicU64; 2],
    }

    impl Fleet {
        fn new() -> loom::sync::Arc<Self> {
            let bell = Bell::new(Instant::now());
            // Where it is in use already, and all is done.
            bell.wake();
            bell.begin();
            bell.end(None);
            let found = [AtomicU64::new(0), AtomicU64::new(0)];
            loom::sync::Arc::new(Fleet { bell, turn: Turn::new(), found })
        }

        fn round(&self) {
            let touched = self.bell.begin();
            for key in &touched {
                // One at a time does this.
                let found = &self.found[key.slot as usize - 1];
                found.store(found.load(Relaxed) + 1, Relaxed);
            }
            self.bell.end(None);
            if !touched.is_empty() {
                self.bell.tell();
            }
        }

        fn tend(&self) {
            self.turn.run(|| {
                self.round();
                while self.bell.has_rung() {
                    self.round();
                }
            });
        }

        fn found(&self) -> [u64; 2] {
            [0, 1].map(|key| self.found[key].load(Relaxed))
        }
    }

    #[test]
    fn what_was_touched_is_looked_at() {
        loom::model(|| {
            let fleet = Fleet::new();
            let touches = [ONE, OTHER].map(|key| {
                let fleet = fleet.clone();
                thread::spawn(move || {
                    fleet.bell.touch(key);
                    // As the call that comes next.
                    if fleet.bell.has_rung() {
                        fleet.tend();
                    }
                })
            });
            // A round that is due by its time.
            fleet.tend();
            for thread in touches {
                thread.join().unwrap();
            }
            assert_eq!(fleet.found(), [1, 1]);
            assert!(!fleet.bell.has_rung());
        });
    }

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Where nobody drives: who waits is woken by the touch, and tends.
    #[test]
    fn who_waits_hears_of_a_touch() {
        loom::model(|| {
            let fleet = Fleet::new();
            let touches = thread::spawn({
                let fleet = fleet.clone();
                move || fleet.bell.touch(ONE)
            });
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut cx = Context::from_waker(&waker);
            fleet.bell.wait(true);
            // As a call that waits: in line, then a look, then to sleep.
            loop {
                let mut changed = fleet.bell.line();
                if fleet.bell.is_due(1) {
                    fleet.tend();
                }
                if fleet.found()[0] > 0 {
                    break;
                }
                if let Poll::Pending = changed.as_mut().poll(&mut cx) {
                    thread::park();
                }
            }
            fleet.bell.wait(false);
            touches.join().unwrap();
        });
    }
}
