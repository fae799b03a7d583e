//! A value that can be replaced while it is used.

use crate::listeners::Listeners;
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Acquire, Ordering::Release},
    },
};
use tokio::sync::Notify;

/// A value that can be replaced while it is used: most often the config of a layer. Clones share it.
///
/// A value is always whole: whoever reads sees the old one or the new one, never a mixture. It is replaced by
/// [`set`](Self::set), or by [`update`](Self::update), which may refuse: then the old one stays, and the
/// reason comes back. What is read from a file is checked by reading it:
///
/// ```
/// use towpath_core::{BudgetConfig, Live};
/// let live = Live::new(BudgetConfig::default());
/// let load = |text| live.update(|_| serde_json::from_str(text));
///
/// load(r#"{"share": 0.1}"#)?;
/// let refused = load(r#"{"share": 20}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("a share of 20 is not from 0 to 10"));
/// assert_eq!(live.get().share(), 0.1);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub struct Live<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: Mutex<Arc<T>>,
    /// How often it was replaced. Changed while `value` is locked.
    version: AtomicU64,
    changed: Notify,
    listeners: Listeners,
}

impl<T> Live<T> {
    /// A value, not replaced yet.
    pub fn new(value: T) -> Self {
        let value = Mutex::new(Arc::new(value));
        let (version, changed, listeners) = (AtomicU64::new(0), Notify::new(), Listeners::default());
        Live(Arc::new(Inner { value, version, changed, listeners }))
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        self.read().1
    }

    /// Replaces it. Answers with the one before.
    pub fn set(&self, value: T) -> Arc<T> {
        let set: Result<_, std::convert::Infallible> = self.update(|_| Ok(value));
        match set {
            Ok(before) => before,
        }
    }

    /// Replaces it by what `change` makes of it. Answers with the one before. Changes are made one after
    /// another, so none is lost; `change` must not use this same value in another way.
    ///
    /// # Errors
    /// What `change` fails with; the old value stays.
    pub fn update<E>(&self, change: impl FnOnce(&T) -> Result<T, E>) -> Result<Arc<T>, E> {
        let mut value = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
        let after = Arc::new(change(&value)?);
        let before = std::mem::replace(&mut *value, after);
        self.0.version.fetch_add(1, Release);
        drop(value);
        self.0.changed.notify_waiters();
        self.0.listeners.tell();
        Ok(before)
    }

    /// Has `listener` called after each replacement, by whoever replaced it, until it answers `false`: for state
    /// that follows the value at once, and has no task to wait in. Two replacements at a time may call it at a
    /// time; it reads the value by [`get`](Self::get), and does not replace it.
    ///
    /// It is kept for as long as the value is: hold what it tells weakly.
    pub fn listen(&self, listener: impl Fn() -> bool + Send + Sync + 'static) {
        self.0.listeners.add(listener);
    }

    /// How often it was replaced.
    #[inline]
    pub fn version(&self) -> u64 {
        self.0.version.load(Acquire)
    }

    /// Waits until it was replaced more often than `seen`, and says how often.
    ///
    /// Cancel safety: nothing is lost, as the count is the caller's.
    pub async fn changed(&self, seen: u64) -> u64 {
        loop {
            let notified = self.0.changed.notified();
            tokio::pin!(notified);
            // From here on a change wakes; one before is seen below.
            notified.as_mut().enable();
            let version = self.version();
            if version != seen {
                return version;
            }
            notified.await;
        }
    }

    fn read(&self) -> (u64, Arc<T>) {
        let value = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
        (self.version(), value.clone())
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Live(self.0.clone())
    }
}

impl<T> From<T> for Live<T> {
    fn from(value: T) -> Self {
        Live::new(value)
    }
}

impl<T: Default> Default for Live<T> {
    fn default() -> Self {
        Live::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.get()).finish()
    }
}

/// What a service has read of a [`Live`] value: to look at it costs one load, unless it was replaced.
#[derive(Debug)]
pub struct Cached<T> {
    version: u64,
    value: Arc<T>,
}

impl<T> Cached<T> {
    /// Reads the value.
    pub fn new(live: &Live<T>) -> Self {
        let (version, value) = live.read();
        Cached { version, value }
    }

    /// The value as it is now. `live` is the one that it was read from.
    #[inline]
    pub fn get(&mut self, live: &Live<T>) -> &Arc<T> {
        if live.version() != self.version {
            self.refresh(live);
        }
        &self.value
    }

    #[cold]
    fn refresh(&mut self, live: &Live<T>) {
        *self = Cached::new(live);
    }
}

impl<T> Clone for Cached<T> {
    fn clone(&self) -> Self {
        Cached { version: self.version, value: self.value.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use tokio_test::{assert_pending, assert_ready_eq, task};

    #[test]
    fn readers_see_what_was_set() {
        let live = Live::new(1);
        let mut cached = Cached::new(&live);
        let mut other = cached.clone();
        assert_eq!((**cached.get(&live), live.version()), (1, 0));
        assert_eq!((*live.set(2), live.version()), (1, 1));
        assert_eq!((**cached.get(&live), **other.get(&live), *live.get()), (2, 2, 2));
        assert_eq!(live.update(|_| Err::<u8, _>("no")), Err("no"));
        assert_eq!((**cached.get(&live), live.version()), (2, 1));
    }

    #[test]
    fn no_change_is_lost() {
        let live = Live::new(0u32);
        let add = |live: &Live<u32>| (0..1_000).for_each(|_| drop(live.update(|n| Ok::<_, ()>(n + 1))));
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| add(&live)))));
        assert_eq!((*live.get(), live.version()), (4_000, 4_000));
    }

    #[test]
    fn listeners_hear_of_each_change_until_they_are_gone() {
        let live = Live::new(0);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listen = |from: &Live<u32>, state: &Arc<Mutex<Vec<u32>>>| {
            let (own, state) = (from.clone(), Arc::downgrade(state));
            from.listen(move || {
                state.upgrade().map(|heard| heard.lock().unwrap().push(*own.get())).is_some()
            });
        };
        let short = Arc::new(Mutex::new(Vec::new()));
        listen(&live, &heard);
        listen(&live, &short);
        live.set(1);
        assert_eq!(*short.lock().unwrap(), [1]);
        drop(short);
        live.set(2);
        assert_eq!(live.update(|_| Err::<u32, _>("no")), Err("no"));
        live.set(3);
        assert_eq!(*heard.lock().unwrap(), [1, 2, 3]);
        assert_eq!(live.0.listeners.len(), 1);
    }

    #[test]
    fn who_waits_for_a_change_is_woken() {
        let live = Live::new(0);
        let mut waiting = task::spawn(live.changed(0));
        assert_pending!(waiting.poll());
        live.set(1);
        assert!(waiting.is_woken());
        assert_ready_eq!(waiting.poll(), 1);
        assert_ready_eq!(task::spawn(live.changed(0)).poll(), 1);
        assert_pending!(task::spawn(live.changed(1)).poll());
    }
}
