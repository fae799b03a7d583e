//! Limits that reach to the last byte of a body, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, Interval, interval, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use towpath_core::{AnswerHttp, BoxError, Error, ErrorKind, Processed, Request, Response};
use towpath_testing::{Contract, time::timed};
use towpath_timeout::{Limit, Phase, TimedBody, TimedOut, TimeoutConfig, TimeoutLayer};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn limit(millis: u64) -> TimeoutConfig {
    TimeoutConfig::try_new(ms(millis)).unwrap()
}

/// A body of `left` bytes, one per tick, the first at once; says when it is dropped.
struct Drip {
    tick: Option<Interval>,
    left: usize,
    dropped: Arc<AtomicBool>,
}

impl http_body::Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(tick) = &mut self.tick {
            std::task::ready!(tick.poll_tick(cx));
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"x")))))
    }
}

impl Drop for Drip {
    fn drop(&mut self) {
        self.dropped.store(true, SeqCst);
    }
}

type Gone = Arc<AtomicBool>;
type Events = Arc<Mutex<Vec<TimedOut>>>;

/// Answers after `head`, with a byte each `tick` (0: at once).
async fn call(
    layer_limit: u64,
    head: u64,
    tick: u64,
    bytes: usize,
) -> (Result<http::Response<TimedBody<Drip, impl Fn(&TimedOut) + Clone>>, BoxError>, Gone, Events) {
    let (gone, events) = (Gone::default(), Events::default());
    let (dropped, seen) = (gone.clone(), events.clone());
    let service = service_fn(move |(): ()| {
        let dropped = dropped.clone();
        async move {
            sleep(ms(head)).await;
            let tick = (tick > 0).then(|| interval(ms(tick)));
            Ok::<_, BoxError>(http::Response::new(Drip { tick, left: bytes, dropped }))
        }
    });
    let layer = TimeoutLayer::new(limit(layer_limit))
        .whole_call()
        .observe(move |event: &TimedOut| seen.lock().unwrap().push(*event));
    (layer.layer(service).oneshot(()).await, gone, events)
}

#[track_caller]
fn own(error: &BoxError) -> &Error {
    let error = Error::find(&**error).expect("an error of the layer");
    assert_eq!((error.kind(), error.processed()), (ErrorKind::DeadlineExceeded, Processed::Unknown));
    error
}

