//! The kit bites: each broken layer is turned away for the rule that it breaks, good ones pass.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower::layer::{layer_fn, util::Identity};
use tower::{
    Layer, Service,
    buffer::BufferLayer,
    limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer},
    load_shed::LoadShedLayer,
    timeout::TimeoutLayer,
};
use towpath_testing::{
    Contract,
    contract::{Probe, Report, Rule},
};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Inner = Probe<towpath_core::Request, towpath_core::Response>;
type Req = towpath_core::Request;
type Outcome = Result<towpath_core::Response, towpath_core::BoxError>;

/// What the kit says about a layer that breaks a rule.
fn broken<L, S>(layer: impl Fn() -> L, rule: Rule) -> Report
where
    L: Layer<Inner, Service = S>,
    S: Service<Req, Error: Into<towpath_core::BoxError>> + Clone,
{
    let report = Contract::new(layer).check().expect_err("the layer is broken");
    assert!(report.breaks(rule), "{rule:?} is broken; the kit says: {report}");
    report
}

// Good layers.

#[test]
fn identity_passes() {
    Contract::new(Identity::new).verify();
}

#[test]
fn towers_limits_pass() {
    for limit in [1, 2, 30] {
        Contract::new(move || ConcurrencyLimitLayer::new(limit)).limits_to(limit).verify();
        Contract::new(move || GlobalConcurrencyLimitLayer::new(limit)).verify();
    }
}

#[test]
fn two_limits_and_a_load_shed_pass() {
    let stack = || (LoadShedLayer::new(), ConcurrencyLimitLayer::new(4), ConcurrencyLimitLayer::new(2));
    Contract::new(stack).verify();
}

#[test]
fn towers_timeout_passes_and_gives_up() {
    let second = Duration::from_secs(1);
    Contract::new(move || TimeoutLayer::new(second)).gives_up_after(second).verify();
}

#[test]
fn any_types_will_do() {
    Contract::<_, u8, String, Infallible>::with_types(Identity::new, || 7, || "seven".to_string()).verify();
}

// Readiness.

/// Readies one clone and calls another.
#[derive(Clone)]
struct CallsAnotherClone(Inner);

impl Service<Req> for CallsAnotherClone {
    type Response = towpath_core::Response;
    type Error = towpath_core::BoxError;
    type Future = Boxed<Outcome>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let mut clone = self.0.clone();
        Box::pin(async move { clone.call(request).await })
    }
}

#[test]
fn a_call_of_an_unready_clone_is_seen() {
    let report = broken(|| layer_fn(CallsAnotherClone), Rule::ReadyThenCalled);
    assert!(report.to_string().contains("had not been polled ready"), "{report}");
}

/// Says that it is ready and calls without asking.
#[derive(Clone)]
struct NeverAsks(Inner);

impl Service<Req> for NeverAsks {
    type Response = towpath_core::Response;
    type Error = towpath_core::BoxError;
    type Future = <Inner as Service<Req>>::Future;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.0.call(request)
    }
}

#[test]
fn readiness_that_is_not_asked_for_is_seen() {
    broken(|| layer_fn(NeverAsks), Rule::ReadyThenCalled);
}

/// Refuses late calls, and keeps the inner clone that it had readied for them.
#[derive(Clone)]
struct KeepsWhatItReadied(Inner);

impl Service<Req> for KeepsWhatItReadied {
    type Response = towpath_core::Response;
    type Error = towpath_core::BoxError;
    type Future = Boxed<Outcome>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        if request.context().deadline().is_some_and(|deadline| deadline <= tokio::time::Instant::now()) {
            return Box::pin(async { Err("too late".into()) });
        }
        Box::pin(self.0.call(request))
    }
}

#[test]
fn readiness_kept_after_a_refusal_is_seen() {
    let report = broken(|| layer_fn(KeepsWhatItReadied), Rule::UncalledHoldsNothing);
    assert!(report.to_string().contains("a call came after its deadline"), "{report}");
    assert!(report.to_string().contains("1 clone(s) of the inner service held ready"), "{report}");
}

// Permits.

/// A limit of 3, with a fault of choice.
struct Limit {
    inner: Inner,
    room: Arc<Room>,
    permit: bool,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    KeepsPermitOfDroppedClone,
    ClonesPermit,
    LosesPermitOfDroppedCall,
    WakesNobody,
    KnowsOneWaiter,
}

struct Room {
    free: AtomicUsize,
    waiting: Mutex<VecDeque<Waker>>,
}

