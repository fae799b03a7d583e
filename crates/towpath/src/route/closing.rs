//! A stream of endpoints that can be ended from here.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};
use towpath_core::{Change, Discover, EndpointId};

/// Whether a client was closed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closed(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    closed: AtomicBool,
    follows: Mutex<Option<Waker>>,
}

impl Closed {
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Relaxed)
    }

    pub(crate) fn close(&self) {
        let mut follows = self.0.follows.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.closed.store(true, Relaxed);
        let waker = follows.take();
        drop(follows);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Tells what another stream tells, until the client is closed; then all endpoints are gone, and with them their
/// connections.
pub(crate) struct Closing<D> {
    inner: D,
    closed: Closed,
    known: BTreeSet<EndpointId>,
}

impl<D> Closing<D> {
    pub(crate) fn new(inner: D, closed: Closed) -> Self {
        Closing { inner, closed, known: BTreeSet::new() }
    }
}

impl<D: Discover + Unpin> Discover for Closing<D> {
    fn poll_change(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        let Closing { inner, closed, known } = self.get_mut();
        let mut follows = closed.0.follows.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.is_closed() {
            return Poll::Ready(known.pop_first().map(Change::Remove));
        }
        *follows = Some(cx.waker().clone());
        drop(follows);
        let change = Pin::new(inner).poll_change(cx);
        match &change {
            Poll::Ready(Some(Change::Insert(endpoint))) => {
                known.insert(endpoint.id());
            }
            Poll::Ready(Some(Change::Remove(id))) => {
                known.remove(id);
            }
            // What is there stays, and can be closed.
            Poll::Ready(None) => return Poll::Pending,
            _ => {}
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_core::{Endpoint, Fixed};

    #[test]
    fn when_it_is_closed_all_are_gone() {
        let (a, b) = (Endpoint::new("a"), Endpoint::new("b"));
        let closed = Closed::default();
        let mut stream = Closing::new(Fixed::new([a.clone(), b.clone()]), closed.clone());
        let (waker, woken) = futures_count();
        let mut cx = Context::from_waker(&waker);
        let mut next = || Pin::new(&mut stream).poll_change(&mut cx);
        assert_eq!(next(), Poll::Ready(Some(Change::Insert(a.clone()))));
        assert_eq!(next(), Poll::Ready(Some(Change::Insert(b.clone()))));
        assert_eq!(next(), Poll::Ready(Some(Change::Settled)));
        assert_eq!(next(), Poll::Pending, "the set is fixed, the stream has not ended");
        closed.close();
        assert_eq!(woken(), 1);
        assert_eq!(next(), Poll::Ready(Some(Change::Remove(a.id()))));
        assert_eq!(next(), Poll::Ready(Some(Change::Remove(b.id()))));
        assert_eq!(next(), Poll::Ready(None));
    }

    /// A waker that counts.
    fn futures_count() -> (Waker, impl Fn() -> usize) {
        let count = Arc::new(Count(0.into()));
        let waker = Waker::from(count.clone());
        (waker, move || count.0.load(Relaxed))
    }

    struct Count(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
}
