//! The pool as a service.

use super::{
    future::ResponseFuture,
    store::{Commons, Open, Slot},
};
use crate::{
    Connection, Multiplexed, PoolHandle, PoolState,
    state::{Core, Held, Target},
    wait::{Patience, Wait},
};
use std::{
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_service::Service;
use towpath_core::{self as core, Cached, Clock, Error};

/// A few connections to one place, with many calls on each: the first one that has room is taken.
///
/// It does nothing until it is used first; then it connects, keeps as many connections as the config says, and makes new
/// ones in the background for those that are lost. Clones share all that. When the last one is gone, and the last call is
/// answered, the connections are closed.
///
/// It is always ready: a call that finds no connection waits for one in its own future, no longer than its deadline and the
/// acquire time-out; one without a deadline waits for the outcome of one connect. Under a balancer, which would rather take
/// another endpoint, it is ready when it is connected: [`PoolBuilder::waits_in_ready`](crate::PoolBuilder::waits_in_ready).
///
/// # Errors
/// The connection's own; and, not processed: MCP-E-011 if there is no connection and none can be made, MCP-W-101 if there was
/// none by the deadline, MCP-W-107 if there was none in time or too many waited for one, MCP-W-108 if the pool is closed.
///
/// # Cancel safety
/// A call's future can be dropped at any time. One that waited leaves the line.
pub struct SharedPool<C: Connection + Sync> {
    held: core::Shared<Held<Commons<C>>>,
    /// The connections as this clone has last seen them: to look whether that has changed costs next to nothing.
    seen: Cached<Open<C>>,
    waits_in_ready: bool,
    /// Of a clone that is not ready.
    wait: Option<Box<Wait<Commons<C>>>>,
}

impl<C: Connection + Sync> SharedPool<C> {
    pub(crate) fn new(target: Target<C>, waits_in_ready: bool) -> Self {
        let held = Core::hold(target, Commons::new());
        let seen = Cached::new(&held.store.open);
        SharedPool { held: core::Shared::new(held), seen, waits_in_ready, wait: None }
    }

    /// What it is doing, and how to change its config. It does not keep the pool alive.
    pub fn handle(&self) -> PoolHandle {
        PoolHandle::new(&self.held)
    }

    /// What it is doing now.
    pub fn state(&self) -> PoolState {
        self.held.state()
    }

    /// Connects if that was not begun, and waits until there is a connection, however long that takes: bound it by
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

    /// Something of the connection that calls are made on first, if there is one: to ask it what only it knows.
    pub fn with_connection<T>(&self, ask: impl FnOnce(&C) -> T) -> Option<T> {
        let open = self.held.store.open.get();
        let mut slots = open.slots.iter();
        slots.find(|slot| !slot.connection.is_closing()).map(|slot| ask(&slot.connection))
    }

    /// Makes no new calls from now on, from any clone; the connections end when the outstanding ones are answered.
    pub fn close(&self) {
        self.held.close();
    }

    async fn wait(&self, patience: Patience) -> Result<(), Error> {
        let mut wait = Wait::new(self.held.lend(), u32::MAX, Clock::now(), patience);
        poll_fn(|cx| wait.poll(cx)).await
    }

    fn is_connected(&mut self) -> bool {
        let open = self.seen.get(&self.held.store.open);
        open.slots.iter().any(|slot| !slot.connection.is_closing())
    }

    #[cold]
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let held = &self.held;
        let wait = self.wait.get_or_insert_with(|| {
            Box::new(Wait::new(held.lend(), u32::MAX, Clock::now(), Patience::ENDLESS))
        });
        let outcome = ready!(wait.poll(cx));
        self.wait = None;
        Poll::Ready(outcome)
    }
}

/// The connection for a request, if there is one.
#[inline]
pub(super) fn pick<'a, C, Request>(
    core: &Core<Commons<C>>,
    open: &'a Open<C>,
    request: &Request,
) -> Option<&'a C>
where
    C: Multiplexed<Request>,
{
    match open.slots.first() {
        Some(first) if first.connection.has_room(open.share) && !C::is_bulk(request) => {
            first.touch();
            Some(&first.connection)
        }
        Some(_) => pick_another(core, open, C::is_bulk(request)),
        None => None,
    }
}

/// Large bodies go over the last connection, so that small calls, which take the first, do not wait behind them. If all have
/// their share, one more is wished for, and the one with the most room is taken.
#[cold]
fn pick_another<'a, C>(core: &Core<Commons<C>>, open: &'a Open<C>, is_bulk: bool) -> Option<&'a C>
where
    C: Connection + Sync,
{
    let usable = || open.slots.iter().filter(|slot| !slot.connection.is_closing());
    let has_room = |slot: &&Arc<Slot<C>>| slot.connection.has_room(open.share);
    let own = if is_bulk { usable().skip(1).last() } else { open.slots.iter().find(has_room) };
    let slot = match own {
        Some(slot) => slot,
        None => {
            if open.can_grow && core.store.wish() {
                core.bell.notify_one();
            }
            usable().min_by_key(|slot| slot.connection.in_flight())?
        }
    };
    slot.touch();
    Some(&slot.connection)
}

impl<C, Request> Service<Request> for SharedPool<C>
where
    C: Multiplexed<Request>,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = ResponseFuture<C, Request>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        if !self.waits_in_ready || self.is_connected() {
            return Poll::Ready(Ok(()));
        }
        self.poll_wait(cx).map_err(C::Error::from)
    }

    #[inline]
    fn call(&mut self, request: Request) -> ResponseFuture<C, Request> {
        let core: &Core<_> = &self.held;
        let open = self.seen.get(&core.store.open);
        match pick(core, open, &request) {
            Some(connection) => ResponseFuture::called(self.held.lend(), connection.call(request)),
            None => ResponseFuture::start(self.held.lend(), request),
        }
    }
}

/// What a clone was readied for goes with it.
impl<C: Connection + Sync> Clone for SharedPool<C> {
    fn clone(&self) -> Self {
        SharedPool {
            held: self.held.clone(),
            seen: self.seen.clone(),
            waits_in_ready: self.waits_in_ready,
            wait: None,
        }
    }
}

impl<C: Connection + Sync> fmt::Debug for SharedPool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPool")
            .field("name", &self.held.target.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