impl Room {
    fn give_back(&self, fault: Fault) {
        self.free.fetch_add(1, SeqCst);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        if fault != Fault::WakesNobody {
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Clone for Limit {
    fn clone(&self) -> Self {
        Limit {
            inner: self.inner.clone(),
            room: self.room.clone(),
            permit: self.permit && self.fault == Fault::ClonesPermit,
            fault: self.fault,
        }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if self.permit && self.fault != Fault::KeepsPermitOfDroppedClone {
            self.room.give_back(self.fault);
        }
    }
}

impl Service<Req> for Limit {
    type Response = towpath_core::Response;
    type Error = towpath_core::BoxError;
    type Future = Boxed<Outcome>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if !self.permit {
            let mut waiting = self.room.waiting.lock().unwrap();
            let taken = self.room.free.fetch_update(SeqCst, SeqCst, |free| free.checked_sub(1));
            if taken.is_err() {
                if self.fault == Fault::KnowsOneWaiter {
                    waiting.clear();
                }
                waiting.push_back(cx.waker().clone());
                return Poll::Pending;
            }
            self.permit = true;
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        struct Permit(Arc<Room>, Fault);
        impl Drop for Permit {
            fn drop(&mut self) {
                self.0.give_back(self.1);
            }
        }
        let lossy = self.fault == Fault::LosesPermitOfDroppedCall;
        self.permit = false;
        let permit = Permit(self.room.clone(), self.fault);
        let future = self.inner.call(request);
        Box::pin(async move {
            if lossy {
                let permit = std::mem::ManuallyDrop::new(permit);
                let outcome = future.await;
                drop(std::mem::ManuallyDrop::into_inner(permit));
                outcome
            } else {
                let _permit = permit;
                future.await
            }
        })
    }
}

fn limit(fault: Fault) -> impl Fn() -> LimitLayer {
    move || LimitLayer(fault)
}

struct LimitLayer(Fault);

impl Layer<Inner> for LimitLayer {
    type Service = Limit;

    fn layer(&self, inner: Inner) -> Limit {
        let room = Arc::new(Room { free: AtomicUsize::new(3), waiting: Mutex::default() });
        Limit { inner, room, permit: false, fault: self.0 }
    }
}

#[test]
fn the_limit_without_its_faults_passes() {
    Contract::new(limit(Fault::None)).verify();
}

#[test]
fn a_permit_kept_by_a_dropped_clone_is_seen() {
    let report = broken(limit(Fault::KeepsPermitOfDroppedClone), Rule::UncalledHoldsNothing);
    assert!(report.breaks(Rule::PermitsComeBack), "{report}");
    assert!(report.to_string().contains("2 calls at once get through, 3 when the layer was new"), "{report}");
}

#[test]
fn a_permit_that_is_cloned_is_seen() {
    let report = broken(limit(Fault::ClonesPermit), Rule::PermitsComeBack);
    assert!(report.to_string().contains("its limit does not hold any more"), "{report}");
}

#[test]
fn a_permit_lost_with_a_dropped_call_is_seen() {
    let report = broken(limit(Fault::LosesPermitOfDroppedCall), Rule::DropAnywhere);
    assert!(report.breaks(Rule::PermitsComeBack), "{report}");
}

/// A limit of 3 for each clone.
struct LimitPerClone(Limit);

impl Clone for LimitPerClone {
    fn clone(&self) -> Self {
        LimitPerClone(LimitLayer(Fault::None).layer(self.0.inner.clone()))
    }
}

impl Service<Req> for LimitPerClone {
    type Response = towpath_core::Response;
    type Error = towpath_core::BoxError;
    type Future = Boxed<Outcome>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.0.call(request)
    }
}

#[test]
fn a_limit_for_each_clone_is_seen() {
    let layer = || layer_fn(|inner| LimitPerClone(LimitLayer(Fault::None).layer(inner)));
    let report = Contract::new(layer).limits_to(3).check().expect_err("it is no limit");
    assert!(report.breaks(Rule::LimitIsShared), "{report}");
    assert!(report.to_string().contains("a limit of 3: 24 at the inner service at once"), "{report}");
}

// Wake-ups.

#[test]
fn waiters_that_nobody_wakes_are_seen() {
    let report = broken(limit(Fault::WakesNobody), Rule::NoLostWakeUp);
    assert!(report.to_string().contains("would go on if polled unasked"), "{report}");
}

#[test]
fn a_second_waiter_that_replaces_the_first_is_seen() {
    broken(limit(Fault::KnowsOneWaiter), Rule::NoLostWakeUp);
}

/// Waits in a way of its own.
#[derive(Clone)]
struct Waits {
    inner: Inner,
    how: fn(&mut Context<'_>),
}

impl Service<Req> for Waits {
    type Response = towpath_core::Response;
    type Error = towpath_core::BoxError;
    type Future = Boxed<Outcome>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let how = self.how;
        let mut future = Box::pin(self.inner.call(request));
        Box::pin(std::future::poll_fn(move |cx| {
            // The inner service never gets to know who waits.
            let answer = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if answer.is_pending() {
                how(cx);
            }
            answer
        }))
    }
}

#[test]
fn a_waker_that_is_not_passed_on_is_seen() {
    let report = broken(|| layer_fn(|inner| Waits { inner, how: |_| () }), Rule::NoLostWakeUp);
    assert!(report.to_string().contains("the caller was not woken"), "{report}");
}

#[test]
fn waking_oneself_is_seen() {
    let how = |cx: &mut Context<'_>| cx.waker().wake_by_ref();
    let report = broken(|| layer_fn(move |inner| Waits { inner, how }), Rule::NoBusyWait);
    assert!(report.to_string().contains("while time stood still"), "{report}");
}

#[test]
fn polling_by_a_timer_is_seen() {
    let how = |cx: &mut Context<'_>| {
        let waker = cx.waker().clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            waker.wake();
        });
    };
    let report = broken(|| layer_fn(move |inner| Waits { inner, how }), Rule::NoBusyWait);
    assert!(report.to_string().contains(" ms"), "{report}");
}

