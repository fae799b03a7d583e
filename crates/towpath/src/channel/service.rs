//! The channel as a service.

use super::{future::ChannelFuture, handle::Channel};
use std::task::{Context, Poll};
use tower_service::Service;
use towpath_core::{Error, Request, Response};

impl Service<Request> for Channel {
    type Response = Response;
    type Error = Error;
    type Future = ChannelFuture;

    /// Always ready: a call that finds no connection waits in its future.
    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Request) -> ChannelFuture {
        let mut request = Some(request);
        let call = self.send(&mut request);
        ChannelFuture::new(self.held.lend(), call, request)
    }
}
