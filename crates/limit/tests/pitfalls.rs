//! How limits go wrong, and that these do not: a test for each known way.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

mod common;

use common::{Workers, config, ms, request, waits};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    thread,
};
use tokio::time::sleep;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use towpath_core::{BoxError, Class, Request, Response};
use towpath_limit::{
    AdmissionConfig, AdmissionLayer, ConcurrencyLimitLayer, LimitBy, QueueOrder, RateConfig, RateLimitLayer,
    ThrottleConfig, ThrottleLayer, WhenFull,
};

/// A clone that was polled ready and is not called: dropped, or lost in a `select!`.
#[tokio::test(start_paused = true)]
async fn pitfall_1_a_readied_clone_that_is_not_called_keeps_nothing() {
    let layer = ConcurrencyLimitLayer::new(config(1, WhenFull::Backpressure));
    let service = layer.layer(Workers::new(9, ms(1)));
    let mut lost = service.clone();
    lost.ready().await.unwrap();
    let mut other = service.clone();
    let mut waiting = task::spawn(async { other.ready().await.map(drop) });
    assert_pending!(waiting.poll());
    drop(lost);
    assert!(waiting.is_woken());
    assert_ready!(waiting.poll()).unwrap();
    drop(waiting);
    drop(other);

    // Readied within a select, which goes another way.
    let mut lost = service.clone();
    tokio::select! {
        biased;
        () = async { lost.ready().await.unwrap(); sleep(ms(1_000)).await } => unreachable!(),
        () = sleep(ms(1)) => drop(lost),
    }
    let mut other = service.clone();
    assert_ready!(task::spawn(other.ready()).poll()).unwrap();
}

/// Random sequences of readying, dropping and calling, with four threads at it.
#[test]
fn pitfall_1_after_ten_thousand_random_steps_all_room_is_back() {
    for when_full in [WhenFull::Backpressure, waits(3, 60_000, QueueOrder::NewestFirst), WhenFull::Reject] {
        let layer = ConcurrencyLimitLayer::new(config(3, when_full));
        let service = layer.layer(service_fn(|steps: u8| {
            let mut left = steps;
            poll_fn(move |_| {
                left = left.saturating_sub(1);
                if left == 0 { Poll::Ready(Ok::<_, BoxError>(())) } else { Poll::Pending }
            })
        }));
        thread::scope(|scope| {
            for seed in 0..4 {
                let service = service.clone();
                scope.spawn(move || random_steps(service, seed));
            }
        });
        let handle = layer.handle();
        assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    }
}

fn random_steps<S>(service: S, seed: u64)
where
    S: Service<u8, Response = (), Error = BoxError> + Clone,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut clones = vec![service.clone()];
    let mut calls: Vec<Pin<Box<S::Future>>> = Vec::new();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for _ in 0..10_000 {
        let at = random.usize(..clones.len());
        match random.u8(..6) {
            0 if clones.len() < 8 => clones.push(clones[at].clone()),
            1 if clones.len() > 1 => drop(clones.swap_remove(at)),
            2 | 3 => {
                if clones[at].poll_ready(&mut cx).is_ready() && random.bool() {
                    calls.push(Box::pin(clones[at].call(random.u8(1..4))));
                }
            }
            4 if !calls.is_empty() => drop(calls.swap_remove(random.usize(..calls.len()))),
            _ => calls.retain_mut(|call| call.as_mut().poll(&mut cx).is_pending()),
        }
        while calls.len() > 8 {
            drop(calls.swap_remove(0));
        }
    }
}

/// An inner service that panics when it is called without its own `poll_ready`.
#[derive(Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Strict::default()
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been readied");
        Box::pin(async {
            sleep(ms(10)).await;
            Ok(Response::new(()))
        })
    }
}