// Dropped calls.

/// Runs each call in a task that nobody ends.
#[derive(Clone)]
struct Spawns(Inner);

impl Service<Req> for Spawns {
    type Response = towpath_core::Response;
    type Error = towpath_core::BoxError;
    type Future = Boxed<Outcome>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let task = tokio::spawn(self.0.call(request));
        Box::pin(async move { task.await? })
    }
}

#[test]
fn work_that_goes_on_for_nobody_is_seen() {
    let report = broken(|| layer_fn(Spawns), Rule::DropAnywhere);
    assert!(report.to_string().contains("1 inner call(s) in flight"), "{report}");
}

// Panics.

/// One inner service for all clones, behind a lock that a panic poisons.
struct Shared<S>(Arc<Mutex<S>>);

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<S: Service<Req>> Service<Req> for Shared<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.lock().unwrap().poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        self.0.lock().unwrap().call(request)
    }
}

#[test]
fn a_poisoned_lock_is_seen() {
    let report = broken(|| layer_fn(|inner| Shared(Arc::new(Mutex::new(inner)))), Rule::PanicStaysInOneCall);
    assert!(report.to_string().contains("PoisonError"), "{report}");
}

#[test]
fn a_worker_whose_death_is_everybodys_is_seen() {
    let report = broken(|| BufferLayer::new(4), Rule::PanicStaysInOneCall);
    assert!(report.to_string().contains("cloned before it fails"), "{report}");
}

// Deadlines.

#[test]
fn a_call_that_hangs_is_seen() {
    let report =
        Contract::new(Identity::new).gives_up_after(Duration::from_secs(1)).check().expect_err("it hangs");
    assert!(report.breaks(Rule::DeadlineKept), "{report}");
    let late = || TimeoutLayer::new(Duration::from_millis(1_010));
    let report = Contract::new(late).gives_up_after(Duration::from_secs(1)).check().expect_err("it is late");
    assert!(report.breaks(Rule::DeadlineKept), "{report}");
}

// The report.

#[test]
fn the_report_names_rule_and_sight() {
    let panic = catch_unwind(AssertUnwindSafe(|| Contract::new(|| layer_fn(Spawns)).verify())).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("a call may be dropped anywhere (DropAnywhere)"), "{text}");
    assert!(text.contains("a call was dropped after 2 poll(s), and yet: 0 clone(s)"), "{text}");
}

#[test]
fn a_rule_can_be_left_out() {
    let contract = Contract::new(|| BufferLayer::new(4));
    let report = contract.check().expect_err("it has a worker");
    let lenient =
        report.violations().iter().fold(Contract::new(|| BufferLayer::new(4)), |contract, broken| {
            contract.without(broken.rule(), "tower's buffer has a worker")
        });
    lenient.verify();
}
