//! The inner service that the kit puts under a layer: it waits when it is told to, and it keeps count.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    marker::PhantomData,
    panic,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};
use tower_service::Service;
use towpath_core::BoxError;

/// Where the inner service panics, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PanicAt {
    Ready,
    Call,
    Poll,
}

/// How the inner service behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    /// How many ticks a clone waits until it is ready.
    pub(super) ready_after: usize,
    /// How many ticks a call waits for its answer.
    pub(super) answer_after: usize,
    /// How many clones may be ready or called at a time.
    pub(super) permits: Option<usize>,
    pub(super) panic: Option<PanicAt>,
}

impl Plan {
    /// As many ticks as never come.
    pub(super) const NEVER: usize = usize::MAX;
}

/// What the layer holds of the inner service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Clones that were readied and not called.
    pub(super) readied: usize,
    /// Calls whose future is neither answered nor dropped.
    pub(super) in_flight: usize,
}

impl Held {
    pub(super) const NOTHING: Held = Held { readied: 0, in_flight: 0 };
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Held { readied, in_flight } = self;
        write!(f, "{readied} clone(s) of the inner service held ready, {in_flight} inner call(s) in flight")
    }
}

#[derive(Default)]
struct State {
    plan: Plan,
    held: Held,
    next: u64,
    waiting: BTreeMap<u64, Waiter>,
    faults: Vec<&'static str>,
}

/// A clone that waits to be ready, or a call that waits for its answer.
struct Waiter {
    ticks: usize,
    waker: Option<Waker>,
}

impl State {
    fn wait(&mut self, ticks: usize) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, Waiter { ticks, waker: None });
        self.next
    }

    /// Whether the waiter's ticks are over; if not, it will be woken.
    fn is_over(&mut self, id: u64, cx: &mut Context<'_>) -> bool {
        let Some(waiter) = self.waiting.get_mut(&id) else { return true };
        waiter.waker = Some(cx.waker().clone());
        waiter.ticks == 0
    }

    fn take_panic(&mut self, at: PanicAt) -> bool {
        let now = self.plan.panic == Some(at);
        if now {
            self.plan.panic = None;
        }
        now
    }
}

/// What the kit and all clones of the inner service share.
#[derive(Clone, Default)]
pub(super) struct Control(Arc<Mutex<State>>);

impl Control {
    pub(super) fn new(plan: Plan) -> Self {
        let control = Control::default();
        control.set_plan(plan);
        control
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on; what waits already waits as it was told.
    pub(super) fn set_plan(&self, plan: Plan) {
        self.lock().plan = plan;
    }

    pub(super) fn held(&self) -> Held {
        self.lock().held
    }

    /// What the layer did wrong with the inner service, if anything.
    pub(super) fn fault(&self) -> Option<&'static str> {
        self.lock().faults.first().copied()
    }

    /// Brings everything that waits one tick on, and wakes what has waited long enough. Says whether
    /// anything was brought on.
    pub(super) fn tick(&self) -> bool {
        let mut over = Vec::new();
        let mut moved = false;
        for waiter in self.lock().waiting.values_mut() {
            if waiter.ticks > 0 && waiter.ticks != Plan::NEVER {
                moved = true;
                waiter.ticks -= 1;
                if waiter.ticks == 0 {
                    over.extend(waiter.waker.take());
                }
            }
        }
        over.into_iter().for_each(Waker::wake);
        moved
    }

