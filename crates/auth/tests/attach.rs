//! What the client's layer does, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use std::{
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use towpath_auth::{AttachEvent, AttachLayer, Credential, Issued, RenewConfig, RenewEvent, Renewing, Token};
use towpath_core::{Answer, BoxError, Error, ErrorKind, Live, Processed, Request};
use towpath_testing::time::{settle, timed};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn request() -> Request<()> {
    Request::new("A.B", ())
}

fn token(text: &str) -> Token {
    text.parse().unwrap()
}

/// Answers with the credential of the call.
async fn show(request: Request<()>) -> Result<String, BoxError> {
    Ok(String::from_utf8(request.authorization().unwrap_or_default().to_vec())?)
}

#[track_caller]
fn own(error: &BoxError) -> &Error {
    Error::find(&**error).expect("an error of the layer")
}

/// Issues `t1`, `t2` and so on, each good for `life`, each after `delay`.
fn issuer(delay: Duration, life: Duration) -> (Arc<AtomicU32>, Renewing) {
    let issued = Arc::new(AtomicU32::new(0));
    let count = issued.clone();
    let source = Renewing::new(move || {
        let n = count.fetch_add(1, SeqCst) + 1;
        async move {
            sleep(delay).await;
            Ok(Issued { token: format!("t{n}").parse()?, lifetime: Some(life) })
        }
    });
    (issued, source)
}

#[tokio::test]
async fn a_call_gets_the_token_unless_it_has_one() {
    let service = AttachLayer::new(token("abc")).layer(service_fn(show));
    assert_eq!(service.clone().oneshot(request()).await.unwrap(), "Bearer abc");
    let mut own = request();
    own.set_authorization(&token("mine"));
    assert_eq!(service.oneshot(own).await.unwrap(), "Bearer mine");
}

#[tokio::test]
async fn a_token_can_be_replaced() {
    let live = Live::new(token("old"));
    let service = AttachLayer::new(live.clone()).layer(service_fn(show));
    assert_eq!(service.clone().oneshot(request()).await.unwrap(), "Bearer old");
    live.set(token("new"));
    assert_eq!(service.oneshot(request()).await.unwrap(), "Bearer new");
}

