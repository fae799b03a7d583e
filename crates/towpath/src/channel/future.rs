//! One call over a channel.

use super::handle::Held;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{Error, ErrorKind, Loan, Processed, Request, Response};
use towpath_transport::{Connection, ResponseFuture as Call};

/// The answer of one call over a [`Channel`](super::Channel). Nothing happens before the first poll.
///
/// Cancel safety: dropping it gives the call up; if it was sent, the callee is told.
#[must_use = "futures do nothing unless polled"]
pub struct ChannelFuture {
    channel: Loan<Held>,
    state: State,
    /// It has been made anew already.
    again: bool,
}

type Waiting = Pin<Box<dyn Future<Output = Result<Connection, Error>> + Send>>;

/// `Start` → `Called` → `Done`; without a connection, by way of `Waiting`. A call whose connection ended
/// before the peer began with it goes from `Called` to `Start` once more.
enum State {
    Start { request: Option<Request> },
    // Boxed, because it is rare and large.
    Waiting { connection: Waiting, request: Request },
    Called(Call),
    Done,
}

impl ChannelFuture {
    pub(super) fn new(channel: Loan<Held>, call: Option<Call>, request: Option<Request>) -> Self {
        let state = call.map_or(State::Start { request }, State::Called);
        ChannelFuture { channel, state, again: false }
    }

    /// The request of a call that the peer has not begun, because its connection ended: another connection
    /// can take it. Once: a peer that sends everybody away is not to be asked for ever.
    #[cold]
    fn unprocessed(call: &mut Call, error: &Error) -> Option<Request> {
        let ended = matches!(error.kind(), ErrorKind::Draining | ErrorKind::ConnectionLost);
        if ended && error.processed() == Processed::No && call.is_connection_closed() {
            call.take_request()
        } else {
            None
        }
    }
}

impl Future for ChannelFuture {
    type Output = Result<Response, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ChannelFuture { channel, state, again } = self.get_mut();
        loop {
            if let State::Called(call) = state {
                let answer = ready!(Pin::new(&mut *call).poll(cx));
                if !*again
                    && let Err(error) = &answer
                    && let Some(mut request) = Self::unprocessed(call, error)
                {
                    // Its reading of the clock is stale.
                    request.context_mut().set_stamp(None);
                    *again = true;
                    *state = State::Start { request: Some(request) };
                    continue;
                }
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
            if let State::Start { request } = state
                && let Some(call) = channel.send(request)
            {
                *state = State::Called(call);
                continue;
            }
            match std::mem::replace(state, State::Done) {
                State::Start { request: Some(request) } => {
                    let deadline = request.context().deadline();
                    let channel = channel.clone();
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
        let state = match self.state {
            State::Start { .. } => "start",
            State::Waiting { .. } => "waiting",
            State::Called(_) => "called",
            State::Done => "done",
        };
        f.debug_tuple("ChannelFuture").field(&state).finish()
    }
}
