//! Which calls an `EnoughTimeLayer` refuses, and how many, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use towpath_core::{Answer, BoxError, Error, ErrorKind, Processed, Request, Response};
use towpath_testing::Contract;
use towpath_timeout::{
    ByMethod, DeadlineLayer, EnoughTime, EnoughTimeConfig, EnoughTimeLayer, TooLittleLeft,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn due_in(method: &'static str, millis: u64) -> Request<()> {
    let mut request = Request::new(method, ());
    request.context_mut().set_deadline(Some(Instant::now() + ms(millis)));
    request
}

/// Takes as long as it is told, by method; counts what reaches it.
#[derive(Clone, Default)]
struct Worker {
    quick: Arc<AtomicU64>,
    slow: Arc<AtomicU64>,
    reached: Arc<AtomicU64>,
}

impl Service<Request<()>> for Worker {
    type Response = ();
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        self.reached.fetch_add(1, SeqCst);
        let takes = if request.method() == "Is.Slow" { &self.slow } else { &self.quick };
        let takes = takes.load(SeqCst);
        Box::pin(async move {
            sleep(ms(takes)).await;
            Ok(())
        })
    }
}

impl Worker {
    fn taking(quick: u64, slow: u64) -> Self {
        let worker = Worker::default();
        worker.quick.store(quick, SeqCst);
        worker.slow.store(slow, SeqCst);
        worker
    }
}

