//! Whose work is being done: both sides of a connection can live on one thread.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who calls; and everything that is not said to be the other's.
    Client,
    /// Who is called: what happens inside [`served`].
    Server,
}

thread_local! {
    // Without a destructor: the allocator asks for it at all times.
    static CURRENT: Cell<Side> = const { Cell::new(Side::Client) };
}

impl Side {
    /// Whose work this thread does now.
    #[inline]
    pub fn current() -> Side {
        CURRENT.get()
    }
}

/// Whatever this future does is the server's.
pub fn served<F: Future>(future: F) -> Served<F> {
    Served(Box::pin(future))
}

/// See [`served`].
#[derive(Debug)]
pub struct Served<F>(Pin<Box<F>>);

impl<F: Future> Future for Served<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let before = CURRENT.replace(Side::Server);
        let polled = poll_server(self.0.as_mut(), cx);
        CURRENT.set(before);
        polled
    }
}

/// A function of its own, by whose name callgrind tells the sides apart.
#[inline(never)]
fn poll_server<F: Future>(future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    future.poll(cx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_side_ends_with_the_poll() {
        let mut seen = Vec::new();
        let mut inner = 0;
        let mut future = served(std::future::poll_fn(|_| {
            seen.push(Side::current());
            inner += 1;
            if inner == 2 { Poll::Ready(()) } else { Poll::Pending }
        }));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut future).poll(&mut cx).is_pending());
        assert_eq!(Side::current(), Side::Client);
        assert!(Pin::new(&mut future).poll(&mut cx).is_ready());
        drop(future);
        assert_eq!((Side::current(), seen), (Side::Client, vec![Side::Server; 2]));
    }
}
