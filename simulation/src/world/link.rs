//! A connection: the only thing between the pool and the server.

use super::server::Server;
use bytes::Bytes;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use towpath_core::{Context, Error, ErrorKind, Request, Response};
use towpath_pool::{Call, Connection, Ended, Ending, Multiplexed};

/// The pool's end of a connection.
pub(crate) struct Link(pub(crate) Arc<Shared>);

/// A connection, as both ends know it.
pub(crate) struct Shared {
    server: Arc<Server>,
    in_flight: AtomicUsize,
    /// How it came to take no new calls.
    ended: OnceLock<Ended>,
    /// What is under way is lost.
    is_cut: AtomicBool,
    changed: Notify,
}

/// What a call without a deadline has.
const LONG: Duration = Duration::from_secs(60);

impl Shared {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Shared {
            server,
            in_flight: AtomicUsize::new(0),
            ended: OnceLock::new(),
            is_cut: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    fn end(&self, how: Ending, kind: ErrorKind) {
        let _ = self.ended.set(Ended { how, error: Error::new(kind) });
        self.changed.notify_waiters();
    }

    /// The server takes no new calls.
    pub(crate) fn go_away(&self) {
        self.end(Ending::GoingAway, ErrorKind::Draining);
    }

    /// It breaks, with all that is under way.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Relaxed);
        self.end(Ending::Broken, ErrorKind::ConnectionLost);
    }

    async fn until<T>(&self, come: impl Fn(&Self) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on a change wakes; one before is seen below.
            changed.as_mut().enable();
            if let Some(come) = come(self) {
                return come;
            }
            changed.await;
        }
    }
}

/// Counts a call until it ends.
struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Connection for Link {
    type Closed = Pin<Box<dyn Future<Output = Ended> + Send>>;

    fn is_closing(&self) -> bool {
        self.0.ended.get().is_some()
    }

    fn closed(&self) -> Self::Closed {
        let shared = self.0.clone();
        Box::pin(async move { shared.until(|shared| shared.ended.get().cloned()).await })
    }

    fn close(&self) {
        self.0.end(Ending::Unused, ErrorKind::Cancelled);
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight.load(Relaxed)
    }
}

impl Call<Request> for Link {
    type Response = Response;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

    fn context(request: &Request) -> Option<&Context> {
        Some(request.context())
    }

    fn context_mut(request: &mut Request) -> Option<&mut Context> {
        Some(request.context_mut())
    }
}

/// As towpath's connection: it keeps the deadline that the call has in its context, and a call that is given up is not
/// answered.
impl Multiplexed<Request> for Link {
    fn call(&self, request: Request) -> Self::Future {
        self.0.in_flight.fetch_add(1, Relaxed);
        let call = UnderWay(self.0.clone());
        Box::pin(async move {
            let deadline = request.context().deadline().unwrap_or_else(|| Instant::now() + LONG);
            let shared = &call.0;
            tokio::select! {
                biased;
                () = shared.until(|shared| shared.is_cut.load(Relaxed).then_some(())) => {
                    Err(Error::new(ErrorKind::ConnectionLost))
                }
                answer = shared.server.clone().answer(deadline) => answer.map(|()| Response::new(Bytes::new())),
            }
        })
    }
}