/// 50 calls with time enough.
async fn learn<S>(service: &S, method: &'static str)
where
    S: Service<Request<()>, Error: std::fmt::Debug> + Clone,
{
    for _ in 0..50 {
        service.clone().oneshot(due_in(method, 60_000)).await.unwrap();
    }
}

#[track_caller]
fn own(error: &BoxError) -> &Error {
    let error = Error::find(&**error).expect("an error of the layer");
    assert_eq!((error.kind(), error.processed()), (ErrorKind::DeadlineExceeded, Processed::No));
    error
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_finished_is_not_begun() {
    let worker = Worker::taking(20, 0);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = seen.clone();
    let layer = EnoughTimeLayer::new(EnoughTimeConfig::default())
        .observe(move |event: &TooLittleLeft| events.lock().unwrap().push(*event));
    let service = layer.layer(worker.clone());

    // Nothing is known yet: nobody is refused.
    assert_eq!(layer.handle().usual(), None);
    service.clone().oneshot(due_in("A.B", 1)).await.unwrap();
    learn(&service, "A.B").await;
    let usual = layer.handle().usual().unwrap();
    assert!((ms(17)..=ms(20)).contains(&usual), "{usual:?}");

    let reached = worker.reached.load(SeqCst);
    let error = service.clone().oneshot(due_in("A.B", 10)).await.unwrap_err();
    assert!(own(&error).detail().starts_with("10ms of the deadline left, and it takes about"), "{error}");
    assert_eq!(worker.reached.load(SeqCst), reached, "the worker was left in peace");
    let seen = seen.lock().unwrap();
    assert!(
        seen.len() == 1 && seen[0].refused && seen[0].left == ms(10) && seen[0].wanted == usual,
        "{seen:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn time_enough_and_no_deadline_pass() {
    let service = EnoughTimeLayer::new(EnoughTimeConfig::default()).layer(Worker::taking(20, 0));
    learn(&service, "A.B").await;
    service.clone().oneshot(due_in("A.B", 30)).await.unwrap();
    service.oneshot(Request::new("A.B", ())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_minimum_holds_whatever_was_observed() {
    let config = EnoughTimeConfig::default().with_at_least(ms(5)).unwrap().with_quantile(0.0).unwrap();
    let layer = EnoughTimeLayer::new(config);
    let service = layer.layer(Worker::taking(1, 0));
    own(&service.clone().oneshot(due_in("A.B", 4)).await.unwrap_err());
    service.clone().oneshot(due_in("A.B", 5)).await.unwrap();
    learn(&service, "A.B").await;
    assert_eq!(layer.handle().usual(), None, "it was told not to observe");
    // Replaced while it is used.
    layer.handle().config().update(|config| config.with_at_least(ms(2))).unwrap();
    service.clone().oneshot(due_in("A.B", 4)).await.unwrap();
    let refused = layer.handle().config().update(|config| config.with_max_share(7.0)).unwrap_err();
    assert!(refused.to_string().starts_with("max_share: 7"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn methods_are_judged_apart() {
    let layer = EnoughTimeLayer::new(EnoughTimeConfig::default()).group_by(ByMethod);
    let service = layer.layer(Worker::taking(1, 100));
    learn(&service, "Is.Quick").await;
    learn(&service, "Is.Slow").await;
    service.clone().oneshot(due_in("Is.Quick", 50)).await.unwrap();
    own(&service.clone().oneshot(due_in("Is.Slow", 50)).await.unwrap_err());
}

/// A jump in latency cannot refuse everything: four of five calls go on, and show when it is over.
#[tokio::test(start_paused = true)]
async fn a_jump_in_latency_refuses_a_share_and_heals() {
    let worker = Worker::taking(5, 0);
    let layer = EnoughTimeLayer::new(EnoughTimeConfig::default());
    let service =
        ServiceBuilder::new().layer(DeadlineLayer::inherited()).layer(layer.clone()).service(worker.clone());
    learn(&service, "A.B").await;
    let play = async |calls: u64| {
        let before = layer.handle().counts();
        for _ in 0..calls {
            // The caller gives up when its time is up.
            let _ = timeout(ms(50), service.clone().oneshot(due_in("A.B", 50))).await;
        }
        let after = layer.handle().counts();
        assert_eq!(after.calls - before.calls, calls);
        (after.refused - before.refused, after.spared - before.spared)
    };
    assert_eq!(play(100).await, (0, 0));
    worker.quick.store(80, SeqCst);
    let (refused, spared) = play(1_000).await;
    assert!((150..=210).contains(&refused) && spared > 500, "{refused} {spared}");
    worker.quick.store(5, SeqCst);
    play(300).await;
    assert_eq!(play(100).await, (0, 0), "it has healed");
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_forgotten() {
    let service = EnoughTimeLayer::new(EnoughTimeConfig::default()).layer(Worker::taking(100, 0));
    learn(&service, "A.B").await;
    own(&service.clone().oneshot(due_in("A.B", 10)).await.unwrap_err());
    advance(Duration::from_secs(60)).await;
    service.oneshot(due_in("A.B", 10)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_failed_fast_says_nothing() {
    let fails = service_fn(|_: Request<()>| async { Err::<(), BoxError>("no".into()) });
    let layer = EnoughTimeLayer::new(EnoughTimeConfig::default());
    let service = layer.layer(fails);
    for _ in 0..100 {
        service.clone().oneshot(due_in("A.B", 1_000)).await.unwrap_err();
    }
    assert_eq!(layer.handle().usual(), None);
}

/// What was reserved for a call that is refused is free at once.
#[tokio::test(start_paused = true)]
async fn a_refused_call_gives_its_permit_back() {
    let config = EnoughTimeConfig::default().with_at_least(ms(50)).unwrap();
    let service = ServiceBuilder::new()
        .layer(EnoughTimeLayer::new(config))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Worker::taking(1, 0));
    let mut first = service.clone();
    let refused = first.ready().await.unwrap().call(due_in("A.B", 10));
    own(&refused.await.unwrap_err());
    let mut second = service.clone();
    let mut ready = pin!(second.ready());
    assert!(ready.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn it_can_answer() {
    let never = service_fn(|_: Request<()>| async { panic!("called") as Result<&'static str, Infallible> });
    let config = EnoughTimeConfig::default().with_at_least(ms(50)).unwrap();
    let layer = EnoughTimeLayer::new(config).on_reject(Answer(|error: Error| error.kind().code()));
    let Ok(code) = layer.layer(never).oneshot(due_in("A.B", 10)).await;
    assert_eq!(code, "MCP-W-101");
}

#[test]
fn the_contract() {
    Contract::new(|| EnoughTimeLayer::new(EnoughTimeConfig::default())).verify();
    Contract::new(|| EnoughTimeLayer::new(EnoughTimeConfig::default()).group_by(ByMethod)).verify();
    Contract::new(|| (DeadlineLayer::inherited(), EnoughTimeLayer::new(EnoughTimeConfig::default())))
        .verify();
    // It finds that every call has too little left, and may refuse none.
    let lenient = || {
        let config = EnoughTimeConfig::default().with_at_least(Duration::from_secs(3_600)).unwrap();
        EnoughTimeLayer::new(config.with_max_share(0.0).unwrap())
    };
    let request = || Request::new("A.B", ());
    Contract::<_, Request<()>, u8>::with_types(lenient, request, || 7).verify();
}

#[test]
fn the_auto_traits() {
    type Inner = tower::util::BoxCloneSyncService<Request, Response, BoxError>;
    towpath_testing::assert_send::<EnoughTime<Inner>>();
    towpath_testing::assert_sync::<EnoughTime<Inner>>();
    towpath_testing::assert_unpin::<EnoughTime<Inner>>();
}
