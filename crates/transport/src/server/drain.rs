//! The word to finish what was accepted and to take nothing new.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Acquire, Ordering::Release},
    },
    task::{Context, Waker},
};
use tokio::sync::{Notify, futures::OwnedNotified};

/// Tells any number of connections to drain. Clones are the same signal.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    given: AtomicBool,
    notify: Arc<Notify>,
}

impl Drain {
    /// A signal that is not given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal; it cannot be taken back.
    pub fn start(&self) {
        self.0.given.store(true, Release);
        self.0.notify.notify_waiters();
    }

    /// Whether it is given.
    pub fn is_started(&self) -> bool {
        self.0.given.load(Acquire)
    }

    /// One that waits for it.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch { drain: self.clone(), registered: None }
    }
}

/// Waits for a [`Drain`], inside the task of one connection.
pub struct DrainWatch {
    drain: Drain,
    registered: Option<(Waker, Pin<Box<OwnedNotified>>)>,
}

impl DrainWatch {
    /// Whether the signal is given; if not, the task is woken when it is. One atomic load, after the
    /// first time.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        match &self.registered {
            Some((waker, _)) if waker.will_wake(cx.waker()) => {}
            _ => self.register(cx),
        }
        self.drain.is_started()
    }

    #[cold]
    fn register(&mut self, cx: &mut Context<'_>) {
        let mut notified = Box::pin(self.drain.0.notify.clone().notified_owned());
        // Ready only if the signal is given meanwhile, which the flag tells too.
        let _ = notified.as_mut().poll(cx);
        self.registered = Some((cx.waker().clone(), notified));
    }
}

impl fmt::Debug for DrainWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DrainWatch").field(&self.drain.is_started()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, task::Poll, time::Duration};

    #[tokio::test(start_paused = true)]
    async fn whoever_watches_is_woken() {
        let drain = Drain::new();
        let mut watch = drain.watch();
        let wait = tokio::spawn(async move {
            poll_fn(|cx| if watch.poll(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!wait.is_finished());
        drain.start();
        wait.await.unwrap();
        assert!(drain.watch().poll(&mut Context::from_waker(Waker::noop())));
    }
}
