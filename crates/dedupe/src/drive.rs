//! Who makes the first call of a key: its caller, or a task of its own.

use std::{
    fmt,
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::task::JoinHandle;
use towpath_core::context;

/// Makes the first call of a key: [`Inline`] or [`Detached`].
pub trait Drive<F> {
    /// What its caller waits for: it has the call's own outcome.
    type Future;

    /// Begins.
    fn drive(&self, call: F) -> Self::Future;
}

/// The call is made by its caller: if that one gives up, it is dropped at whatever point it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

/// The call is made by a task of its own: if its caller gives up, it goes on to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detached;

impl<F> Drive<F> for Inline {
    type Future = F;

    #[inline]
    fn drive(&self, call: F) -> F {
        call
    }
}

impl<F> Drive<F> for Detached
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    type Future = Joined<F::Output>;

    fn drive(&self, call: F) -> Joined<F::Output> {
        Joined(context::spawn(call))
    }
}

/// The end of a [`Detached`] call. Dropped, it leaves the call to itself.
///
/// # Panics
/// If the call has panicked, with the same panic.
pub struct Joined<T>(JoinHandle<T>);

impl<T> Future for Joined<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(outcome) => Poll::Ready(outcome),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime ends: nobody is there to hear more.
                Err(_) => Poll::Pending,
            },
        }
    }
}

impl<T> fmt::Debug for Joined<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Joined")
    }
}
