//! The balancer as a service.

use crate::{
    BalanceHandle, PowerOfTwo, ResponseFuture,
    common::Common,
    fleet::{News, Snapshot},
    gauge::Key,
    pick::Pick,
    stacks::Stacks,
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

impl<S, Req, P, C, I, R> Balance<S, Req, P, C, I, R>
where
    S: Service<Req> + Clone,
    P: Pick,
    C: Classify<S::Response, S::Error>,
    I: CallInfo<Req, S::Response>,
{
    #[inline]
    fn begin(
        &mut self,
        index: usize,
        request: Req,
        start: Instant,
        probe: bool,
    ) -> ResponseFuture<S, Req, P, C, I, R> {
        let Self { common, snapshot, stacks, .. } = self;
        let hot = &snapshot.hots[index];
        let key = hot.key();
        if !common.fleet.arena.at(hot.slot).enter(hot.generation) {
            return self.wait(request, start);
        }
        let mut ticket = Ticket { common: common.lend(), key, start, probe, waits: false };
        context::pick(hot.id);
        let place = stacks.of(key, snapshot.hots.len(), || snapshot.stacks[index].fresh());
        let found = match place {
            Some(kept) => {
                kept.with(|stack| match stack.poll_ready(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(())) => Ok(stack.call(request)),
                    Poll::Ready(Err(error)) => Err((request, Some(error))),
                    Poll::Pending => Err((request, None)),
                })
            }
            // It was filled just now.
            None => return self.wait(request, start),
        };
        match found {
            Ok(future) => ResponseFuture::called(future, ticket),
            Err((request, error)) => {
                ticket.waits = false;
                // What was polled is not in the table any more: it may be ready for one call, or for none.
                let found = match (error, place.take()) {
                    (Some(error), _) => Err(error),
                    (None, Some(kept)) => Ok(kept.into_stack()),
                    (None, None) => return self.wait(request, start),
                };
                let id = hot.id;
                let wait = Wait::new(self.common.lend(), request, start).with(id, ticket, found);
                ResponseFuture::waiting(wait)
            }
        }
    }

    #[cold]
    fn wait(&self, request: Req, start: Instant) -> ResponseFuture<S, Req, P, C, I, R> {
        ResponseFuture::waiting(Wait::new(self.common.lend(), request, start))
    }

    /// An endpoint that is out wants this call, to find out whether it has recovered.
    #[cold]
    fn probe(&mut self, key: Key, request: Req, start: Instant) -> ResponseFuture<S, Req, P, C, I, R> {
        let tried = self.common.info.context(&request).map_or(&[][..], towpath_core::Context::tried);
        let (hots, nanos) = (&self.snapshot.hots, self.common.fleet.bell.nanos(start));
        let found = hots.iter().position(|hot| hot.key() == key && !tried.contains(&hot.id));
        match found.filter(|index| self.common.suits(&self.snapshot, &request, nanos, *index)) {
            Some(index) => self.begin(index, request, start, true),
            None => {
                self.common.fleet.tell([News::Probed(key)]);
                self.choose(request, start)
            }
        }
    }

    #[inline]
    fn choose(&mut self, request: Req, start: Instant) -> ResponseFuture<S, Req, P, C, I, R> {
        let nanos = self.common.fleet.bell.nanos(start);
        match self.common.choose(&self.snapshot, &request, nanos, &[]) {
            Some(index) => self.begin(index, request, start, false),
            None => self.wait(request, start),
        }
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

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let fleet = &*self.common.fleet;
        let start = self.common.info.start(&mut request);
        let due = fleet.bell.is_due(fleet.bell.nanos(start));
        let probe = if due { self.common.tend(start) } else { None };
        if self.common.fleet.live.version() != self.version {
            self.refresh();
        }
        match probe {
            Some(key) => self.probe(key, request, start),
            None => self.choose(request, start),
        }
    }
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
