//! The transport's connection, as a pool knows one.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Task, Poll, ready},
};
use tower_service::Service;
use towpath_core::{Context, Error, ErrorKind, Processed, Request, Response};
use towpath_pool::{Call, Connection, Ended, Ending, Multiplexed};
use towpath_transport::{self as transport, ResponseFuture};

/// Bodies above this go over another connection than small calls do, if there may be one: `docs/protocol.md`.
const BULK: usize = 256 * 1024;

/// A connection in a pool.
#[derive(Debug)]
pub(crate) struct Pipe(pub(super) transport::Connection);

/// Resolves when no new call can be made on one.
pub(crate) struct Closed(transport::Closed);

impl Future for Closed {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Ended> {
        let error = ready!(Pin::new(&mut self.0).poll(cx));
        let how = match error.kind() {
            ErrorKind::ConnectionLost => Ending::Broken,
            _ if self.0.is_closed_idle() => Ending::Unused,
            _ => Ending::GoingAway,
        };
        Poll::Ready(Ended { how, error })
    }
}

impl Connection for Pipe {
    type Closed = Closed;

    #[inline]
    fn is_closing(&self) -> bool {
        self.0.is_closed()
    }

    fn closed(&self) -> Closed {
        Closed(self.0.closed())
    }

    fn close(&self) {
        self.0.close();
    }

    #[inline]
    fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    #[inline]
    fn has_room(&self, share: usize) -> bool {
        self.0.has_room(share)
    }

    // It asks for signs of life by itself.
}

impl Call<Request> for Pipe {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn context(request: &Request) -> Option<&Context> {
        Some(request.context())
    }

    fn context_mut(request: &mut Request) -> Option<&mut Context> {
        Some(request.context_mut())
    }

    #[inline]
    fn is_bulk(request: &Request) -> bool {
        request.body().len() > BULK
    }

    #[cold]
    fn unprocessed(mut call: Pin<&mut ResponseFuture>, error: &Error) -> Option<Request> {
        let ended = matches!(error.kind(), ErrorKind::Draining | ErrorKind::ConnectionLost);
        if ended && error.processed() == Processed::No && call.is_connection_closed() {
            call.take_request()
        } else {
            None
        }
    }
}

impl Multiplexed<Request> for Pipe {
    #[inline]
    fn call(&self, request: Request) -> ResponseFuture {
        (&self.0).call(request)
    }
}
