//! Who says that there is something to do, and who is to hear of it.

use crate::gauge::Key;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{
        AtomicBool, AtomicU64, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        fence,
    },
};
use std::time::Duration;
use tokio::{sync::Notify, time::Instant};

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
            touched: Mutex::default(),
            changed: Arc::default(),
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
        self.due.store(0, Release);
        // Whoever waits does so before it looks whether something is due: one of us sees the other.
        fence(SeqCst);
        self.driver.notify_one();
        if self.waiting.load(Relaxed) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// A round begins: what is told from here on is for the next one, if this one does not see it.
    pub(crate) fn begin(&self) -> Vec<Key> {
        self.due.store(NEVER, Relaxed);
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
        self.changed.notify_waiters();
    }

    pub(crate) fn changed(&self) -> &Arc<Notify> {
        &self.changed
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
