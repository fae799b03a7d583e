//! What the layer makes of the inner service.

use crate::{
    BreakerKey, ResponseFuture,
    cell::{Calm, Cell, Pass},
    error::turned_away,
    state::Refusal,
    table::Places,
    ticket::{Common, Ticket},
};
use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::time::{Instant, timeout_at};
use tower_service::Service;
use towpath_core::{Cached, CallInfo, Classify, Clock, Method, OnReject, Shared};

/// A service behind a breaker; [`BreakerLayer`](crate::BreakerLayer) makes it.
///
/// It is ready when the inner service is; [as a gate](crate::BreakerLayer::as_gate), when a call would be let
/// through as well. A probe that it was readied for is held by this clone, and given back with it.
///
/// # Errors
/// [`ErrorKind::CircuitOpen`](towpath_core::ErrorKind::CircuitOpen), MCP-W-105, as a
/// [`BoxError`](towpath_core::BoxError), unless an [`OnReject`] answers in its place. The call was
/// [not processed](towpath_core::Processed::No): the inner service was not called.
pub struct Breaker<S, K = (), C = towpath_core::DefaultClassify, I = (), R = ()> {
    inner: S,
    common: Shared<Common<K, C, I, R>>,
    places: Cached<Places>,
    last: Last,
    /// What this clone was readied with, as a gate.
    readied: Option<Ticket<K, C, I, R>>,
    wait: Option<Wait>,
}

/// What a clone remembers of its last call, so that the next one need not ask again.
#[derive(Clone)]
struct Last {
    /// Its method, if its breaker is that of the method.
    method: Option<Method>,
    /// Where its breaker is.
    place: u32,
    calm: Calm,
    /// How often the config had been replaced when that was seen.
    version: u64,
}

/// Made when a shut gate is waited for.
type Wait = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl<S, K, C, I, R> Breaker<S, K, C, I, R> {
    pub(crate) fn new(inner: S, common: Common<K, C, I, R>) -> Self {
        let places = common.table.reader();
        let last = Last { method: None, place: 0, calm: Calm::NEVER, version: 0 };
        Breaker { inner, common: Shared::new(common), places, last, readied: None, wait: None }
    }

    /// Waits until the gate lets a call through, and keeps the way in for this clone.
    fn poll_gate(
        &mut self,
        cx: &mut Context<'_>,
        mut inner_is_ready: impl FnMut(&mut S, &mut Context<'_>) -> Poll<bool>,
    ) -> Poll<()> {
        while self.readied.is_none() {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let cell = self.common.table.at(0);
            if cell.is_free() {
                break;
            }
            // First see, then ready the inner service, then take: neither is held while the other is waited for.
            let now = Clock::now();
            let until = match cell.shut(now) {
                Some(until) => until,
                None => {
                    if !ready!(inner_is_ready(&mut self.inner, cx)) {
                        break;
                    }
                    match cell.admit(now) {
                        Ok(pass) => {
                            let common = self.common.lend();
                            self.readied = Some(Ticket { common, place: 0, pass });
                            break;
                        }
                        Err(refusal) => refusal.until,
                    }
                }
            };
            self.wait = Some(Box::pin(wait(self.common.table.clone(), until)));
        }
        Poll::Ready(())
    }
}

/// Until somebody may get in: that time has come, or the breaker says so.
async fn wait(table: Arc<crate::table::Table>, mut until: Option<Instant>) {
    let cell: &Cell = table.at(0);
    loop {
        let mut freed = pin!(cell.freed().notified());
        // From here on a change wakes; one before is seen below.
        freed.as_mut().enable();
        let now = Clock::now();
        match cell.shut(now) {
            Some(shut) => until = shut,
            None if until.is_none_or(|until| until <= now) => return,
            None => {}
        }
        match until {
            Some(until) => drop(timeout_at(until, freed).await),
            None => freed.await,
        }
        until = None;
    }
}

impl<S, K, C, I, R> Breaker<S, K, C, I, R> {
    /// Lets a call through whose breaker is as the call before saw it: as most are.
    #[inline]
    fn admit_calmly<Req>(&self, request: &Req, now: Instant) -> Option<Pass>
    where
        K: BreakerKey<Req>,
    {
        let (common, last) = (&*self.common, &self.last);
        if !common.key.is_last(request, last.method.as_ref())
            || common.table.settings().config.version() != last.version
        {
            return None;
        }
        common.table.at(last.place).admit_calmly(&last.calm, now)
    }

    /// Finds the breaker and asks it, and remembers both.
    #[inline(never)]
    fn admit<Req>(&mut self, request: &Req, now: Instant) -> Result<Pass, Refusal>
    where
        K: BreakerKey<Req>,
    {
        let common = &*self.common;
        let place = common.table.place(common.key.key(request), &mut self.places);
        let version = common.table.settings().config.version();
        let cell = common.table.at(place);
        let admitted = cell.admit(now);
        let method = common.key.method(request).cloned();
        self.last = Last { method, place, calm: cell.calm(now), version };
        match admitted {
            // It was ready, and keeps its word.
            Err(_) if common.gate => Ok(Cell::pass_unasked()),
            Err(refusal) => {
                cell.reject(refusal);
                Err(refusal)
            }
            Ok(pass) => Ok(pass),
        }
    }
}

impl<S, K, C, I, R, Req> Service<Req> for Breaker<S, K, C, I, R>
where
    S: Service<Req> + Clone,
    K: BreakerKey<Req>,
    C: Classify<S::Response, S::Error>,
    I: CallInfo<Req, S::Response>,
    R: OnReject<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S, Req, K, C, I, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.common.gate {
            // If the inner service has failed, that is said below.
            ready!(self.poll_gate(cx, |inner, cx| inner.poll_ready(cx).map(|ready| ready.is_ok())));
        }
        self.inner.poll_ready(cx).map_err(|error| self.common.reject.pass(error))
    }

    // Not inlined: the inner call's future is then written where it is to be, and not moved there.
    #[inline(never)]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let start = self.common.info.start(&mut request);
        let calm = if self.readied.is_none() { self.admit_calmly(&request, start) } else { None };
        let Some(pass) = calm else { return self.call_uncalmly(request, start) };
        // It is no probe: should the inner service panic, there is nothing to be given back.
        ResponseFuture::called(self.inner.call(request), self.ticket(pass), start)
    }
}

