//! The pool as a service.

use super::{
    future::ResponseFuture,
    lease::Lease,
    store::{Lent, Stock},
};
use crate::{
    Connection, Exclusive, PoolHandle, PoolState,
    state::{Core, Held, Target},
    wait::{Patience, Wait},
};
use std::{
    fmt,
    future::poll_fn,
    task::{Context, Poll, ready},
};
use tower_service::Service;
use towpath_core::{self as core, Clock, Error};

/// Connections to one place, with one call at a time on each: the one that was used last is taken first. For peers that
/// answer one call at a time, such as HTTP/1 without pipelining.
///
/// A call that finds none idle waits in line for whichever comes first, one that is given back or a new one, which is made in
/// the background if there may be more; first come, first served. It waits no longer than its deadline and the acquire
/// time-out. In all else it is as a [`SharedPool`](crate::SharedPool).
///
/// # Errors
/// As those of a [`SharedPool`](crate::SharedPool).
///
/// # Cancel safety
/// A call's future can be dropped at any time. One that waited passes its turn on; one that was under way gives the
/// connection back, which decides whether it can take another call.
pub struct ExclusivePool<C: Connection> {
    held: core::Shared<Held<Stock<C>>>,
    waits_in_ready: bool,
    /// Of a clone that is ready.
    lease: Option<Lease<C>>,
    /// Of a clone that is not.
    wait: Option<Box<Wait<Stock<C>>>>,
}

impl<C: Connection> ExclusivePool<C> {
    pub(crate) fn new(target: Target<C>, waits_in_ready: bool) -> Self {
        let held = core::Shared::new(Core::hold(target, Stock::new()));
        ExclusivePool { held, waits_in_ready, lease: None, wait: None }
    }

    /// What it is doing, and how to change its config. It does not keep the pool alive.
    pub fn handle(&self) -> PoolHandle {
        PoolHandle::new(&self.held)
    }

    /// What it is doing now.
    pub fn state(&self) -> PoolState {
        self.held.state()
    }

    /// Connects if that was not begun, and waits until a connection is idle, however long that takes: bound it by
    /// `tokio::time::timeout` where that matters.
    ///
    /// # Errors
    /// If the pool is [closed](Self::close), or there is no tokio runtime.
    pub async fn ready(&self) -> Result<(), Error> {
        self.wait(Patience::ENDLESS).await
    }

    /// As [`ready`](Self::ready), but gives up with a connect that fails.
    ///
    /// # Errors
    /// MCP-E-011 if no connection can be made; or if the pool is closed.
    pub async fn connect(&self) -> Result<(), Error> {
        self.wait(Patience::ONE_CONNECT).await
    }

    /// Makes no new calls from now on, from any clone; connections are closed as their calls end.
    pub fn close(&self) {
        self.held.close();
    }

    async fn wait(&self, patience: Patience) -> Result<(), Error> {
        let mut wait = Wait::new(self.held.lend(), u32::MAX, Clock::now(), patience);
        let lent = poll_fn(|cx| wait.poll(cx)).await?;
        drop(Lease::new(self.held.lend(), lent));
        Ok(())
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<Lent<C>, Error>> {
        let held = &self.held;
        let wait = self.wait.get_or_insert_with(|| {
            Box::new(Wait::new(held.lend(), u32::MAX, Clock::now(), Patience::ENDLESS))
        });
        let outcome = ready!(wait.poll(cx));
        self.wait = None;
        Poll::Ready(outcome)
    }
}

impl<C, Request> Service<Request> for ExclusivePool<C>
where
    C: Exclusive<Request>,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = ResponseFuture<C, Request>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        if self.waits_in_ready && self.lease.is_none() {
            let lent = ready!(self.poll_wait(cx))?;
            self.lease = Some(Lease::new(self.held.lend(), lent));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture<C, Request> {
        ResponseFuture::new(self.held.lend(), self.lease.take(), request)
    }
}

/// What a clone was readied for goes with it.
impl<C: Connection> Clone for ExclusivePool<C> {
    fn clone(&self) -> Self {
        ExclusivePool {
            held: self.held.clone(),
            waits_in_ready: self.waits_in_ready,
            lease: None,
            wait: None,
        }
    }
}

impl<C: Connection> fmt::Debug for ExclusivePool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExclusivePool")
            .field("name", &self.held.target.name)
            .field("state", &self.state())
            .field("is_ready", &self.lease.is_some())
            .finish_non_exhaustive()
    }
}
