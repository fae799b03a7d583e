//! State that a layer's services share, and that their calls hold on to.
//!
//! An `Arc` would do, and cost each call two locked instructions, about 20 ns, in each layer: more than most
//! layers need for their work. So the services are counted as by an `Arc`, and the calls by a [`Tally`], whose
//! additions are plain stores. The price is paid when the last service is dropped with calls still under way: from then
//! on, until they are over, each of them looks whether it was the last one (`orphans`). That no end is overlooked
//! then is a matter of two threads that each write one thing and read the other's; the fence which that takes
//! is put on the rare side alone (`fence`).

mod fence;
mod orphans;

use crate::Tally;
use crate::sync::{AtomicUsize, acquire};
use orphans::ORPHANS;
use std::{
    fmt,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull,
    sync::atomic::Ordering::{Relaxed, Release},
};

/// State that the services of a layer share: a reference count for each clone. Their calls hold it by a
/// [`Loan`]. It is dropped when the last service and the last call are gone.
///
/// ```
/// use towpath_core::Shared;
/// let service = Shared::new(String::from("state"));
/// let call = service.lend();
/// drop(service);
/// assert_eq!(*call, "state");
/// ```
pub struct Shared<T> {
    inner: NonNull<Inner<T>>,
    owns: PhantomData<Inner<T>>,
}

/// What a call holds of the state of its layer, so that it is there for as long as the call goes on. To take and
/// to give back costs no locked instruction.
pub struct Loan<T> {
    inner: NonNull<Inner<T>>,
    owns: PhantomData<Inner<T>>,
}

struct Inner<T> {
    /// Of all that there ever were: an address is used again, this is not.
    id: u64,
    owners: AtomicUsize,
    /// Loans that were begun, and those that ended.
    loans: Tally<2>,
    value: T,
}

const BEGUN: usize = 0;
const ENDED: usize = 1;

// SAFETY: as for `Arc`: through each of them the value is reached from its thread, and may be dropped there.
#[allow(unsafe_code)]
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send + Sync> Sync for Shared<T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send + Sync> Send for Loan<T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send + Sync> Sync for Loan<T> {}

impl<T> Shared<T> {
    /// State of its own.
    pub fn new(value: T) -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        fence::prepare();
        let id = NEXT.fetch_add(1, Relaxed);
        let inner = Inner { id, owners: AtomicUsize::new(1), loans: Tally::new(), value };
        Shared { inner: NonNull::from(Box::leak(Box::new(inner))), owns: PhantomData }
    }

    /// Lends it to a call.
    #[inline]
    pub fn lend(&self) -> Loan<T> {
        self.inner().loans.add_apart(BEGUN, 1);
        Loan { inner: self.inner, owns: PhantomData }
    }

    /// Whether both are the same state.
    pub fn is_same(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    #[inline]
    #[allow(unsafe_code)]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: it is freed only when there is no owner any more, and this is one.
        unsafe { self.inner.as_ref() }
    }
}

impl<T> Loan<T> {
    #[inline]
    #[allow(unsafe_code)]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: it is freed only when all loans have ended, and this one has not.
        unsafe { self.inner.as_ref() }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // As in `Arc`: whoever clones has a reference, so nothing needs to be ordered. (An overflow takes more clones than
        // fit into memory, unless they are forgotten; 2^64 of those take centuries.)
        self.inner().owners.fetch_add(1, Relaxed);
        Shared { inner: self.inner, owns: PhantomData }
    }
}

impl<T> Clone for Loan<T> {
    /// Another loan of the same state, whether it has an owner still or not.
    #[inline]
    fn clone(&self) -> Self {
        self.inner().loans.add(BEGUN, 1);
        Loan { inner: self.inner, owns: PhantomData }
    }
}

impl<T> Drop for Shared<T> {
    #[inline]
    fn drop(&mut self) {
        if self.inner().owners.fetch_sub(1, Release) == 1 {
            acquire(&self.inner().owners);
            abandon(self.inner);
        }
    }
}

impl<T> Drop for Loan<T> {
    #[inline]
    fn drop(&mut self) {
        let id = self.inner().id;
        // From here on it may be gone, unless it is found among the orphans.
        self.inner().loans.add(ENDED, 1);
        fence::light();
        if ORPHANS.may_hold(id) {
            settle(self.inner, id);
        }
    }
}

/// The last owner is gone.
#[cold]
#[allow(unsafe_code)]
fn abandon<T>(inner: NonNull<Inner<T>>) {
    // SAFETY: only what has no owner is freed: by this thread below, or when it is among the orphans.
    let id = unsafe {
        if inner.as_ref().is_settled() {
            return free(inner);
        }
        inner.as_ref().id
    };
    ORPHANS.add(id);
    // Loans that end from here on see it among the orphans; of those that ended before, the end is seen below.
    fence::heavy();
    settle(inner, id);
}

/// Frees what has no owner if its last loan has ended. Called by whoever ended one, and by the last owner, at
/// the same time it may be: what is among the orphans is not freed yet, and one of them takes it out.
#[cold]
#[allow(unsafe_code)]
fn settle<T>(inner: NonNull<Inner<T>>, id: u64) {
    // SAFETY: the closure is called while it is among the orphans, and as long as it is there it is not freed.
    if ORPHANS.take_if(id, || unsafe { inner.as_ref().is_settled() }) {
        // SAFETY: this thread has taken it out.
        unsafe { free(inner) };
    }
}

/// # Safety
/// There is no owner and no loan, and nobody else frees it.
#[allow(unsafe_code)]
unsafe fn free<T>(inner: NonNull<Inner<T>>) {
    // SAFETY: it came from a box, in `new`.
    drop(unsafe { Box::from_raw(inner.as_ptr()) });
}

impl<T> Inner<T> {
    /// Whether all loans have ended; only to be asked when there is no owner, so that this is final.
    ///
    /// Ends are summed first. A loan is begun by an owner, all of which were dropped before this is asked, or it is
    /// the clone of one that had not ended; so for each end that is seen its beginning is seen, and if the sums are the same
    /// there is none that was begun and not seen.
    fn is_settled(&self) -> bool {
        let ended = self.loans.total(ENDED);
        ended == self.loans.total(BEGUN)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T> Deref for Loan<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Shared::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for Loan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests;
