//! One call over a channel.

use super::pipe::Pipe;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use towpath_core::{Error, Request, Response};
use towpath_pool::SharedFuture;

/// The answer of one call over a [`Channel`](super::Channel). Nothing is sent before the first poll.
///
/// Cancel safety: dropping it gives the call up; if it was sent, the callee is told.
#[must_use = "futures do nothing unless polled"]
pub struct ChannelFuture(pub(super) SharedFuture<Pipe, Request>);

impl Future for ChannelFuture {
    type Output = Result<Response, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().0).poll(cx)
    }
}

impl fmt::Debug for ChannelFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChannelFuture").field(&self.0).finish()
    }
}
