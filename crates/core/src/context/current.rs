//! The context of the call that a task is handling: put in place around each poll of the handler.

use super::Context;
use pin_project_lite::pin_project;
use std::{
    cell::{Cell, RefCell},
    future::Future,
    marker::PhantomData,
    mem,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::{self, Poll},
};

thread_local! {
    /// Whether a call is handled now, and where its context is. Of its own, so that to ask costs one load.
    pub(super) static INSIDE: Cell<Inside> = const { Cell::new(Inside::Nothing) };
    /// The context, if `INSIDE` says so; else what is left over of one.
    pub(super) static CURRENT: RefCell<Context> = const { RefCell::new(Context::new()) };
    /// What a panic has left.
    static LAST: Cell<Option<Context>> = const { Cell::new(None) };
}

/// What this thread is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// No call.
    Nothing,
    /// A call with nothing to pass on: its context is not copied anywhere.
    Plain,
    /// A call; its context has no counted references.
    Simple,
    /// A call; its context has fields that are to be dropped when it is left.
    Whole,
}

impl Inside {
    #[inline]
    fn of(context: &Context) -> Self {
        if context.rare.is_some() {
            Inside::Whole
        } else if context.is_plain() {
            Inside::Plain
        } else {
            Inside::Simple
        }
    }
}

/// Set when the first handler of this process runs; from then on a call without a context is remarkable.
static SERVES: AtomicBool = AtomicBool::new(false);
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Whether there is something to inherit.
#[inline]
pub(crate) fn has_legacy() -> bool {
    matches!(INSIDE.get(), Inside::Simple | Inside::Whole)
}

/// Looks at the current context, if there is one (while a thread is ending there is none).
pub(crate) fn with_current<R>(f: impl FnOnce(&Context) -> R) -> Option<R> {
    match INSIDE.get() {
        Inside::Nothing => None,
        Inside::Plain => Some(f(&Context::new())),
        _ => CURRENT.try_with(|current| current.try_borrow().ok().map(|current| f(&current))).ok().flatten(),
    }
}

/// The context of a future, if it has one, while it is not polled; that of its surroundings while it is.
#[derive(Debug)]
struct Place {
    inside: Inside,
    context: Context,
}

impl Place {
    fn of(context: Option<Context>) -> Self {
        let inside = context.as_ref().map_or(Inside::Nothing, Inside::of);
        Place { inside, context: context.unwrap_or_default() }
    }

    fn swap(&mut self) {
        self.inside = INSIDE.replace(self.inside);
        let _ = CURRENT.try_with(|current| mem::swap(&mut *current.borrow_mut(), &mut self.context));
    }
}

/// Swaps a context in; the guard swaps it back, on unwinding too.
fn swap_in(place: &mut Place) -> impl Drop + '_ {
    struct Guard<'a>(&'a mut Place);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.0.swap();
        }
    }
    place.swap();
    Guard(place)
}

pin_project! {
    /// A future that runs in a context: calls made inside inherit from it.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct InContext<F> {
        place: Place,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _guard = swap_in(this.place);
        this.future.poll(cx)
    }
}

impl<F> InContext<F> {
    /// The future alone.
    pub fn future_mut(self: Pin<&mut Self>) -> Pin<&mut F> {
        self.project().future
    }
}

/// Puts a future into a context.
pub trait Scope: Sized {
    /// Runs the future in this context: calls made inside inherit from it.
    fn with_context(self, context: Context) -> InContext<Self> {
        InContext { place: Place::of(Some(context)), future: self }
    }

    /// Runs the future in the context of the current task, wherever it is polled later: the way to take
    /// it across `tokio::spawn` or into a `JoinSet`.
    fn in_context(self) -> InContext<Self> {
        InContext { place: Place::of(with_current(Context::clone)), future: self }
    }
}

impl<F: Future> Scope for F {}

