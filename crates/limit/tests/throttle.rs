//! Who holds back, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

mod common;

use common::{Events, ms, own};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, advance};
use tower::{Layer, Service, ServiceExt, service_fn};
use towpath_core::{BoxError, Error, ErrorKind, Priority, Processed, Request, Response};
use towpath_limit::{Refusal, ThrottleConfig, ThrottleLayer};

/// A service that refuses when it is told to, and counts.
#[derive(Clone, Default)]
struct Backend {
    refuses: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl Backend {
    fn service(
        &self,
    ) -> impl Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + use<> {
        let Backend { refuses, calls } = self.clone();
        service_fn(move |_: Request| {
            calls.fetch_add(1, SeqCst);
            let refused = refuses.load(SeqCst);
            async move {
                let overloaded = || Error::new(ErrorKind::Overloaded).with_remote(true).into();
                if refused { Err::<_, BoxError>(overloaded()) } else { Ok(Response::default()) }
            }
        })
    }
}

fn call() -> Request {
    Request::new("A.B", "".into())
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_everything_is_left_alone_and_found_again() {
    fastrand::seed(7);
    let (backend, events) = (Backend::default(), Events::default());
    let layer = ThrottleLayer::new(ThrottleConfig::default()).honour_context().observe(events.observer());
    let (handle, service) = (layer.handle(), layer.layer(backend.service()));
    let run = async |calls: u64| {
        let (before, mut own_errors) = (backend.calls.load(SeqCst), 0);
        for _ in 0..calls {
            advance(ms(10)).await;
            if let Err(error) = service.clone().oneshot(call()).await {
                own_errors += u64::from(Error::find(&*error).unwrap().kind() == ErrorKind::RateLimited);
            }
        }
        let sent = backend.calls.load(SeqCst) - before;
        assert_eq!(sent + own_errors, calls);
        sent
    };
    assert_eq!(run(1_000).await, 1_000);
    assert_eq!((handle.share(Instant::now()), handle.calls(), handle.accepted()), (0.0, 1_000, 1_000));
    backend.refuses.store(true, SeqCst);
    // As many again are refused before any is held back.
    assert_eq!(run(1_000).await, 1_000);
    // What was accepted is forgotten after two minutes; then one in twenty goes through.
    let sent = run(12_000).await;
    assert!(sent < 4_000, "{sent}");
    let sent = run(4_000).await;
    assert!((100..=300).contains(&sent), "{sent}");
    assert!(handle.share(Instant::now()) > 0.94);
    assert_eq!(events.refused()[0], (Refusal::Throttled, Duration::ZERO));
    // It recovers: within six minutes nothing is held back any more.
    backend.refuses.store(false, SeqCst);
    run(36_000).await;
    assert_eq!(handle.share(Instant::now()), 0.0);
    assert_eq!(run(1_000).await, 1_000);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_says_so() {
    let backend = Backend::default();
    backend.refuses.store(true, SeqCst);
    let config = ThrottleConfig::default().with_max_share(0.999).unwrap().with_min_calls(2);
    let layer = ThrottleLayer::new(config);
    let service = layer.layer(backend.service());
    let error = loop {
        let error = own(service.clone().oneshot(call()).await);
        if error.kind() == ErrorKind::RateLimited {
            break error;
        }
    };
    assert_eq!((error.processed(), error.is_remote()), (Processed::No, false));
    // One in `1 / (1 - share)` goes through: it is told to come so many seconds later.
    let share = layer.handle().share(Instant::now());
    let after = error.retry_after().unwrap();
    assert!(after >= ms(1_000) && after.as_secs_f64() <= 1.0 / (1.0 - share), "{after:?} at {share}");
    assert!(after > ms(2_000), "all calls were refused, and more than half of them are held back: {after:?}");
    assert!(error.to_string().contains("% are held back"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_about_refusals_does_not_count() {
    let layer = ThrottleLayer::new(ThrottleConfig::default());
    let service = layer.layer(service_fn(|_: Request| async {
        Err::<Response, BoxError>(Error::new(ErrorKind::ConnectionLost).into())
    }));
    for _ in 0..100 {
        assert_eq!(own(service.clone().oneshot(call()).await).kind(), ErrorKind::ConnectionLost);
    }
    drop(service.clone().oneshot(call()));
    assert_eq!((layer.handle().calls(), layer.handle().share(Instant::now())), (0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn another_window_begins_empty() {
    let backend = Backend::default();
    backend.refuses.store(true, SeqCst);
    let layer = ThrottleLayer::new(ThrottleConfig::default());
    let (handle, service) = (layer.handle(), layer.layer(backend.service()));
    for _ in 0..50 {
        service.clone().oneshot(call()).await.unwrap_err();
    }
    assert!(handle.share(Instant::now()) > 0.9);
    handle.config().set(ThrottleConfig::try_new(2.0, Duration::from_secs(10)).unwrap());
    assert_eq!((handle.share(Instant::now()), handle.calls()), (0.0, 0));
}

/// A service that lets in 100 calls a second, those of the highest priority first.
#[tokio::test(start_paused = true)]
async fn what_the_service_accepts_is_not_held_back_for_what_it_sheds() {
    fastrand::seed(3);
    let sent = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let layer = ThrottleLayer::new(ThrottleConfig::default()).honour_context();
    let (handle, counted) = (layer.handle(), sent.clone());
    let service = layer.layer(service_fn(move |request: Request| {
        let is_high = request.context().priority() == Priority::HIGHEST;
        counted[usize::from(is_high)].fetch_add(1, SeqCst);
        // All of the 100 are of the high ones.
        async move {
            match is_high {
                true => Ok(Response::default()),
                false => Err::<_, BoxError>(Error::new(ErrorKind::Overloaded).with_remote(true).into()),
            }
        }
    }));
    let call = |priority| {
        let mut request = call();
        request.context_mut().set_priority(priority);
        service.clone().oneshot(request)
    };
    for _ in 0..3_000 {
        advance(ms(10)).await;
        assert!(call(Priority::HIGHEST).await.is_ok(), "it was held back");
        // Three times as many that are all refused.
        for _ in 0..3 {
            assert!(call(Priority::default()).await.is_err());
        }
    }
    let now = Instant::now();
    assert_eq!(handle.share_of(Priority::HIGHEST, now), 0.0);
    assert!(handle.share_of(Priority::default(), now) > 0.94);
    let all = handle.share(now);
    assert!((0.70..0.73).contains(&all), "three of four, 19 of 20 times: {all}");
    assert_eq!((handle.calls(), handle.accepted()), (12_000, 3_000));
    let [low, high] = sent.map(|sent| sent.load(SeqCst));
    assert_eq!(high, 3_000);
    assert!(low < 9_000 / 12, "{low} of 9 000 were sent");
}
