//! The handle through which calls are made.

use super::{
    driver::Driver,
    future::{Closed, PingFuture, ResponseFuture},
    shared::{Handle, Shared, wake},
};
use crate::{
    compression::Packing,
    config::{ClientConfig, InvalidConfig},
};
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;
use towpath_core::{self as core, Error, ErrorKind, Request, Response};

/// One MCP connection as a `Service<Request>`: cheap to clone, any number of calls in flight, answers in
/// any order.
///
/// Always ready while the connection lives: above the limit of outstanding calls, or of bytes not yet
/// written, a call waits in line inside its future, no longer than its deadline. Dropping a call's
/// future cancels the call, here and at the callee; its late answer reaches nobody.
///
/// The connection ends when the last clone is gone and the last call that was made is answered, when
/// [`close`](Self::close) is called, or when it breaks; every outstanding call is told so (MCP-E-010).
#[derive(Clone, Debug)]
pub struct Connection {
    shared: core::Shared<Handle>,
}

impl Connection {
    /// A connection over any stream, and its driver: a future that does all reading and writing, to be
    /// spawned by the caller. `peer` names the other side in errors.
    ///
    /// # Errors
    /// If the configuration is not [valid](ClientConfig::validate).
    pub fn new<T>(
        io: T,
        peer: impl Into<Arc<str>>,
        config: &ClientConfig,
    ) -> Result<(Connection, Driver<T>), InvalidConfig>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        config.validate()?;
        let limit = config.max_outstanding as usize;
        let packing = Packing::new(config.compression.as_ref());
        let shared = Arc::new(Shared::new(limit, peer.into(), config.max_buffered, packing));
        let driver = Driver::new(io, shared.clone(), config);
        Ok((Connection { shared: core::Shared::new(Handle::new(shared)) }, driver))
    }

    /// Who is at the other end, as it was named.
    pub fn peer(&self) -> &str {
        &self.shared.peer
    }

    /// How many calls are outstanding now, those in line not counted.
    pub fn outstanding(&self) -> usize {
        self.shared.lock().table.taken()
    }

    /// How many calls are outstanding, as [`outstanding`](Self::outstanding), at the price of a load: it may be a moment old.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.shared.taken()
    }

    /// Whether one more call would be sent at once, with no more than `share` outstanding then: not closed, and not at the
    /// limit of either side. At the price of three loads: it may be a moment old.
    #[inline]
    pub fn has_room(&self, share: usize) -> bool {
        self.shared.taken() < share.min(self.shared.limit()) && self.shared.is_open()
    }

    /// Whether no new call can be made: the connection is closed, or its peer is draining.
    pub fn is_closed(&self) -> bool {
        !self.shared.is_open()
    }

    /// Whether the peer has closed it because nobody used it (GOAWAY 6): another one is of no use before
    /// there is a call.
    pub fn is_closed_idle(&self) -> bool {
        self.shared.lock().closed_idle
    }

    /// Resolves when no new call can be made, with the reason. Dropping it has no effect.
    pub fn closed(&self) -> Closed {
        Closed::new(self.shared.shared().clone())
    }

    /// Makes no new calls from now on; the connection ends when the outstanding ones are answered.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        let error = self.shared.error(ErrorKind::Draining).because("the connection was closed here");
        self.shared.close(&mut state, error);
        let driver = state.ask_flush();
        let watchers = std::mem::take(&mut state.watchers);
        drop(state);
        wake(driver);
        watchers.into_iter().for_each(|(_, watcher)| watcher.wake());
    }

    /// Asks the peer for a sign of life; resolves to the round trip's time. Dropping it has no effect on
    /// the connection.
    pub fn ping(&self) -> PingFuture {
        PingFuture::new(self.shared.shared().clone())
    }
}

impl Service<Request> for Connection {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    /// Ready while calls can be made.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        (&*self).poll_ready(cx)
    }

    /// The call is sent when its future is first polled.
    #[inline]
    fn call(&mut self, request: Request) -> ResponseFuture {
        (&*self).call(request)
    }
}

/// A call needs no handle of its own: the future keeps what it needs.
impl Service<Request> for &Connection {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.shared.is_open() {
            return Poll::Ready(Ok(()));
        }
        let closing = self.shared.lock().closing.clone();
        Poll::Ready(Err(closing.unwrap_or_else(|| self.shared.error(ErrorKind::ConnectionLost))))
    }

    #[inline]
    fn call(&mut self, request: Request) -> ResponseFuture {
        // Looked at in its place, and not here: what is looked at on its way is copied.
        ResponseFuture::new(self.shared.lend(), request)
    }
}
