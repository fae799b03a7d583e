//! The channel as others hold it.

use super::{
    connector::is_of_connect,
    line::{Core, Line, Target},
    task,
};
use std::{fmt, pin::pin, sync::Arc};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};
use tower_service::Service;
use towpath_core::{self as core, Cached, Error, ErrorKind, Request};
use towpath_transport::{Connection, ResponseFuture};

/// A way to one address that mends itself: at most one connection at a time, made at first use, and made
/// again in the background when it is lost or when the peer goes away.
///
/// It is a `Service<Request>`, always ready. A call that finds no connection waits for one in its own
/// future, no longer than its deadline; a call without a deadline waits for the outcome of one connect.
/// Dropping the last clone closes the connection when the last call is answered.
#[derive(Clone)]
pub struct Channel {
    pub(super) held: core::Shared<Held>,
    /// The line as this clone has last seen it: to look whether it has changed costs next to nothing.
    seen: Cached<Line>,
}

pub(super) struct Held {
    core: Arc<Core>,
}

/// What a client's connection is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientState {
    /// It is there.
    Connected,
    /// It is being made, or made again.
    Connecting {
        /// When the client began to be without a connection.
        since: Instant,
        /// How the last connect failed, or how the last connection ended.
        last_error: Option<Error>,
    },
    /// There is none until the next call: nobody has used it yet, or the peer has closed one that nobody
    /// used.
    Idle,
    /// The client was closed.
    Closed,
}

impl Channel {
    /// Does nothing yet: the first call connects.
    pub(crate) fn new(target: Target) -> Self {
        let core = Core::new(target);
        let seen = Cached::new(&core.line);
        Channel { held: core::Shared::new(Held { core: Arc::new(core) }), seen }
    }

    fn core(&self) -> &Arc<Core> {
        &self.held.core
    }

    /// What the connection is doing now.
    pub fn state(&self) -> ClientState {
        match &*self.core().line.get() {
            Line::Idle => ClientState::Idle,
            Line::Connecting { since, last_error } => {
                ClientState::Connecting { since: *since, last_error: last_error.clone() }
            }
            Line::Connected(_) => ClientState::Connected,
            Line::Closed => ClientState::Closed,
        }
    }

    /// Connects if that was not begun, and waits until it is done, however long that takes: bound it by
    /// `tokio::time::timeout` where that matters.
    ///
    /// # Errors
    /// If the channel is [closed](Self::close).
    pub async fn ready(&self) -> Result<(), Error> {
        self.held.wait(|_| None).await.map(drop)
    }

    /// Makes no new calls from now on; the connection ends when the outstanding ones are answered.
    pub fn close(&self) {
        self.core().close();
    }

    /// The call over the connection that is at hand, if there is one: see [`Held::send`].
    #[inline]
    pub(super) fn send(&mut self, request: &mut Option<Request>) -> Option<ResponseFuture> {
        send(self.seen.get(&self.held.core.line), request)
    }

    /// Waits for a connection: see [`Held::connection`].
    pub(crate) async fn connection(&self, deadline: Option<Instant>) -> Result<Connection, Error> {
        self.held.connection(deadline).await
    }
}

impl Held {
    /// The call over the connection, if there is one on which calls can be made; else the request is still
    /// there.
    pub(super) fn send(&self, request: &mut Option<Request>) -> Option<ResponseFuture> {
        send(&self.core.line.get(), request)
    }

    /// Waits for a connection, no longer than until `deadline`; without one, until a connect has failed.
    pub(crate) async fn connection(&self, deadline: Option<Instant>) -> Result<Connection, Error> {
        match deadline {
            Some(deadline) => match timeout_at(deadline, self.wait(|_| None)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(self.core.never_connected()),
            },
            None => self.wait(failed).await,
        }
    }

    /// Waits for a connection, or until `give_up` makes an error of the line.
    async fn wait(&self, give_up: impl Fn(&Line) -> Option<Error>) -> Result<Connection, Error> {
        let core = &self.core;
        loop {
            // In line before the look: a change after the look is not missed.
            let mut changed = pin!(core.changed.notified());
            changed.as_mut().enable();
            self.start()?;
            match &*core.line.get() {
                Line::Connected(connection) if !connection.is_closed() => return Ok(connection.clone()),
                Line::Closed => return Err(core.closed()),
                other => {
                    if let Some(error) = give_up(other) {
                        return Err(error);
                    }
                }
            }
            changed.await;
        }
    }

    /// Starts the task, if there is none.
    fn start(&self) -> Result<(), Error> {
        if !matches!(*self.core.line.get(), Line::Idle) {
            return Ok(());
        }
        let Ok(runtime) = Handle::try_current() else {
            let error = self.core.error(ErrorKind::ConnectFailed);
            return Err(error.because("it needs a tokio runtime, and there is none here"));
        };
        if self.core.begin() {
            runtime.spawn(task::run(self.core.clone()));
        }
        Ok(())
    }
}

/// Whether the last connect has failed: its error.
#[inline]
fn send(line: &Line, request: &mut Option<Request>) -> Option<ResponseFuture> {
    match line {
        Line::Connected(connection) if !connection.is_closed() => {
            let mut connection = connection;
            request.take().map(|request| connection.call(request))
        }
        _ => None,
    }
}

fn failed(line: &Line) -> Option<Error> {
    match line {
        Line::Connecting { last_error: Some(error), .. } if is_of_connect(error) => Some(error.clone()),
        _ => None,
    }
}

/// The last handle ends the task, which holds the core alone.
impl Drop for Held {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("endpoint", &self.core().endpoint)
            .field("state", &self.state())
            .finish()
    }
}
