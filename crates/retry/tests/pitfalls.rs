//! How stacks die, and what keeps this one from it: as far as one layer can show it.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not #[test] themselves

mod common;

use common::{Events, Script, Step::*, request};
use std::{
    future::{Future, ready},
    io,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{self, Poll, Waker},
    thread,
    time::Duration,
};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use towpath_core::{
    BoxError, Budget, BudgetConfig, Error, ErrorKind, Request, Response,
    context::{self, Scope},
};
use towpath_retry::{GaveUp, RetryConfig, RetryEvent, RetryLayer};

/// One retry without a wait, from this budget.
fn config(share: f64, per_second: u32) -> RetryConfig {
    RetryConfig::default()
        .with_max_attempts(2)
        .unwrap()
        .with_at_once(1)
        .with_budget(BudgetConfig::try_new(share, per_second).unwrap())
}

fn refused() -> Result<Response, BoxError> {
    Err(Error::new(ErrorKind::ConnectFailed).into())
}

/// Runs a future that never waits.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[tokio::test(start_paused = true)]
async fn pitfall_9_exact_at_100_1_000_and_100_000_calls_a_second() {
    for (rate, seconds) in [(100u64, 5), (1_000, 4), (100_000, 1)] {
        let layer = RetryLayer::new(config(0.2, 10)).honour_context();
        let mut clones = vec![layer.layer(service_fn(|_: Request| ready(refused()))); 3];
        let steps = (rate * seconds).min(1_000 * seconds);
        for step in 0..steps {
            for call in 0..rate * seconds / steps {
                let _ = clones[((step + call) % 3) as usize].call(request()).await;
            }
            tokio::time::advance(Duration::from_nanos(seconds * 1_000_000_000 / steps)).await;
        }
        let counts = layer.handle().counts();
        assert_eq!((counts.calls, counts.gave_up), (rate * seconds, rate * seconds));
        assert_eq!(counts.retries, (rate / 5 + 10) * seconds, "at {rate} calls a second");
        assert_eq!(counts.retries + counts.budget_exhausted, counts.calls);
    }
}

#[tokio::test(start_paused = true)]
async fn pitfall_9_idle_and_busy() {
    let layer = RetryLayer::new(config(0.2, 10)).honour_context();
    let service = layer.layer(Script::always(Answer("there")));
    let broken = layer.layer(Script::always(Fail(ErrorKind::ConnectFailed)));
    // Successes pay in, for ten seconds; the reserve does not add up.
    for _ in 0..100 {
        service.clone().oneshot(request()).await.unwrap();
    }
    assert_eq!(layer.handle().balance(), 10 + 20);
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(layer.handle().balance(), 10 + 20);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(layer.handle().balance(), 10);
    for _ in 0..30 {
        let _ = broken.clone().oneshot(request()).await;
    }
    assert_eq!(layer.handle().counts().retries, 10 + 30 / 5);
}

