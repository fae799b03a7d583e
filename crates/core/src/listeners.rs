//! Who is told of a change at once, by whoever makes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Says whether it is still to be told.
type Listener = Arc<dyn Fn() -> bool + Send + Sync>;

/// Those who listen to one thing.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<Vec<Listener>>);

impl Listeners {
    /// One more.
    pub(crate) fn add(&self, listener: impl Fn() -> bool + Send + Sync + 'static) {
        self.lock().push(Arc::new(listener));
    }

    /// Calls all of them, and forgets those which have heard enough.
    pub(crate) fn tell(&self) {
        // Called without the lock: what they do is theirs.
        let listeners = self.lock().clone();
        let gone: Vec<_> = listeners.into_iter().filter(|listener| !listener()).collect();
        if !gone.is_empty() {
            self.lock().retain(|listener| !gone.iter().any(|gone| Arc::ptr_eq(gone, listener)));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
