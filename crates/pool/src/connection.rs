//! What a pool asks of connections, and of who makes them.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Task, Poll},
};
use towpath_core::{BoxError, Context, Error};

/// Makes connections. Closures `Fn() -> impl Future<Output = Result<C, E>>` do.
pub trait Connect: Send + Sync + 'static {
    /// What is made.
    type Connection;

    /// What a connect fails with. Where it is (or holds) an [`Error`] of kind `ConnectFailed` or `Unauthenticated`, callers
    /// are told that; any other becomes the source of a `ConnectFailed`.
    type Error: Into<BoxError>;

    /// One connect. It is spawned, and dropped when its time is up or nobody wants it any more.
    type Future: Future<Output = Result<Self::Connection, Self::Error>> + Send + 'static;

    /// Begins one. It must not block.
    fn connect(&self) -> Self::Future;
}

impl<F, R, C, E> Connect for F
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<C, E>> + Send + 'static,
    E: Into<BoxError>,
{
    type Connection = C;
    type Error = E;
    type Future = R;

    fn connect(&self) -> R {
        self()
    }
}

/// How a connection ended, or came to take no new calls.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What decides about when the next connection is made.
    pub how: Ending,
    /// Why, for people.
    pub error: Error,
}

/// What a connection's end says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It broke. The next connect is immediate, if the one before is not just past.
    Broken,
    /// The peer goes away, and has told everybody so: the next connect waits a while, as drawn by lot.
    GoingAway,
    /// The peer has closed it because nobody used it: the next one is made when there is a call. (In a pool of an
    /// [endpoint](crate::PoolBuilder::endpoint) it is made again, since the picker prefers what is connected.)
    Unused,
    /// The peer has closed it in good order, after it had answered calls, as peers do that take one call, or so many, for
    /// each connection: nothing is wrong, and the next one is made as soon as it is wanted.
    Spent,
}

/// A sign of life that was asked for.
pub type Ping = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A connection, as far as its life and its room are concerned. Calls are made by [`Multiplexed`] or by [`Exclusive`].
pub trait Connection: Send + 'static {
    /// Resolves when no new call can be made. It must not keep the connection open.
    type Closed: Future<Output = Ended> + Send + 'static;

    /// Whether no new call can be made: it is closed, or its peer goes away. Asked for with every call: a load.
    fn is_closing(&self) -> bool;

    /// Waits until no new call can be made.
    fn closed(&self) -> Self::Closed;

    /// Makes no new calls from now on; ends when the outstanding ones are answered. A connection is dropped after that, but
    /// not always at once.
    fn close(&self);

    /// Of one that is shared: how many calls are under way. Asked for with every call: a load.
    #[inline]
    fn in_flight(&self) -> usize {
        0
    }

    /// Of one that is shared: whether it takes one more call, without more than `share` of them being under way. Asked for
    /// with every call. One that has a limit of its own, or is told one by its peer, says so here.
    #[inline]
    fn has_room(&self, share: usize) -> bool {
        !self.is_closing() && self.in_flight() < share
    }

    /// Of one that has one call at a time, after that has ended or was given up: whether it can take another one, as soon as
    /// that is known. HTTP/1, for example, knows when the body of the answer was read. Nothing is reserved by it.
    fn poll_idle(&mut self, _cx: &mut Task<'_>) -> Poll<bool> {
        Poll::Ready(!self.is_closing())
    }

    /// Asks for a sign of life, if the peer knows how to give one and nobody else asks for it.
    fn ping(&self) -> Option<Ping> {
        None
    }
}

/// What a call over a connection is made of; and what a pool may know of it, which it can do without.
pub trait Call<Request>: Connection {
    /// The answer.
    type Response;

    /// What calls fail with; the pool's own refusals too.
    type Error: From<Error>;

    /// A call under way. Dropping it gives the call up.
    type Future: Future<Output = Result<Self::Response, Self::Error>>;

    /// The request's context: a call waits for a connection no longer than its deadline.
    fn context(_request: &Request) -> Option<&Context> {
        None
    }

    /// The same, to clear a reading of the clock that has become stale.
    fn context_mut(_request: &mut Request) -> Option<&mut Context> {
        None
    }

    /// Whether it is so large that small calls had better not wait behind it: it goes over another connection, if there
    /// may be one.
    fn is_bulk(_request: &Request) -> bool {
        false
    }

    /// The request of a call that failed because its connection ended before the peer had begun with it: it is made again,
    /// once, over another one.
    fn unprocessed(_future: Pin<&mut Self::Future>, _error: &Self::Error) -> Option<Request> {
        None
    }
}

/// A connection with many calls under way at a time. It counts them: [`Connection::in_flight`].
pub trait Multiplexed<Request>: Call<Request> + Sync {
    /// Makes a call.
    fn call(&self, request: Request) -> Self::Future;
}

/// A connection with one call under way at a time.
pub trait Exclusive<Request>: Call<Request> {
    /// Makes a call. It is the only one until its future has ended or was dropped, and
    /// [`poll_idle`](Connection::poll_idle) has said so.
    fn call(&mut self, request: Request) -> Self::Future;
}