/// Runs a handler in its call's context. Servers use this; it also marks the process as one that serves,
/// so that a call made outside any context is reported (once).
pub fn scope<F: Future>(context: Context, future: F) -> InContext<F> {
    if !SERVES.load(Relaxed) {
        SERVES.store(true, Relaxed);
    }
    InContext { place: Place::of(Some(context)), future }
}

/// Enters a call's context without making a future of it: what [`scope`] does for one poll. Servers use
/// this for the part of a call that is done at once. Nested ones are left in reverse order. The context is copied straight to its place: copies
/// are what such a short call would spend most of its time with.
#[inline]
pub fn enter(context: &Context) -> Entered {
    if !SERVES.load(Relaxed) {
        SERVES.store(true, Relaxed);
    }
    let inside = Inside::of(context);
    let outer = INSIDE.replace(inside);
    if outer != Inside::Nothing {
        let outer = Some(Box::new((outer, set_current(context))));
        return Entered { outer, here: PhantomData };
    }
    if inside != Inside::Plain {
        let _ = CURRENT.try_with(|current| current.borrow_mut().clone_from(context));
    }
    Entered { outer: None, here: PhantomData }
}

#[cold]
fn set_current(context: &Context) -> Context {
    CURRENT.try_with(|current| current.replace(context.clone())).unwrap_or_default()
}

/// A context is entered until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it leaves the context at once"]
pub struct Entered {
    /// What it was entered from, if that was another context: never so in a server's own task.
    outer: Option<Box<(Inside, Context)>>,
    /// It is of this thread: left on another one, the context would stay here for ever.
    here: PhantomData<*const ()>,
}

impl Entered {
    /// Leaves the context, and hands it out.
    pub fn leave(self) -> Context {
        with_current(Context::clone).unwrap_or_default()
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() {
            keep_last();
        }
        match self.outer.take() {
            None if INSIDE.get() != Inside::Whole => INSIDE.set(Inside::Nothing),
            outer => exit(outer),
        }
    }
}

#[cold]
fn exit(outer: Option<Box<(Inside, Context)>>) {
    let (inside, outer) = outer.map_or_else(|| (Inside::Nothing, Context::new()), |outer| *outer);
    set_current(&outer);
    INSIDE.set(inside);
}

#[cold]
fn keep_last() {
    LAST.set(with_current(Context::clone));
}

/// The context that a panic has [left](Entered) on this thread, for who has caught the panic and wants to
/// say whose it was.
#[cold]
pub fn last() -> Context {
    LAST.take().unwrap_or_default()
}

/// Whether a handler has run in this process.
pub fn in_server() -> bool {
    SERVES.load(Relaxed)
}

/// Runs work that belongs to no call (a refresh, a timer): its calls have no context, on purpose, and
/// are not reported.
pub fn background<F: Future>(future: F) -> InContext<F> {
    InContext { place: Place::of(Some(Context::new())), future }
}

/// Spawns on the current tokio runtime, in the context of the current task: `tokio::spawn` that keeps
/// the deadline and the trace.
///
/// # Panics
/// As `tokio::spawn`: outside a runtime.
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.in_context())
}

/// Reports, once per process, that a serving process makes a call outside any context. A call that was
/// spawned from a handler with a bare `tokio::spawn` has lost its deadline and its trace that way.
#[inline]
pub fn report_missing(method: &crate::Method) {
    if SERVES.load(Relaxed) && !REPORTED.load(Relaxed) {
        report(method);
    }
}