    fn release(&self, release: impl FnOnce(&mut State)) {
        let wakers: Vec<_> = {
            let mut state = self.lock();
            release(&mut state);
            state.waiting.values_mut().filter(|w| w.ticks == 0).filter_map(|w| w.waker.take()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A panic that leaves no message behind: it is on purpose.
fn blow_up() -> ! {
    panic::resume_unwind(Box::new("the inner service panicked, on purpose"))
}

/// The inner service of a layer under test. It is ready and answers when the kit says so, keeps count of
/// what it handed out, and notes if it is called without having been readied.
///
/// Named in the bounds of [`Contract`](super::Contract) only; there is no way to make one.
pub struct Probe<Req, Res, E = BoxError> {
    control: Control,
    respond: Arc<dyn Fn() -> Res + Send + Sync>,
    ready: bool,
    waits: Option<u64>,
    _types: PhantomData<fn(Req) -> E>,
}

impl<Req, Res, E> Probe<Req, Res, E> {
    pub(super) fn new(control: Control, respond: Arc<dyn Fn() -> Res + Send + Sync>) -> Self {
        Probe { control, respond, ready: false, waits: None, _types: PhantomData }
    }
}

/// Readiness is not cloned: it belongs to one clone.
impl<Req, Res, E> Clone for Probe<Req, Res, E> {
    fn clone(&self) -> Self {
        Probe::new(self.control.clone(), self.respond.clone())
    }
}

impl<Req, Res, E> Drop for Probe<Req, Res, E> {
    fn drop(&mut self) {
        let (waits, ready) = (self.waits.take(), self.ready);
        self.control.release(|state| {
            if let Some(id) = waits {
                state.waiting.remove(&id);
            }
            if ready {
                state.held.readied -= 1;
            }
        });
    }
}

impl<Req, Res, E> Service<Req> for Probe<Req, Res, E> {
    type Response = Res;
    type Error = E;
    type Future = ProbeFuture<Res, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let mut state = self.control.lock();
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        if state.take_panic(PanicAt::Ready) {
            drop(state);
            blow_up();
        }
        let ticks = state.plan.ready_after;
        let id = *self.waits.get_or_insert_with(|| state.wait(ticks));
        let Held { readied, in_flight } = state.held;
        let full = state.plan.permits.is_some_and(|permits| readied + in_flight >= permits);
        if !state.is_over(id, cx) || full {
            return Poll::Pending;
        }
        state.waiting.remove(&id);
        state.held.readied += 1;
        drop(state);
        (self.waits, self.ready) = (None, true);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Req) -> Self::Future {
        let mut state = self.control.lock();
        if std::mem::take(&mut self.ready) {
            state.held.readied -= 1;
        } else {
            state.faults.push("the inner service was called on a clone that had not been polled ready");
        }
        if state.take_panic(PanicAt::Call) {
            drop(state);
            // The permit went back above; who waits for it must hear of it.
            self.control.release(|_| ());
            blow_up();
        }
        state.held.in_flight += 1;
        let ticks = state.plan.answer_after;
        let waits = Some(state.wait(ticks));
        drop(state);
        let (control, respond) = (self.control.clone(), self.respond.clone());
        ProbeFuture { control, respond, waits, _error: PhantomData }
    }
}

/// A call of a [`Probe`].
#[must_use = "futures do nothing unless polled"]
pub struct ProbeFuture<Res, E> {
    control: Control,
    respond: Arc<dyn Fn() -> Res + Send + Sync>,
    waits: Option<u64>,
    _error: PhantomData<fn() -> E>,
}

impl<Res, E> ProbeFuture<Res, E> {
    fn finish(&mut self) {
        if let Some(id) = self.waits.take() {
            self.control.release(|state| {
                state.waiting.remove(&id);
                state.held.in_flight -= 1;
            });
        }
    }
}

impl<Res, E> Future for ProbeFuture<Res, E> {
    type Output = Result<Res, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.control.lock();
        let Some(id) = self.waits else {
            state.faults.push("a call of the inner service was polled again after it had answered");
            return Poll::Pending;
        };
        if state.take_panic(PanicAt::Poll) {
            drop(state);
            blow_up();
        }
        if !state.is_over(id, cx) {
            return Poll::Pending;
        }
        drop(state);
        self.finish();
        Poll::Ready(Ok((self.respond)()))
    }
}

impl<Res, E> Drop for ProbeFuture<Res, E> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl<Req, Res, E> fmt::Debug for Probe<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("ready", &self.ready).finish_non_exhaustive()
    }
}

impl<Res, E> fmt::Debug for ProbeFuture<Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeFuture").field("answered", &self.waits.is_none()).finish_non_exhaustive()
    }
}
