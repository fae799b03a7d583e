//! One call over a channel.

use super::handle::Channel;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{Error, ErrorKind, Request, Response};
use towpath_transport::{Connection, ResponseFuture as Call};

/// The answer of one call over a [`Channel`]. Nothing happens before the first poll.
///
/// Cancel safety: dropping it gives the call up; if it was sent, the callee is told.
#[must_use = "futures do nothing unless polled"]
pub struct ChannelFuture(State);

type Waiting = Pin<Box<dyn Future<Output = Result<Connection, Error>> + Send>>;

/// `Start` → `Called` → `Done`; without a connection, by way of `Waiting`.
enum State {
    Start { channel: Channel, request: Option<Request> },
    // Boxed, because it is rare and large.
    Waiting { connection: Waiting, request: Request },
    Called(Call),
    Done,
}

impl ChannelFuture {
    pub(super) fn new(channel: Channel, request: Request) -> Self {
        ChannelFuture(State::Start { channel, request: Some(request) })
    }
}

impl Future for ChannelFuture {
    type Output = Result<Response, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.get_mut().0;
        loop {
            if let State::Called(call) = state {
                let answer = ready!(Pin::new(call).poll(cx));
                *state = State::Done;
                return Poll::Ready(answer);
            }
            if let State::Waiting { connection, .. } = state {
                let outcome = ready!(connection.as_mut().poll(cx));
                let State::Waiting { mut request, .. } = std::mem::replace(state, State::Done) else {
                    continue;
                };
                let mut connection = outcome?;
                // It has waited: the reading that came with it is stale.
                let now = request.context().deadline().map(|_| Instant::now());
                request.context_mut().set_stamp(now);
                *state = State::Called(connection.call(request));
                continue;
            }
            if let State::Start { channel, request } = state
                && let Some(call) = channel.send(request)
            {
                *state = State::Called(call);
                continue;
            }
            match std::mem::replace(state, State::Done) {
                State::Start { channel, request: Some(request) } => {
                    let deadline = request.context().deadline();
                    let connection = Box::pin(async move { channel.connection(deadline).await });
                    *state = State::Waiting { connection, request };
                }
                _ => {
                    let error = Error::new(ErrorKind::Cancelled);
                    return Poll::Ready(Err(error.because("the future was polled after its end")));
                }
            }
        }
    }
}

impl fmt::Debug for ChannelFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            State::Start { .. } => "start",
            State::Waiting { .. } => "waiting",
            State::Called(_) => "called",
            State::Done => "done",
        };
        f.debug_tuple("ChannelFuture").field(&state).finish()
    }
}