#[test]
fn pitfall_9_exact_across_clones_and_threads() {
    const CALLS: u64 = 25_000;
    let layer = RetryLayer::new(config(0.2, 0)).honour_context();
    let service = layer.layer(service_fn(|_: Request| ready(refused())));
    thread::scope(|scope| {
        for _ in 0..4 {
            let mut service = service.clone();
            scope.spawn(move || {
                (0..CALLS).for_each(|_| drop(at_once(service.call(Request::new("A.B", Default::default())))));
            });
        }
    });
    let counts = layer.handle().counts();
    assert_eq!((counts.calls, counts.retries), (4 * CALLS, 4 * CALLS / 5));
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_shared_between_layers() {
    let budget = Budget::new(BudgetConfig::try_new(0.0, 3).unwrap());
    let layer = || RetryLayer::new(config(5.0, 100)).honour_context().share_budget(budget.clone());
    let (one, two) = (layer(), layer());
    for layer in [&one, &two, &one, &two] {
        let _ = layer.layer(Script::always(Fail(ErrorKind::ConnectFailed))).oneshot(request()).await;
    }
    assert_eq!((one.handle().counts().retries, two.handle().counts().retries), (2, 1));
    assert_eq!((one.handle().balance(), budget.config().per_second()), (0, 3));
}

type Hop = BoxCloneSyncService<Request, Response, BoxError>;

/// A service that calls the next one in the context of its own call, as a server does.
fn hop(next: Hop) -> Hop {
    let layer = RetryLayer::new(RetryConfig::default().with_budget(BudgetConfig::try_new(0.2, 0).unwrap()));
    let client = BoxCloneSyncService::new(layer.honour_context().layer(next));
    BoxCloneSyncService::new(service_fn(move |request: Request| {
        let (client, context) = (client.clone(), request.context().clone());
        async move {
            let mut below = Request::new("Next.Hop", request.body().clone());
            below.context_mut().set_idempotent(true);
            client.oneshot(below).await
        }
        .with_context(context)
    }))
}

#[tokio::test(start_paused = true)]
async fn pitfall_8_a_chain_does_not_multiply() {
    for fails in [ErrorKind::ConnectFailed, ErrorKind::ConnectionLost, ErrorKind::HandlerFailed] {
        let arrived = Arc::new(AtomicU64::new(0));
        let count = arrived.clone();
        let c = service_fn(move |_: Request| {
            count.fetch_add(1, SeqCst);
            ready(Err::<Response, _>(BoxError::from(Error::new(fails))))
        });
        // A calls B, B calls C; and one more, for good measure.
        let a = hop(hop(hop(BoxCloneSyncService::new(c))));
        for _ in 0..1_000 {
            let error = context::background(a.clone().oneshot(request())).await.unwrap_err();
            assert!(Error::find(&*error).unwrap().is_retry_stop(), "{fails:?}");
        }
        assert!(arrived.load(SeqCst) <= 1_200, "{fails:?}: {}", arrived.load(SeqCst));
        assert!(arrived.load(SeqCst) >= 1_100, "{fails:?}: it does retry at all");
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn pitfall_26_what_cannot_be_copied_is_said_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let events = Events::default();
    let layer = RetryLayer::new(config(0.2, 10)).honour_context().copy_by(|_: &Request| None);
    let layer = layer.observe(events.observer());
    let script = Script::always(Fail(ErrorKind::ConnectFailed));
    let service = layer.layer(script.clone());
    for _ in 0..3 {
        let error = service.clone().oneshot(request()).await.unwrap_err();
        // Somebody further up may have a copy.
        assert!(!common::own(&error).is_retry_stop());
    }
    assert_eq!((script.seen().len(), layer.handle().counts().not_copied), (3, 3));
    let seen = events.take();
    assert_eq!(seen.iter().filter(|event| **event == RetryEvent::CannotCopy).count(), 1);
    let gave_up = RetryEvent::GaveUp { why: GaveUp::CannotCopy, attempts: 1 };
    assert_eq!(seen.iter().filter(|event| **event == gave_up).count(), 3);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("cannot be copied").count(), 1, "{log}");
    assert!(log.contains("WARN"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_copied_where_nothing_is_attempted_again() {
    let copied = Arc::new(AtomicU64::new(0));
    let copy = |copied: &Arc<AtomicU64>| {
        let copied = copied.clone();
        move |request: &Request| {
            copied.fetch_add(1, SeqCst);
            Some(request.clone())
        }
    };
    for config in [config(0.0, 0), RetryConfig::default().with_max_attempts(1).unwrap()] {
        let layer = RetryLayer::new(config).honour_context().copy_by(copy(&copied));
        assert!(
            layer.layer(Script::always(Fail(ErrorKind::ConnectFailed))).oneshot(request()).await.is_err()
        );
    }
    let mut again = request();
    again.context_mut().set_attempt(1);
    let layer = RetryLayer::new(config(0.2, 10)).honour_context().copy_by(copy(&copied));
    layer.layer(Script::always(Late(1, "there"))).oneshot(again).await.unwrap();
    assert_eq!(copied.load(SeqCst), 0);
    layer.layer(Script::always(Answer("there"))).oneshot(request()).await.unwrap();
    assert_eq!(copied.load(SeqCst), 1);
}
