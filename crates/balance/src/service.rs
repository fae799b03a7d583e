//! The balancer as a service.

use crate::{
    BalanceHandle, PowerOfTwo, ResponseFuture,
    common::Common,
    fleet::{News, Snapshot},
    pick::Pick,
    stacks::{Kept, Stacks},
    ticket::Ticket,
    wait::Wait,
};
use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{CallInfo, Classify, Clock, DefaultClassify, OnReject, Shared, context};

/// A service that passes each call to one of many endpoints; [`Balancer`](crate::Balancer) makes it.
///
/// It is always ready: where a call goes is decided in `call`, and what there is to wait for is waited for in its future.
/// Clones are the same balancer. Each keeps clones of the stacks that it has called (1 024 at most), so a clone that
/// lives longer than one call is cheaper; a clone of its own is two reference counts.
///
/// # Errors
/// [`ErrorKind::NoEndpoint`](towpath_core::ErrorKind::NoEndpoint), MCP-W-106, if no endpoint took the call in the time
/// that the [config](crate::BalanceOptions::wait) grants;
/// [`ErrorKind::DeadlineExceeded`](towpath_core::ErrorKind::DeadlineExceeded) if its deadline passed before; both as
/// [`BoxError`](towpath_core::BoxError), unless an [`OnReject`] answers in its place. The call was
/// [not processed](towpath_core::Processed::No).
pub struct Balance<S, Req, P: Pick = PowerOfTwo, C = DefaultClassify, I = (), R = ()> {
    common: Shared<Common<S, P, C, I, R>>,
    /// Of the snapshot.
    version: u64,
    snapshot: Arc<Snapshot<S, P::Table>>,
    stacks: Stacks<S>,
    request: PhantomData<fn(Req)>,
}

impl<S, Req, P: Pick, C, I, R> Balance<S, Req, P, C, I, R> {
    pub(crate) fn new(common: Common<S, P, C, I, R>) -> Self {
        let version = common.fleet.live.version();
        let snapshot = common.fleet.live.get();
        let (common, stacks) = (Shared::new(common), Stacks::new());
        Balance { common, version, snapshot, stacks, request: PhantomData }
    }

    #[cold]
    fn refresh(&mut self) {
        let fleet = &self.common.fleet;
        // In this order: one that is replaced meanwhile is read once more.
        self.version = fleet.live.version();
        self.snapshot = fleet.live.get();
        self.stacks.sweep(&fleet.arena);
    }
}

impl<S, Req, P, C, I, R> Balance<S, Req, P, C, I, R>
where
    S: Send + 'static,
    P: Pick,
{
    /// To look at the endpoints, and to change the config.
    pub fn handle(&self) -> BalanceHandle {
        BalanceHandle::new(self.common.fleet.clone())
    }
}

impl<S: Clone, Req, P: Pick, C, I, R> Balance<S, Req, P, C, I, R> {
    /// Begins to find endpoints and to make their stacks, and with it connections, before the first call does. Outside a
    /// tokio runtime this is left to the first call.
    pub fn start(&self) {
        self.common.tend(Clock::now());
    }
}

/// Where a call goes. (The request is looked at by reference until it is known: it is large, and each move is a copy.)
struct Way<S, P: Pick, C, I, R> {
    index: usize,
    ticket: Ticket<S, P, C, I, R>,
}

