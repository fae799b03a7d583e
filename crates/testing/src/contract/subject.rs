//! A layer under test, put around the kit's inner service; and callers that are polled by hand.

use super::{
    Rule, Violation,
    probe::{Control, Held, Plan},
};
use crate::time;
use std::{
    cmp::Ordering,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::BoxError;

/// More calls than this at once are not tried: a layer that lets so many through has no limit.
const MANY: usize = 24;

/// What the rules need to know of the layer under test; `Contract` implements it.
pub(super) trait Subject {
    type Request;
    type Service: Service<Self::Request, Error: Into<BoxError>> + Clone;

    /// A new layer around a new inner service.
    fn bench(&self, plan: Plan) -> Bench<Self::Service>;
    fn request(&self) -> Self::Request;
    /// A request that says when it is to be over, if the layer under test reads that.
    fn request_by(&self, deadline: Instant) -> Self::Request;
    fn seed(&self) -> u64;
    fn recovery(&self) -> Duration;
    fn gives_up_after(&self) -> Option<Duration>;
    fn limits_to(&self) -> Option<usize>;
}

/// A layered service that is never called itself, only cloned; and the inner service's controls.
pub(super) struct Bench<S> {
    pub(super) root: S,
    pub(super) probe: Control,
}

/// Counts wake-ups.
#[derive(Default)]
pub(super) struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A task that the kit polls by hand, so that it sees every wake-up.
pub(super) struct Task<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    bell: Arc<Bell>,
    heard: usize,
    started: bool,
}

impl<'a, T> Task<'a, T> {
    pub(super) fn new(future: impl Future<Output = T> + 'a) -> Self {
        Task { future: Box::pin(future), bell: Arc::default(), heard: 0, started: false }
    }

    pub(super) fn poll(&mut self) -> Poll<T> {
        self.started = true;
        self.heard = self.bell.0.load(SeqCst);
        let waker = Waker::from(self.bell.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Whether an executor would poll it now.
    pub(super) fn is_due(&self) -> bool {
        !self.started || self.bell.0.load(SeqCst) != self.heard
    }

    /// Polls for as long as an executor would, while nothing happens around.
    pub(super) async fn run(&mut self) -> Poll<T> {
        for _ in 0..MANY {
            if self.is_due()
                && let Poll::Ready(output) = self.poll()
            {
                return Poll::Ready(output);
            }
            time::settle().await;
            if !self.is_due() {
                break;
            }
        }
        Poll::Pending
    }

    /// As `run`, with panics caught.
    pub(super) async fn run_caught(&mut self) -> Result<Poll<T>, ()> {
        let mut run = std::pin::pin!(self.run());
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(())),
        })
        .await
    }

    /// Drives the task to its end, polling it only when it was woken, while the inner service goes on and
    /// then time passes, up to `patience`. What stops it is a broken `rule`, or a lost wake-up.
    pub(super) async fn finish(
        &mut self,
        probe: &Control,
        patience: Duration,
        rule: Rule,
        what: &str,
    ) -> Result<T, Violation> {
        let mut waited = Duration::ZERO;
        let mut step = Duration::from_millis(1);
        loop {
            if let Poll::Ready(output) = self.run().await {
                return Ok(output);
            }
            if probe.tick() {
                time::settle().await;
                if self.is_due() {
                    continue;
                }
                // Not woken, and yet it can go on?
                if self.poll().is_ready() {
                    let seen = format!(
                        "{what}: the inner service went on and woke its waiter, but the caller was not woken, \
                         though it was ready to go on when polled unasked"
                    );
                    return Err(Violation::new(Rule::NoLostWakeUp, seen));
                }
            } else if waited < patience {
                time::advance(step).await;
                waited += step;
                step = (step * 2).min(Duration::from_secs(10));
            } else {
                return Err(match self.poll() {
                    Poll::Ready(_) => Violation::new(
                        Rule::NoLostWakeUp,
                        format!("{what}: ready to go on when polled unasked, but never woken"),
                    ),
                    Poll::Pending => {
                        let held = probe.held();
                        Violation::new(rule, format!("{what}: it waits for ever ({held})"))
                    }
                });
            }
        }
    }
}

/// Readies a clone and calls it once, as `ServiceExt::oneshot` does.
pub(super) fn oneshot<'a, S, R>(mut service: S, request: R) -> Task<'a, Result<(), String>>
where
    S: Service<R, Error: Into<BoxError>> + 'a,
    R: 'a,
{
    Task::new(async move {
        let text = |error: S::Error| Into::<BoxError>::into(error).to_string();
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(text)?;
        service.call(request).await.map(|_| ()).map_err(text)
    })
}

/// Readies a clone and hands it back.
pub(super) fn ready<'a, S, R>(mut service: S) -> Task<'a, Option<S>>
where
    S: Service<R> + 'a,
    R: 'a,
{
    Task::new(async move { poll_fn(|cx| service.poll_ready(cx)).await.ok().map(|()| service) })
}

/// Calls a readied clone.
pub(super) fn call_readied<'a, S, R>(service: &mut S, request: R) -> Task<'a, Result<(), String>>
where
    S: Service<R, Error: Into<BoxError>, Future: 'a>,
{
    let future = service.call(request);
    Task::new(async move { future.await.map(|_| ()).map_err(|error| error.into().to_string()) })
}

/// How many calls are at the inner service at once, if many are made; the layer's own limit, or all.
pub(super) async fn capacity<K: Subject>(subject: &K, bench: &Bench<K::Service>) -> usize {
    let many = MANY.max(subject.limits_to().map_or(0, |limit| limit + 1));
    bench.probe.set_plan(Plan { answer_after: Plan::NEVER, ..Plan::default() });
    let mut calls: Vec<_> = (0..many).map(|_| oneshot(bench.root.clone(), subject.request())).collect();
    for call in &mut calls {
        // An error is an answer: a layer may refuse what is above its limit.
        let _ = call.run().await;
    }
    let reached = bench.probe.held().in_flight;
    drop(calls);
    time::settle().await;
    reached
}

/// The capacity of a new layer.
pub(super) async fn fresh_capacity<K: Subject>(subject: &K) -> usize {
    capacity(subject, &subject.bench(Plan::default())).await
}

/// After all callers are gone: nothing is held, and as many calls as before get through.
pub(super) async fn all_back<K: Subject>(
    subject: &K,
    bench: &Bench<K::Service>,
    fresh: usize,
    rule: Rule,
    what: &str,
) -> Result<(), Violation> {
    time::settle().await;
    let held = bench.probe.held();
    if held != Held::NOTHING {
        return Err(Violation::new(rule, format!("{what}, and yet: {held}")));
    }
    if !subject.recovery().is_zero() {
        time::advance(subject.recovery()).await;
    }
    let left = capacity(subject, bench).await;
    let lost = match left.cmp(&fresh) {
        Ordering::Less => "the rest of the room is lost",
        Ordering::Greater => "its limit does not hold any more",
        Ordering::Equal => return Ok(()),
    };
    let seen = format!("{what}: {left} calls at once get through, {fresh} when the layer was new; {lost}");
    Err(Violation::new(rule, seen))
}