async fn call_many<S>(service: S)
where
    S: Service<Request<()>, Response = Response<()>, Error = BoxError, Future: Send> + Clone + Send + 'static,
{
    let mut calls = Vec::new();
    for _ in 0..8 {
        let mut service = service.clone();
        calls.push(tokio::spawn(async move {
            // Twice with the same clone: what was reserved for one call is not there for the next.
            for _ in 0..2 {
                let called = service.ready().await.unwrap().call(request());
                drop(called.await);
            }
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn pitfall_2_the_clone_that_is_called_is_the_one_that_was_readied() {
    for when_full in [WhenFull::Reject, WhenFull::Backpressure, waits(4, 15, QueueOrder::OldestFirst)] {
        call_many(ConcurrencyLimitLayer::new(config(2, when_full)).layer(Strict::default())).await;
    }
    let rate = RateConfig::try_new(100, ms(1_000)).unwrap().with_burst(4).unwrap();
    call_many(RateLimitLayer::new(rate).layer(Strict::default())).await;
    call_many(RateLimitLayer::new(rate.with_max_wait(ms(30)).unwrap()).layer(Strict::default())).await;
    let admission = AdmissionConfig::try_new(LimitBy::Fixed(2)).unwrap();
    call_many(AdmissionLayer::new(admission.with_queue(0).unwrap()).layer(Strict::default())).await;
    call_many(AdmissionLayer::new(admission).honour_context().layer(Strict::default())).await;
    let soft = |_: Result<&Response<()>, &BoxError>| Class { soft: true, ..Class::FAILURE };
    let throttle = ThrottleConfig::default().with_min_calls(0);
    call_many(ThrottleLayer::new(throttle).classify(soft).layer(Strict::default())).await;
}

/// Clones on many threads, each with a runtime of its own.
fn on_threads<S>(threads: usize, service: S, calls: usize)
where
    S: Service<Request<()>, Response = Response<()>, Error = BoxError> + Clone + Send,
{
    thread::scope(|scope| {
        for _ in 0..threads {
            let service = service.clone();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async {
                    for _ in 0..calls {
                        drop(service.clone().oneshot(request()).await);
                    }
                });
            });
        }
    });
}

#[test]
fn pitfall_25_clones_on_threads_never_exceed_the_limit() {
    for when_full in [WhenFull::Reject, WhenFull::Backpressure, waits(100, 60_000, QueueOrder::OldestFirst)] {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let inner = {
            let (now, most) = (now.clone(), most.clone());
            service_fn(move |_: Request<()>| {
                let (now, most) = (now.clone(), most.clone());
                async move {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    thread::yield_now();
                    now.fetch_sub(1, SeqCst);
                    Ok::<_, BoxError>(Response::new(()))
                }
            })
        };
        let layer = ConcurrencyLimitLayer::new(config(3, when_full));
        on_threads(8, layer.layer(inner), 2_000);
        assert!((1..=3).contains(&most.load(SeqCst)), "{most:?}");
        let handle = layer.handle();
        assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
        // A place that comes free goes to somebody: with 60 s to wait, nobody is refused.
        assert!(handle.refused() == 0 || when_full == WhenFull::Reject, "{handle:?}");
    }
}

#[test]
fn pitfall_25_clones_on_threads_never_exceed_the_rate() {
    let passed = Arc::new(AtomicUsize::new(0));
    let inner = {
        let passed = passed.clone();
        service_fn(move |_: Request<()>| {
            passed.fetch_add(1, SeqCst);
            async { Ok::<_, BoxError>(Response::new(())) }
        })
    };
    // A day for the next one: what passes is the burst, however long the test takes.
    let rate = RateConfig::try_new(1, RateConfig::MAX_PER).unwrap().with_burst(1_000).unwrap();
    let layer = RateLimitLayer::new(rate);
    on_threads(8, layer.layer(inner.clone()), 500);
    assert_eq!((passed.swap(0, SeqCst), layer.handle().refused()), (1_000, 3_000));
    let layer = RateLimitLayer::keyed(rate, |_: &Request<()>, _: &mut towpath_limit::KeyHasher| ());
    on_threads(8, layer.layer(inner), 500);
    assert_eq!((passed.swap(0, SeqCst), layer.handle().refused()), (1_000, 3_000));
}
