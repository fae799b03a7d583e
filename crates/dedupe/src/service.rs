//! What the layer makes of the inner service.

use crate::{
    config::DedupeConfig,
    drive::{Drive, Inline},
    event::DedupeEvent,
    future::{Maker, ResponseFuture},
    lead::{FIRST, JOINED, Lead, Leading, REFUSED, State, Waiting},
    request::{Fingerprint, Keyed, OwnerOf},
    response::{Replay, Worth},
    table::Joined,
};
use std::{
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{Cached, DefaultClassify, Error, ErrorKind, Observe, OnReject, Processed};

/// The longest key: 255 bytes, as Stripe has it.
const MAX_KEY: usize = 255;

/// A service that makes calls of one key once; [`DedupeLayer`](crate::DedupeLayer) makes it.
///
/// It is ready when the inner service is. Calls without a key are passed on as they are.
///
/// # Errors
/// All as a [`BoxError`](towpath_core::BoxError), unless an [`OnReject`] answers:
///
/// - [`ErrorKind::Malformed`] (MCP-E-001), not processed: the key is that of another call, is empty or longer than 255
///   bytes, or is missing where [one is asked for](DedupeConfig::with_required).
/// - [`ErrorKind::Overloaded`] (MCP-W-103), not processed: there is no room for another key.
/// - [`ErrorKind::DeadlineExceeded`] (MCP-W-101): the call's deadline passed while it waited for another one of its key.
///   Whether that one is processed is unknown.
/// - [`ErrorKind::TooLarge`] (MCP-E-003), processed: the call was made before, and its answer was too large to be kept.
///
/// # Cancel safety
/// A call that waits may be dropped; nobody else notices. If the call that is being made is dropped, whoever waits
/// for it makes it in its place: see the [crate](crate#a-caller-that-gives-up).
pub struct Dedupe<S, Res, D = Inline, W = (), C = DefaultClassify, R = (), O = ()> {
    pub(crate) inner: S,
    pub(crate) state: Arc<State<Res>>,
    pub(crate) config: Cached<DedupeConfig>,
    pub(crate) drive: D,
    pub(crate) owner: W,
    pub(crate) worth: C,
    pub(crate) reject: R,
    pub(crate) observe: O,
}

impl<S, Res, D, W, C, R, O, Req> Service<Req> for Dedupe<S, Res, D, W, C, R, O>
where
    Req: Keyed,
    Res: Replay,
    S: Service<Req, Response = Res> + Clone,
    D: Drive<Leading<S::Future, Res, C, O>, Future: Future<Output = Result<Res, S::Error>>> + Clone,
    W: OwnerOf<Req>,
    C: Worth<Res> + Clone,
    R: OnReject<Res, S::Error> + Clone,
    O: Observe<DedupeEvent> + Clone,
{
    type Response = Res;
    type Error = R::Error;
    type Future = ResponseFuture<S, Req, Res, D, C, R, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.reject.pass(error))
    }

    #[inline(never)]
    fn call(&mut self, request: Req) -> Self::Future {
        if request.key().is_some() {
            return self.keyed(request);
        }
        let required = self.config.get(&self.state.config).required();
        if !required.is_empty() && required.matches(request.method()) {
            let why = format!("{} asks for an idempotency key", request.method());
            return self.refuse(DedupeEvent::BadKey, malformed(why));
        }
        ResponseFuture::passing(self.inner.call(request), self.reject.clone())
    }
}

