//! Who hears what policies decide.

use std::{fmt, sync::Arc};
use towpath_breaker::BreakerEvent;
use towpath_core::{Live, Observe};
use towpath_dedupe::DedupeEvent;
use towpath_limit::LimitEvent;
use towpath_retry::RetryEvent;
use towpath_timeout::TooLittleLeft;

/// Those who hear what a policy decides: more of them can be [added](Self::add) at any time. Clones are the same. Nobody
/// hears it until then, and that costs nothing.
pub struct Ears<E>(Live<Vec<Heard<E>>>);

type Heard<E> = Arc<dyn Observe<E> + Send + Sync>;

/// Who hears what a client's policies decide.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ClientEars {
    /// Retries and hedges.
    pub retry: Ears<RetryEvent>,
    /// The breakers of methods and of endpoints.
    pub breakers: Ears<BreakerEvent>,
    /// How many calls are let in.
    pub admission: Ears<LimitEvent>,
    /// Attempts under way.
    pub concurrency: Ears<LimitEvent>,
    /// Attempts in a time.
    pub rate: Ears<LimitEvent>,
}

/// Who hears what a server's policies decide.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerEars {
    /// How many calls are let in.
    pub admission: Ears<LimitEvent>,
    /// Calls in a time.
    pub rate: Ears<LimitEvent>,
    /// Calls that have too little time left.
    pub enough_time: Ears<TooLittleLeft>,
    /// Calls with an idempotency key.
    pub dedupe: Ears<DedupeEvent>,
}

impl<E> Ears<E> {
    /// One more.
    pub fn add(&self, observe: impl Observe<E> + Send + Sync + 'static) {
        let new: Heard<E> = Arc::new(observe);
        let more = |ears: &Vec<Heard<E>>| {
            Ok::<_, std::convert::Infallible>(ears.iter().chain([&new]).cloned().collect())
        };
        let _ = self.0.update(more);
    }
}

impl<E> Observe<E> for Ears<E> {
    #[inline]
    fn observe(&self, event: &E) {
        if self.0.version() > 0 {
            self.0.get().iter().for_each(|ear| ear.observe(event));
        }
    }
}

impl<E> Clone for Ears<E> {
    fn clone(&self) -> Self {
        Ears(self.0.clone())
    }
}

impl<E> Default for Ears<E> {
    fn default() -> Self {
        Ears(Live::new(Vec::new()))
    }
}

impl<E> fmt::Debug for Ears<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ears").field(&self.0.get().len()).finish()
    }
}