#[cold]
fn report(method: &crate::Method) {
    if with_current(|_| ()).is_none() && !REPORTED.swap(true, Relaxed) {
        tracing::warn!(
            %method,
            "a call was made outside any context in a process that serves: it has no inherited deadline \
             and no trace. If it belongs to a call, spawn it with towpath::context::spawn or \
             .in_context(); if it does not, wrap it in towpath::context::background. Reported once."
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;
    use std::time::Duration;
    use tokio::time::Instant;

    fn with_deadline(after: u64) -> Context {
        let mut c = Context::new();
        c.set_deadline(Some(Instant::now() + Duration::from_secs(after)));
        c
    }

    #[tokio::test]
    async fn nested_calls_inherit_and_the_scope_ends() {
        let outer = with_deadline(5);
        let deadline = outer.deadline();
        let seen = scope(outer, async {
            tokio::task::yield_now().await;
            Request::new("A.B", ()).context().deadline()
        })
        .await;
        assert_eq!(seen, deadline);
        assert_eq!(Request::new("A.B", ()).context().deadline(), None);
    }

    #[test]
    fn entering_nests_and_leaves() {
        let (a, b) = (with_deadline(1), with_deadline(2));
        let current = || Context::inherit().deadline();
        {
            let _a = enter(&a);
            assert_eq!(current(), a.deadline());
            let b_scope = enter(&b);
            assert_eq!(current(), b.deadline());
            assert_eq!(b_scope.leave().deadline(), b.deadline());
            assert_eq!(current(), a.deadline());
        }
        assert_eq!(current(), None);
    }

    /// What one call leaves behind on its thread, the next one does not find: of whatever kinds the two are, and
    /// however the first one ends.
    #[test]
    fn nothing_of_one_call_is_seen_by_the_next() {
        let mut whole = with_deadline(1);
        whole.set_field(super::super::Field::SessionId, Some("s".into()));
        let mut traced = Context::new();
        traced.set_trace(Some(super::super::TraceContext::random(true)));
        let kinds = [Context::new(), with_deadline(2), traced, whole];
        let seen = || {
            let seen = Context::inherit();
            (seen.deadline(), seen.trace(), seen.field(super::super::Field::SessionId).cloned())
        };
        let of = |c: &Context| (c.deadline(), c.trace(), c.field(super::super::Field::SessionId).cloned());
        for (first, second) in kinds.iter().flat_map(|a| kinds.iter().map(move |b| (a, b))) {
            for end in 0..4 {
                let entered = enter(first);
                assert_eq!(seen(), of(first));
                match end {
                    0 => drop(entered),
                    1 => assert_eq!(of(&entered.leave()), of(first)),
                    2 => {
                        // Another call, on top of it.
                        let inner = enter(second);
                        assert_eq!(seen(), of(second));
                        drop(inner);
                        assert_eq!(seen(), of(first));
                        drop(entered);
                    }
                    _ => {
                        // A panic that is nested: the outermost is whose it was.
                        let blown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                            let _outer = entered;
                            let _inner = enter(second);
                            panic!("on purpose");
                        }));
                        assert!(blown.is_err());
                        assert_eq!(of(&last()), of(first));
                        assert_eq!(of(&last()), of(&Context::new()), "once");
                    }
                }
                assert!(with_current(|_| ()).is_none());
                let entered = enter(second);
                assert_eq!(seen(), of(second));
                drop(entered);
                assert_eq!(seen(), of(&Context::new()));
            }
        }
    }

    #[tokio::test]
    async fn a_spawned_task_inherits_only_when_asked() {
        let outer = with_deadline(5);
        let deadline = outer.deadline();
        scope(outer, async {
            let ask = async { Context::inherit().deadline() };
            assert_eq!(spawn(ask).await.unwrap(), deadline);
            let ask = async { Context::inherit().deadline() };
            assert_eq!(tokio::spawn(ask.in_context()).await.unwrap(), deadline);
            let ask = async { Context::inherit().deadline() };
            assert_eq!(tokio::spawn(ask).await.unwrap(), None);
        })
        .await;
    }

    #[tokio::test]
    async fn scopes_nest_and_survive_a_panic() {
        let (a, b) = (with_deadline(1), with_deadline(2));
        let (da, db) = (a.deadline(), b.deadline());
        scope(a, async {
            let inner = async { Context::inherit().deadline() }.with_context(b);
            assert_eq!(inner.await, db);
            let blown = scope(with_deadline(9), async { panic!("on purpose") });
            assert!(tokio::spawn(blown).await.is_err());
            assert_eq!(Context::inherit().deadline(), da);
        })
        .await;
        assert_eq!(Context::inherit().deadline(), None);
    }
}