impl<S, Res, D, W, C, R, O> Dedupe<S, Res, D, W, C, R, O> {
    fn keyed<Req>(&mut self, mut request: Req) -> ResponseFuture<S, Req, Res, D, C, R, O>
    where
        Req: Keyed,
        Res: Replay,
        S: Service<Req, Response = Res> + Clone,
        D: Drive<Leading<S::Future, Res, C, O>> + Clone,
        W: OwnerOf<Req>,
        C: Clone,
        R: Clone,
        O: Observe<DedupeEvent> + Clone,
    {
        let now = request.start();
        let own = request.key().unwrap_or_default();
        if !(1..=MAX_KEY).contains(&own.len()) {
            let why = "an idempotency key has 1 to 255 bytes";
            return self.refuse(DedupeEvent::BadKey, malformed(why));
        }
        let (mut key, mut print) = (Fingerprint::new(), Fingerprint::new());
        key.part(own);
        self.owner.describe(&request, &mut key);
        request.describe(&mut print);
        let (key, print) = (key.finish(), print.finish());

        let config = self.config.get(&self.state.config);
        let (age, limits) = (config.age(), config.limits());
        let join = self
            .state
            .change(&self.observe, |table, changes| table.join(key, print, now, age, limits, changes));
        match join {
            Joined::Lead(run) => {
                let lead = Lead { state: self.state.clone(), key, run };
                self.state.counts.add(FIRST, 1);
                let (worth, observe) = (self.worth.clone(), self.observe.clone());
                let call = Leading::new(self.inner.call(request), lead, worth, observe);
                ResponseFuture::leading(self.drive.drive(call), self.reject.clone())
            }
            Joined::Wait(number) => {
                self.state.counts.add(JOINED, 1);
                self.observe.observe(&DedupeEvent::Joined);
                let waiting = Waiting::new(self.state.clone(), key, number);
                let maker = Maker {
                    inner: self.unready(),
                    state: self.state.clone(),
                    drive: self.drive.clone(),
                    worth: self.worth.clone(),
                    observe: self.observe.clone(),
                };
                ResponseFuture::waiting(waiting, maker, request, self.reject.clone())
            }
            Joined::Answer(answer) => {
                self.unready();
                let answer = crate::future::replay(&self.state, &self.observe, &request, answer);
                ResponseFuture::answered(answer, self.reject.clone())
            }
            Joined::Mismatch => {
                let why = "the idempotency key was used for another call: use a new one for each call";
                self.refuse(DedupeEvent::Mismatch, malformed(why))
            }
            Joined::Full(after) => {
                let error = Error::new(ErrorKind::Overloaded)
                    .with_processed(Processed::No)
                    .because("there is no room for another idempotency key")
                    .with_retry_after(after);
                self.refuse(DedupeEvent::Full, error)
            }
        }
    }

    /// A clone of the inner service. The one that was readied for a call will not be called (not now, at least): what
    /// it reserved goes back with it, or it would be kept for as long as this clone lives.
    fn unready(&mut self) -> S
    where
        S: Clone,
    {
        self.inner = self.inner.clone();
        self.inner.clone()
    }

    #[cold]
    fn refuse<Req>(&mut self, event: DedupeEvent, error: Error) -> ResponseFuture<S, Req, Res, D, C, R, O>
    where
        Res: Replay,
        S: Service<Req, Response = Res> + Clone,
        D: Drive<Leading<S::Future, Res, C, O>>,
        R: Clone,
        O: Observe<DedupeEvent>,
    {
        self.unready();
        self.state.counts.add(REFUSED, 1);
        self.observe.observe(&event);
        ResponseFuture::answered(Err(error), self.reject.clone())
    }
}

fn malformed(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Malformed).with_processed(Processed::No).because(why)
}

impl<S: Clone, Res, D: Clone, W: Clone, C: Clone, R: Clone, O: Clone> Clone
    for Dedupe<S, Res, D, W, C, R, O>
{
    fn clone(&self) -> Self {
        Dedupe {
            inner: self.inner.clone(),
            state: self.state.clone(),
            config: self.config.clone(),
            drive: self.drive.clone(),
            owner: self.owner.clone(),
            worth: self.worth.clone(),
            reject: self.reject.clone(),
            observe: self.observe.clone(),
        }
    }
}

impl<S: fmt::Debug, Res, D, W, C, R, O> fmt::Debug for Dedupe<S, Res, D, W, C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedupe").field("inner", &self.inner).finish_non_exhaustive()
    }
}
