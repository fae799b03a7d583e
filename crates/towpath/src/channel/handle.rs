//! The channel as others hold it.

use super::{future::ChannelFuture, pipe::Pipe};
use std::{
    fmt,
    task::{Context, Poll},
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{Error, Request, Response};
use towpath_pool::{PoolHandle, PoolState, SharedPool};
use towpath_transport::Connection;

/// A way to one address that mends itself: a [pool](towpath_pool::SharedPool) of connections, most often of one, made at
/// first use, and made again in the background when it is lost or when the peer goes away.
///
/// It is a `Service<Request>`, always ready (but see [`Channels`](super::Channels)). A call that finds no connection waits for
/// one in its own future, no longer than its deadline; a call without a deadline waits for the outcome of one connect.
/// Dropping the last clone closes the connections when the last call is answered.
#[derive(Clone)]
pub struct Channel {
    pub(super) pool: SharedPool<Pipe>,
}

/// What a client's connections are doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientState {
    /// There is one, at least.
    Connected,
    /// There is none, and one is being made, or made again.
    Connecting {
        /// When the client began to be without a connection; one of many endpoints, without an endpoint that takes calls.
        since: Instant,
        /// How the last connect failed, or how the last connection ended; with many endpoints, of one of them.
        last_error: Option<Error>,
    },
    /// There is none until the next call: nobody has used it yet, or the peer has closed one that nobody
    /// used.
    Idle,
    /// The client was closed.
    Closed,
}

impl From<PoolState> for ClientState {
    fn from(state: PoolState) -> Self {
        match state {
            PoolState::Connected => ClientState::Connected,
            PoolState::Connecting { since, last_error, .. } => ClientState::Connecting { since, last_error },
            PoolState::Idle => ClientState::Idle,
            _ => ClientState::Closed,
        }
    }
}

impl Channel {
    /// What the connections are doing now.
    pub fn state(&self) -> ClientState {
        self.pool.state().into()
    }

    /// The connections in numbers; and their config, which can be replaced while they are used.
    pub fn pool(&self) -> PoolHandle {
        self.pool.handle()
    }

    /// Connects if that was not begun, and waits until it is done, however long that takes: bound it by
    /// `tokio::time::timeout` where that matters.
    ///
    /// # Errors
    /// If the channel is [closed](Self::close).
    pub async fn ready(&self) -> Result<(), Error> {
        self.pool.ready().await
    }

    /// Makes no new calls from now on; the connections end when the outstanding ones are answered.
    pub fn close(&self) {
        self.pool.close();
    }

    /// Waits for a connection, or until a connect has failed.
    pub(crate) async fn connection(&self) -> Result<Connection, Error> {
        loop {
            self.pool.connect().await?;
            // If it is gone by now there will be another one.
            if let Some(connection) = self.pool.with_connection(|Pipe(connection)| connection.clone()) {
                return Ok(connection);
            }
        }
    }
}

impl Service<Request> for Channel {
    type Response = Response;
    type Error = Error;
    type Future = ChannelFuture;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request>::poll_ready(&mut self.pool, cx)
    }

    #[inline]
    fn call(&mut self, request: Request) -> ChannelFuture {
        ChannelFuture(self.pool.call(request))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("endpoint", self.pool().name()).field("state", &self.state()).finish()
    }
}