/// Pitfall 18: the wrong phase is timed. One byte a second drips in, and the deadline fires all the same.
#[tokio::test(start_paused = true)]
async fn p18_a_body_that_drips_in_ends_with_the_deadline() {
    let start = Instant::now();
    let (answer, gone, events) = call(3_500, 500, 1_000, 60).await;
    let mut body = answer.unwrap().into_body();
    let mut bytes = 0;
    let error = loop {
        match body.frame().await.expect("it fails before it ends") {
            Ok(frame) => bytes += frame.into_data().unwrap().len(),
            Err(error) => break error,
        }
    };
    // At 500 ms, 1.5 s, 2.5 s; the one of 3.5 s meets the deadline, and either may be first.
    assert!((3..=4).contains(&bytes), "{bytes}");
    assert!((ms(3_500)..=ms(3_501)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(own(&error).detail(), "the answer had no end within 3.5s");
    assert!(gone.load(SeqCst), "the connection below learns that nobody reads any more");
    assert!(body.frame().await.is_none() && http_body::Body::is_end_stream(&body));
    let events = events.lock().unwrap().clone();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].phase, events[0].limit, events[0].allowed),
        (Phase::Answering, Limit::Total, ms(3_500))
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_to_the_first_response_leaves_the_body_its_time() {
    let service = service_fn(|(): ()| async {
        sleep(ms(90)).await;
        Ok::<_, BoxError>(http::Response::new(Drip {
            tick: Some(interval(ms(1_000))),
            left: 5,
            dropped: Gone::default(),
        }))
    });
    let answer = TimeoutLayer::new(limit(100)).layer(service).oneshot(()).await.unwrap();
    let (body, took) = timed(answer.into_body().collect()).await;
    assert_eq!(body.unwrap().to_bytes().len(), 5);
    assert!(took >= ms(4_000) - ms(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_in_time_is_passed_on_whole() {
    let (answer, _, events) = call(10_000, 10, 100, 7).await;
    let body = answer.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), Bytes::from_static(b"xxxxxxx"));
    assert!(events.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_late_is_late_as_ever() {
    let (answer, _, events) = call(100, 5_000, 0, 1).await;
    own(&answer.err().unwrap());
    assert_eq!(events.lock().unwrap()[0].phase, Phase::Called);
}

/// Frames that are always there do not outrun the clock.
#[tokio::test(start_paused = true)]
async fn a_body_that_never_waits_ends_with_the_deadline() {
    let (answer, gone, _) = call(100, 0, 0, usize::MAX).await;
    let mut body = answer.unwrap().into_body();
    for _ in 0..50 {
        assert!(body.frame().await.unwrap().is_ok());
    }
    // The reader takes its time: that counts, too.
    sleep(ms(101)).await;
    own(&body.frame().await.unwrap().unwrap_err());
    assert!(gone.load(SeqCst));
}

#[test]
fn a_body_in_one_piece_needs_no_timer() {
    // Outside a runtime a timer would panic.
    let service = service_fn(|(): ()| {
        std::future::ready(Ok::<_, BoxError>(http::Response::new(Full::<Bytes>::from("whole"))))
    });
    let mut cx = Context::from_waker(Waker::noop());
    let mut call = std::pin::pin!(TimeoutLayer::new(limit(10)).whole_call().layer(service).call(()));
    let Poll::Ready(Ok(answer)) = std::future::Future::poll(call.as_mut(), &mut cx) else { panic!("waits") };
    let mut body = std::pin::pin!(answer.into_body());
    assert_eq!(http_body::Body::size_hint(&*body).exact(), Some(5));
    assert!(matches!(http_body::Body::poll_frame(body.as_mut(), &mut cx), Poll::Ready(Some(Ok(_)))));
    assert!(matches!(http_body::Body::poll_frame(body.as_mut(), &mut cx), Poll::Ready(None)));
}

/// What comes whole needs no more than the first response.
#[tokio::test(start_paused = true)]
async fn an_mcp_answer_is_as_it_was() {
    let echo =
        service_fn(|request: Request| async move { Ok::<_, BoxError>(Response::new(request.into_body())) });
    let service = TimeoutLayer::new(limit(10)).whole_call().layer(echo);
    let answer: Response = service.oneshot(Request::new("A.B", Bytes::from_static(b"x"))).await.unwrap();
    assert_eq!(answer.body(), "x");
}

/// An axum router within a short limit to the first response, within a longer one for the whole call.
#[tokio::test(start_paused = true)]
async fn both_limits_around_axum() {
    let drip = |head: u64| {
        move || async move {
            sleep(ms(head)).await;
            Body::new(Drip { tick: Some(interval(ms(1_000))), left: 60, dropped: Gone::default() })
        }
    };
    let app = Router::new()
        .route("/drip", get(drip(10)))
        .route("/late", get(drip(500)))
        .layer(TimeoutLayer::new(limit(200)).on_reject(AnswerHttp))
        .layer(TimeoutLayer::new(limit(2_000)).whole_call().on_reject(AnswerHttp));
    let to = |path| http::Request::builder().uri(path).body(Body::empty()).unwrap();
    let Ok(late) = app.clone().oneshot(to("/late")).await;
    assert_eq!(late.status(), 504);
    assert!(late.into_body().collect().await.unwrap().to_bytes().is_empty());
    let Ok(drip) = app.oneshot(to("/drip")).await;
    assert_eq!(drip.status(), 200);
    let (body, took) = timed(drip.into_body().collect()).await;
    assert!(body.unwrap_err().to_string().contains("MCP-W-101"));
    assert!((ms(1_900)..=ms(2_000)).contains(&took), "{took:?}");
}

#[test]
fn the_contract_over_http() {
    let layer = || TimeoutLayer::new(limit(500)).honour_context().on_reject(AnswerHttp).whole_call();
    Contract::<_, http::Request<Body>, http::Response<Body>, Infallible>::with_types(
        layer,
        || http::Request::new(Body::empty()),
        || http::Response::new(Body::empty()),
    )
    .gives_up_after(ms(500))
    .verify();
}