impl<S, Req, P, C, I, R> Balance<S, Req, P, C, I, R>
where
    S: Service<Req> + Clone,
    P: Pick,
    C: Classify<S::Response, S::Error>,
    I: CallInfo<Req, S::Response>,
{
    /// An endpoint that is ready.
    #[inline(always)]
    fn find(&mut self, request: &Req, start: Instant, nanos: u64) -> Option<Way<S, P, C, I, R>> {
        let fleet = &*self.common.fleet;
        let probe = match fleet.bell.is_due(nanos) {
            true => self.tend(request, start),
            false => None,
        };
        if self.common.fleet.live.version() != self.version {
            self.refresh();
        }
        let index = match probe {
            Some(index) => index,
            None => self.common.choose(&self.snapshot, request, nanos, &[])?,
        };
        let key = *self.snapshot.keys.get(index)?;
        let gauge = self.common.fleet.arena.at(key.slot);
        if !gauge.enter(key.generation) {
            return None;
        }
        context::pick(gauge.id());
        let common = self.common.lend();
        Some(Way {
            index,
            ticket: Ticket { common, start: nanos, key, probe: probe.is_some(), waits: false },
        })
    }

    /// Something is due. An endpoint that is out may want this call, to find out whether it has recovered.
    #[cold]
    fn tend(&mut self, request: &Req, start: Instant) -> Option<usize> {
        let key = self.common.tend(start)?;
        self.refresh();
        let tried = self.common.info.context(request).map_or(&[][..], towpath_core::Context::tried);
        let is_tried = tried.contains(&self.common.fleet.arena.at(key.slot).id());
        let index = self.snapshot.keys.iter().position(|other| *other == key).filter(|_| !is_tried);
        let nanos = self.common.fleet.bell.nanos(start);
        let index = index.filter(|index| self.common.suits(&self.snapshot, request, nanos, *index));
        if index.is_none() {
            self.common.fleet.tell([News::Probed(key)]);
        }
        index
    }

    /// No endpoint is ready.
    #[cold]
    fn wait(&self, request: Req, nanos: u64) -> ResponseFuture<S, Req, P, C, I, R> {
        ResponseFuture::waiting(Wait::new(self.common.lend(), request, nanos))
    }

    /// A stack is not ready, or has failed. It goes from the table: what was polled may be ready for one call, or for none.
    #[cold]
    fn not_ready(
        &mut self,
        request: Req,
        ticket: Ticket<S, P, C, I, R>,
        failed: Option<S::Error>,
    ) -> ResponseFuture<S, Req, P, C, I, R> {
        let kept = self.stacks.take(ticket.key);
        let found = match (failed, kept) {
            (Some(error), _) => Err(error),
            (None, Some(stack)) => Ok(stack),
            // It was there just now.
            (None, None) => return self.wait(request, ticket.start),
        };
        let wait = Wait::new(self.common.lend(), request, ticket.start);
        ResponseFuture::waiting(wait.with(ticket, found))
    }
}

impl<S, Req, P, C, I, R> Service<Req> for Balance<S, Req, P, C, I, R>
where
    S: Service<Req> + Clone,
    P: Pick,
    C: Classify<S::Response, S::Error>,
    I: CallInfo<Req, S::Response>,
    R: OnReject<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S, Req, P, C, I, R>;

    #[inline]
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let start = self.common.info.start(&mut request);
        let nanos = self.common.fleet.bell.nanos(start);
        let Some(Way { index, ticket }) = self.find(&request, start, nanos) else {
            return self.wait(request, nanos);
        };
        let Self { snapshot, stacks, .. } = self;
        let kept = stacks.of(ticket.key, snapshot.keys.len(), || snapshot.stacks[index].fresh());
        // If it panics, it stays as it is: in use, and not to be used again.
        kept.in_use = true;
        let failed = match kept.stack.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => return go(kept, request, ticket),
            Poll::Ready(Err(error)) => Some(error),
            Poll::Pending => None,
        };
        self.not_ready(request, ticket, failed)
    }
}

/// Calls a stack that is ready.
#[inline]
fn go<S, Req, P, C, I, R>(
    kept: &mut Kept<S>,
    request: Req,
    ticket: Ticket<S, P, C, I, R>,
) -> ResponseFuture<S, Req, P, C, I, R>
where
    S: Service<Req>,
    P: Pick,
{
    /// Nothing is alive in it that would have to be dropped if the stack panicked: the ticket is the caller's until there is a
    /// future. So fewer copies are made of that.
    #[inline(never)]
    fn call<S, Req, P, C, I, R>(
        kept: &mut Kept<S>,
        request: Req,
        ticket: &mut Option<Ticket<S, P, C, I, R>>,
    ) -> ResponseFuture<S, Req, P, C, I, R>
    where
        S: Service<Req>,
        P: Pick,
    {
        let future = kept.stack.call(request);
        kept.in_use = false;
        ResponseFuture::called(future, ticket.take())
    }
    let mut ticket = Some(ticket);
    call(kept, request, &mut ticket)
}

impl<S, Req, P: Pick, C, I, R> Clone for Balance<S, Req, P, C, I, R> {
    /// The same balancer; stacks are not cloned with it.
    fn clone(&self) -> Self {
        Balance {
            common: self.common.clone(),
            version: self.version,
            snapshot: self.snapshot.clone(),
            stacks: Stacks::new(),
            request: PhantomData,
        }
    }
}

impl<S, Req, P: Pick, C, I, R> fmt::Debug for Balance<S, Req, P, C, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance").field("endpoints", &self.common.fleet.counts()).finish_non_exhaustive()
    }
}