impl<S, K, C, I, R> Breaker<S, K, C, I, R> {
    #[inline]
    fn ticket(&self, pass: Pass) -> Ticket<K, C, I, R> {
        Ticket { common: self.common.lend(), place: self.last.place, pass }
    }

    /// A call that the one before it tells nothing of.
    #[inline(never)]
    fn call_uncalmly<Req>(&mut self, request: Req, start: Instant) -> ResponseFuture<S, Req, K, C, I, R>
    where
        S: Service<Req> + Clone,
        K: BreakerKey<Req>,
    {
        let ticket = match self.readied.take() {
            Some(ticket) => ticket,
            None => match self.admit(&request, start) {
                Ok(pass) => self.ticket(pass),
                Err(refusal) => {
                    let ticket = self.ticket(Cell::pass_unasked());
                    let table = &ticket.common.table;
                    let config = table.settings().config.get();
                    let error = turned_away(table.at(ticket.place), &config, refusal, start);
                    // The inner service was readied for this call and will not be called: what it reserved
                    // goes back with it.
                    self.inner = self.inner.clone();
                    return ResponseFuture::turned_away(error, ticket, start);
                }
            },
        };
        ResponseFuture::called(self.inner.call(request), ticket, start)
    }
}

impl<S: Clone, K, C, I, R> Clone for Breaker<S, K, C, I, R> {
    /// The same breakers; ready for nothing yet.
    fn clone(&self) -> Self {
        Breaker {
            inner: self.inner.clone(),
            common: self.common.clone(),
            places: self.places.clone(),
            last: self.last.clone(),
            readied: None,
            wait: None,
        }
    }
}

impl<S: fmt::Debug, K, C, I, R> fmt::Debug for Breaker<S, K, C, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("inner", &self.inner).finish_non_exhaustive()
    }
}