#[tokio::test]
async fn without_a_token_nothing_is_called_and_nothing_held() {
    let none = || Err::<Token, _>(Error::new(ErrorKind::Unauthenticated).because("the file is empty"));
    let seen = Arc::new(Mutex::new(0));
    let count = seen.clone();
    let layer = AttachLayer::new(none).observe(move |event: &AttachEvent| {
        assert!(matches!(event, AttachEvent::NoToken(_)));
        *count.lock().unwrap() += 1;
    });
    let never = service_fn(|_: Request<()>| async { panic!("called") as Result<(), BoxError> });
    let service = ServiceBuilder::new().layer(layer).layer(ConcurrencyLimitLayer::new(1)).service(never);
    let mut first = service.clone();
    let refused = first.ready().await.unwrap().call(request()).await.unwrap_err();
    assert_eq!(
        (own(&refused).kind(), own(&refused).processed()),
        (ErrorKind::Unauthenticated, Processed::No)
    );
    // `first` lives on; the one permit is free nevertheless.
    let mut second = service.clone();
    let mut ready = pin!(second.ready());
    assert!(ready.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(*seen.lock().unwrap(), 1);

    let answer = Answer(|error: Error| error.detail().to_owned());
    let layer = AttachLayer::new(none).on_reject(answer);
    let echo = service_fn(|_: Request<()>| async { Ok::<_, std::convert::Infallible>(String::new()) });
    let Ok(text) = layer.layer(echo).oneshot(request()).await;
    assert_eq!(text, "the file is empty");
}

#[tokio::test(start_paused = true)]
async fn many_first_calls_fetch_one_token() {
    let (issued, source) = issuer(secs(1), secs(600));
    let service = AttachLayer::new(source).layer(service_fn(show));
    let calls: Vec<_> = (0..64).map(|_| tokio::spawn(service.clone().oneshot(request()))).collect();
    // Whoever began it may go away.
    settle().await;
    calls[0].abort();
    for call in calls.into_iter().skip(1) {
        assert_eq!(call.await.unwrap().unwrap(), "Bearer t1");
    }
    assert_eq!(issued.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_before_it_runs_out_and_nobody_waits() {
    let (issued, source) = issuer(secs(5), secs(600));
    let service = AttachLayer::new(source.clone()).layer(service_fn(show));
    let call = || service.clone().oneshot(request());
    assert_eq!(call().await.unwrap(), "Bearer t1");
    // It counts from when it was asked for.
    assert_eq!(source.expires(), Some(Some(Instant::now() + secs(595))));
    advance(secs(534)).await;
    assert_eq!((call().await.unwrap().as_str(), issued.load(SeqCst)), ("Bearer t1", 1));
    advance(secs(1)).await;
    let (answer, took) = timed(call()).await;
    assert_eq!((answer.unwrap().as_str(), took), ("Bearer t1", Duration::ZERO));
    settle().await;
    assert_eq!(issued.load(SeqCst), 2, "60 s before the end");
    assert_eq!(call().await.unwrap(), "Bearer t1");
    assert_eq!(issued.load(SeqCst), 2, "one at a time");
    advance(secs(6)).await;
    settle().await;
    assert_eq!(call().await.unwrap(), "Bearer t2");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_leaves_the_old_token_while_it_is_good() {
    let tries = Arc::new(AtomicU32::new(0));
    let count = tries.clone();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let observe = move |event: &RenewEvent| {
        seen.lock().unwrap().push(matches!(event, RenewEvent::Renewed(_)));
    };
    let source = Renewing::with(RenewConfig::default(), observe, move || {
        let n = count.fetch_add(1, SeqCst);
        async move {
            match n {
                0 => Ok(Issued { token: token("t1"), lifetime: Some(secs(100)) }),
                1 => Err("the token service is down".into()),
                2 => panic!("on purpose"),
                _ => pending().await,
            }
        }
    });
    let service = AttachLayer::new(source.clone()).layer(service_fn(show));
    let call = || service.clone().oneshot(request());
    assert_eq!(call().await.unwrap(), "Bearer t1");
    advance(secs(50)).await;
    for expected in [1, 2, 3] {
        assert_eq!(call().await.unwrap(), "Bearer t1");
        settle().await;
        // Within a second nobody tries again.
        assert_eq!(call().await.unwrap(), "Bearer t1");
        settle().await;
        assert_eq!(tries.load(SeqCst), expected + 1);
        assert!(source.last_error().is_some());
        advance(secs(1)).await;
    }
    // The third one hangs, until its time is up; meanwhile the token runs out.
    advance(secs(47)).await;
    settle().await;
    let error = call().await.unwrap_err();
    assert_eq!((own(&error).kind(), own(&error).processed()), (ErrorKind::Unauthenticated, Processed::No));
    assert_eq!(own(&error).retry_after(), Some(secs(1)));
    advance(secs(1)).await;
    let (outcome, took) = timed(call()).await;
    assert_eq!(own(&outcome.unwrap_err()).retry_after(), Some(secs(1)));
    assert!(took >= secs(10) && took < secs(11), "a fetch of its own, to its end: {took:?}");
    assert_eq!(events.lock().unwrap().first(), Some(&true));
    assert!(events.lock().unwrap().iter().skip(1).all(|renewed| !renewed));
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_its_deadline() {
    let source = Renewing::new(pending::<Result<Issued, BoxError>>);
    let service = AttachLayer::new(source).layer(service_fn(show));
    let mut due = request();
    due.context_mut().set_deadline(Some(Instant::now() + Duration::from_millis(50)));
    let (outcome, took) = timed(service.clone().oneshot(due)).await;
    let error = outcome.unwrap_err();
    assert_eq!((own(&error).kind(), own(&error).processed()), (ErrorKind::DeadlineExceeded, Processed::No));
    assert!(took <= Duration::from_millis(51), "{took:?}");
    // Another one waits for the fetch that is still under way, until that is given up.
    let (outcome, took) = timed(service.oneshot(request())).await;
    assert!(own(&outcome.unwrap_err()).detail().contains("within the time"));
    assert!(took < secs(10) && took > secs(9), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_is_no_part_of_the_call_that_began_it() {
    let source = Renewing::new(|| async {
        let nested = Request::new("Token.Issue", ());
        assert_eq!(nested.context().deadline(), None);
        Ok(Issued { token: token("t1"), lifetime: None })
    });
    let service = AttachLayer::new(source.clone()).layer(service_fn(show));
    let mut due = request();
    due.context_mut().set_deadline(Some(Instant::now() + secs(1)));
    let context = due.context().clone();
    let answer = towpath_core::context::scope(context, service.oneshot(due)).await;
    assert_eq!(answer.unwrap(), "Bearer t1");
    assert_eq!(source.expires(), Some(None));
}

#[tokio::test(start_paused = true)]
async fn a_token_can_be_thrown_away() {
    let (issued, source) = issuer(Duration::ZERO, secs(600));
    let service = AttachLayer::new(source.clone()).layer(service_fn(show));
    let call = || service.clone().oneshot(request());
    assert_eq!(call().await.unwrap(), "Bearer t1");
    source.discard();
    assert_eq!(call().await.unwrap(), "Bearer t2");
    source.renew();
    assert_eq!(call().await.unwrap(), "Bearer t2");
    settle().await;
    advance(secs(1)).await;
    settle().await;
    assert_eq!((call().await.unwrap().as_str(), issued.load(SeqCst)), ("Bearer t3", 3));
}

#[test]
fn outside_a_runtime_it_fails_and_does_not_panic() {
    let source = Renewing::new(pending::<Result<Issued, BoxError>>);
    let mut call = pin!(AttachLayer::new(source).layer(service_fn(show)).call(request()));
    let Poll::Ready(Err(error)) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits")
    };
    assert!(own(&error).detail().contains("no runtime"));
}
