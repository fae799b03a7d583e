//! What is answered in place of what, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use bytes::Bytes;
use std::{
    future::{Ready, pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use towpath_core::{
    BoxError, CallInfo, Class, Error, ErrorCode, ErrorKind, Fault, FromContext, Request, Response, Status,
    Verdict,
};
use towpath_fallback::{
    Declined, Degraded, End, Failure, FallbackConfig, FallbackLayer, FellBack, LastGoodConfig, SameCall,
    Source, Substitute, Substituted, WholeRequest,
};
use towpath_testing::time::timed;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn request(body: &'static str) -> Request {
    Request::new("User.Get", Bytes::from_static(body.as_bytes()))
}

fn due_in(body: &'static str, millis: u64) -> Request {
    let mut request = request(body);
    request.context_mut().set_deadline(Some(Instant::now() + ms(millis)));
    request
}

fn text(body: &'static str) -> Response {
    Response::new(Bytes::from_static(body.as_bytes()))
}

/// Fails as it is told, and else answers with the request's body.
#[derive(Clone, Default)]
struct Backend {
    fails: Arc<Mutex<Option<ErrorKind>>>,
    calls: Arc<AtomicUsize>,
}

impl Backend {
    fn failing(kind: ErrorKind) -> Self {
        let backend = Backend::default();
        backend.fail(Some(kind));
        backend
    }

    fn fail(&self, kind: Option<ErrorKind>) {
        *self.fails.lock().unwrap() = kind;
    }
}

impl Service<Request> for Backend {
    type Response = Response;
    type Error = BoxError;
    type Future = Ready<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        ready(match *self.fails.lock().unwrap() {
            Some(kind) => Err(Error::new(kind).because("on purpose").into()),
            None => Ok(Response::new(request.into_body())),
        })
    }
}

fn why(response: &Response) -> &str {
    response.metadata().get_str("degraded").expect("it says that it is degraded")
}

#[track_caller]
fn kind(error: &BoxError) -> ErrorKind {
    Error::find(&**error).expect("the failure as it was").kind()
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<FellBack>>>);

impl Events {
    fn observer(&self) -> impl Fn(&FellBack) + Clone + use<> {
        let events = self.0.clone();
        move |event| events.lock().unwrap().push(event.clone())
    }

    fn take(&self) -> Vec<FellBack> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn a_good_answer_is_passed_on_as_it_is() {
    let events = Events::default();
    let layer = FallbackLayer::value(text("none")).observe(events.observer());
    let answer = layer.layer(Backend::default()).oneshot(request("Ada")).await.unwrap();
    assert_eq!(answer.body(), "Ada");
    assert!(answer.metadata().is_empty() && answer.extensions().is_empty());
    assert!(events.take().is_empty());
    assert_eq!(layer.handle().counts(), Default::default());
}

#[tokio::test]
async fn a_value_stands_for_a_failure_and_says_so() {
    let events = Events::default();
    let layer = FallbackLayer::value(text("none")).observe(events.observer());
    let service = layer.layer(Backend::failing(ErrorKind::ConnectFailed));
    let answer = service.oneshot(request("Ada")).await.unwrap();
    assert_eq!((&answer.body()[..], why(&answer)), (&b"none"[..], "MCP-E-011; value"));
    let degraded: &Degraded = answer.extensions().get().unwrap();
    assert_eq!((degraded.source, degraded.class.verdict), (Source::Value, Verdict::Failure));
    assert!(degraded.error().unwrap().to_string().contains("on purpose"), "nothing is lost");
    assert!(!why(&answer).contains("on purpose"), "and nothing is told to strangers");
    let events = events.take();
    assert_eq!((events.len(), events[0].end, events[0].source), (1, End::Answered, Source::Value));
    assert!(events[0].error.as_ref().unwrap().to_string().contains("on purpose"));
    assert_eq!(layer.handle().counts().answered, 1);
}

/// The caller's own faults, answers of the application and what was cancelled stay what they are.
#[tokio::test]
async fn only_chosen_failures_are_answered() {
    for kind_ in [ErrorKind::PermissionDenied, ErrorKind::Undecodable, ErrorKind::Cancelled] {
        let service = FallbackLayer::value(text("none")).layer(Backend::failing(kind_));
        assert_eq!(kind(&service.oneshot(request("Ada")).await.unwrap_err()), kind_);
    }
    let no_user = service_fn(|_: Request| async {
        let fault = Fault::new(ErrorCode::from_static("USR-E-001"), "no such user");
        Ok::<_, BoxError>(Response::from(fault))
    });
    let answer = FallbackLayer::value(text("none")).layer(no_user).oneshot(request("Ada")).await.unwrap();
    assert_eq!(answer.status(), Status::Fault);
    assert!(answer.metadata().get("degraded").is_none());

    // Chosen otherwise.
    let when = |class: &Class, _: Result<&Response, &BoxError>| {
        class.code == Some(ErrorKind::Cancelled.error_code())
    };
    let layer = FallbackLayer::value(text("none")).when(when);
    layer.layer(Backend::failing(ErrorKind::Cancelled)).oneshot(request("Ada")).await.unwrap();
    layer.layer(Backend::failing(ErrorKind::ConnectFailed)).oneshot(request("Ada")).await.unwrap_err();
}

#[tokio::test]
async fn a_fault_that_counts_as_a_failure_is_answered_and_kept() {
    let down = service_fn(|_: Request| async {
        let fault = Fault::new(ErrorCode::from_static("USR-E-900"), "the database is away");
        Ok::<_, BoxError>(Response::from(fault))
    });
    let unhealthy = |outcome: Result<&Response, &BoxError>| match outcome {
        Ok(response) if response.is_fault() => {
            Class { code: Some(ErrorCode::from_static("USR-E-900")), ..Class::FAILURE }
        }
        _ => Class::SUCCESS,
    };
    let service = FallbackLayer::value(text("none")).classify(unhealthy).layer(down);
    let answer = service.oneshot(request("Ada")).await.unwrap();
    assert_eq!(why(&answer), "USR-E-900; value");
    let degraded: &Degraded = answer.extensions().get().unwrap();
    assert!(degraded.error().unwrap().to_string().contains("the database is away"));
}

#[tokio::test]
async fn a_function_sees_the_failure_and_may_decline() {
    let events = Events::default();
    let function = |failure: Failure<'_, Response, BoxError>| {
        let overloaded = failure.class.soft;
        overloaded.then(|| Response::new(Bytes::from(failure.outcome.unwrap_err().to_string())))
    };
    let backend = Backend::failing(ErrorKind::Overloaded);
    let layer = FallbackLayer::function(function).observe(events.observer());
    let service = layer.layer(backend.clone());
    let answer = service.clone().oneshot(request("Ada")).await.unwrap();
    assert!(answer.body().starts_with(b"MCP-W-103") && why(&answer) == "MCP-W-103; function");
    backend.fail(Some(ErrorKind::ConnectFailed));
    let error = service.oneshot(request("Ada")).await.unwrap_err();
    assert_eq!(kind(&error), ErrorKind::ConnectFailed);
    assert_eq!(events.take()[1].end, End::Nothing);
    assert_eq!(layer.handle().counts().nothing, 1);
}

#[tokio::test]
async fn a_function_of_the_request_keeps_what_it_needs() {
    let kept = Arc::new(AtomicUsize::new(0));
    let count = kept.clone();
    let keep = move |request: &Request| {
        count.fetch_add(1, SeqCst);
        request.body().len()
    };
    let function =
        |len: usize, _: Failure<'_, Response, BoxError>| Response::new(Bytes::from(len.to_string()));
    let service = FallbackLayer::function_of(keep, function).layer(Backend::failing(ErrorKind::NoEndpoint));
    assert_eq!(service.oneshot(request("four")).await.unwrap().body(), "4");
    assert_eq!(kept.load(SeqCst), 1);

    let function =
        |request: Request, _: Failure<'_, Response, BoxError>| Some(Response::new(request.into_body()));
    let service =
        FallbackLayer::function_of(WholeRequest, function).layer(Backend::failing(ErrorKind::NoEndpoint));
    assert_eq!(service.oneshot(request("four")).await.unwrap().body(), "four");
}

// Another service.

#[tokio::test(start_paused = true)]
async fn another_service_answers_with_the_same_request() {
    let (main, other) = (Backend::failing(ErrorKind::CircuitOpen), Backend::default());
    let service = FallbackLayer::service(other.clone()).layer(main.clone());
    let answer = service.clone().oneshot(request("Ada")).await.unwrap();
    assert_eq!((&answer.body()[..], why(&answer)), (&b"Ada"[..], "MCP-W-105; service"));
    main.fail(None);
    service.oneshot(request("Ada")).await.unwrap();
    assert_eq!((main.calls.load(SeqCst), other.calls.load(SeqCst)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn where_both_fail_the_caller_gets_the_first_failure() {
    let events = Events::default();
    let other = Backend::failing(ErrorKind::RateLimited);
    let layer = FallbackLayer::service(other).observe(events.observer());
    let error =
        layer.layer(Backend::failing(ErrorKind::ConnectFailed)).oneshot(request("Ada")).await.unwrap_err();
    assert_eq!(kind(&error), ErrorKind::ConnectFailed);
    let events = events.take();
    assert_eq!(events[0].end, End::Failed);
    assert!(events[0].error.as_ref().unwrap().to_string().contains("MCP-W-104"), "of the other one");
}

/// Waits until the deadline of its request, as a stack of ours does.
fn hangs()
-> impl Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + Send + 'static {
    service_fn(|request: Request| async move {
        tokio::time::sleep_until(request.context().deadline().unwrap()).await;
        Err::<Response, BoxError>(Error::new(ErrorKind::DeadlineExceeded).into())
    })
}

#[tokio::test(start_paused = true)]
async fn a_reserve_of_the_deadline_is_kept_for_the_other_service() {
    let left = service_fn(|request: Request| async move {
        // What it was given as the reading of the clock would be old.
        assert_eq!(request.context().stamp(), None);
        let left = request.context().remaining(Instant::now()).unwrap().as_millis();
        sleep(ms(20)).await;
        Ok::<_, BoxError>(Response::new(Bytes::from(left.to_string())))
    });
    let layer = FallbackLayer::service(left).honour_context();
    let mut stamped = due_in("Ada", 1_000);
    CallInfo::<_, Response>::start(&FromContext, &mut stamped);
    let (answer, took) = timed(layer.layer(hangs()).oneshot(stamped)).await;
    let left: u64 = std::str::from_utf8(answer.unwrap().body()).unwrap().parse().unwrap();
    assert!((48..=50).contains(&left), "{left}");
    assert!((ms(970)..=ms(973)).contains(&took), "{took:?}");

    // Of a short deadline it is a fifth.
    let (answer, took) = timed(layer.layer(hangs()).oneshot(due_in("Ada", 100))).await;
    assert!(answer.is_err() || took <= ms(102), "{took:?}");
    let quick = FallbackLayer::service(Backend::default()).honour_context();
    let (answer, took) = timed(quick.layer(hangs()).oneshot(due_in("Ada", 100))).await;
    assert!(answer.is_ok() && (ms(80)..=ms(81)).contains(&took), "{took:?}");

    // Replaced while it is used.
    quick.handle().config().set(FallbackConfig::try_new(ms(10)).unwrap());
    let (_, took) = timed(quick.layer(hangs()).oneshot(due_in("Ada", 100))).await;
    assert!((ms(90)..=ms(91)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_answers_at_once_needs_no_reserve() {
    let layer = FallbackLayer::value(text("none")).honour_context();
    let (answer, took) = timed(layer.layer(hangs()).oneshot(due_in("Ada", 100))).await;
    assert_eq!(why(&answer.unwrap()), "MCP-W-101; value");
    assert!((ms(100)..=ms(101)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn another_service_is_given_up_at_the_deadline() {
    struct Alive(Arc<AtomicBool>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.store(false, SeqCst);
        }
    }
    let (events, alive) = (Events::default(), Arc::new(AtomicBool::new(true)));
    let guard = Arc::new(Mutex::new(Some(Alive(alive.clone()))));
    let never = service_fn(move |_: Request| {
        let guard = guard.lock().unwrap().take();
        async move {
            let _guard = guard;
            pending::<Result<Response, BoxError>>().await
        }
    });
    let layer = FallbackLayer::service(never).honour_context().observe(events.observer());
    let service = layer.layer(Backend::failing(ErrorKind::ConnectionLost));
    // Bounded: without the layer's own timer nothing would end it.
    let bounded = tokio::time::timeout(ms(10_000), service.oneshot(due_in("Ada", 300)));
    let (outcome, took) = timed(async { bounded.await.expect("it hangs") }).await;
    assert_eq!(kind(&outcome.unwrap_err()), ErrorKind::ConnectionLost);
    assert!((ms(300)..=ms(301)).contains(&took), "{took:?}");
    assert!(!alive.load(SeqCst));
    assert_eq!((events.take()[0].end, layer.handle().counts().out_of_time), (End::OutOfTime, 1));
}

// The last good answer.

fn reads() -> SameCall {
    SameCall::of(["User.*"])
}

#[tokio::test(start_paused = true)]
async fn the_last_good_answer_is_given_again_until_it_is_too_old() {
    let backend = Backend::default();
    let config = LastGoodConfig::default().with_max_age(ms(10_000)).unwrap();
    let layer = FallbackLayer::last_good(config, reads()).honour_context();
    let service = layer.layer(backend.clone());
    let ask = async |body| service.clone().oneshot(request(body)).await;
    ask("Ada").await.unwrap();
    backend.fail(Some(ErrorKind::ConnectFailed));
    advance(ms(1_500)).await;
    let answer = ask("Ada").await.unwrap();
    assert_eq!((&answer.body()[..], why(&answer)), (&b"Ada"[..], "MCP-E-011; last-good; age=1500"));
    let degraded: &Degraded = answer.extensions().get().unwrap();
    assert_eq!(degraded.age, Some(ms(1_500)));
    assert_eq!(kind(&ask("Grace").await.unwrap_err()), ErrorKind::ConnectFailed);
    advance(ms(8_501)).await;
    ask("Ada").await.unwrap_err();
    let counts = layer.handle().counts();
    assert_eq!((counts.answered, counts.nothing), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_once_in_a_while() {
    let detached = Arc::new(AtomicUsize::new(0));
    let count = detached.clone();
    let layer =
        FallbackLayer::last_good(LastGoodConfig::default(), reads()).detach_with(move |answer: &Response| {
            count.fetch_add(1, SeqCst);
            Some((answer.clone(), answer.body().len()))
        });
    let service = layer.layer(Backend::default());
    for _ in 0..1_000 {
        service.clone().oneshot(request("Ada")).await.unwrap();
        advance(ms(10)).await;
    }
    assert!((10..=11).contains(&detached.load(SeqCst)), "{detached:?} of 1 000 within 10 s");
    let handle = layer.last_good_handle();
    assert_eq!(handle.len(), 1);
    // Each, if so wanted.
    handle.config().update(|config| config.with_refresh(Duration::ZERO)).unwrap();
    let before = detached.load(SeqCst);
    for _ in 0..5 {
        service.clone().oneshot(request("Ada")).await.unwrap();
    }
    assert_eq!(detached.load(SeqCst) - before, 5);
    handle.clear();
    assert!(handle.is_empty() && handle.bytes() == 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded() {
    let config =
        LastGoodConfig::default().with_max_entries(10).and_then(|c| c.with_max_bytes(10_000)).unwrap();
    let layer = FallbackLayer::last_good(config, |request: &Request| Some(request.body().len()));
    let service = layer.layer(Backend::default());
    for len in 1..2_000 {
        let body = Request::new("User.Get", Bytes::from(vec![b'x'; len]));
        service.clone().oneshot(body).await.unwrap();
        let handle = layer.last_good_handle();
        assert!(handle.len() <= 10 && handle.bytes() <= 10_000);
    }
}

/// A small body may be a slice of a large block, and metadata and extensions may be of one call only.
#[tokio::test(start_paused = true)]
async fn what_is_kept_is_a_copy() {
    let block = Bytes::from(vec![b'x'; 64 << 10]);
    let (slice, fails) = (block.slice(0..500), Arc::new(AtomicBool::new(false)));
    let fail = fails.clone();
    let backend = service_fn(move |_: Request| {
        let mut answer = Response::new(slice.clone());
        answer.extensions_mut().insert(7u8);
        ready(if fail.load(SeqCst) { Err::<Response, BoxError>("down".into()) } else { Ok(answer) })
    });
    let service = FallbackLayer::last_good(LastGoodConfig::default(), reads()).layer(backend);
    service.clone().oneshot(request("Ada")).await.unwrap();
    fails.store(true, SeqCst);
    let answer = service.clone().oneshot(request("Ada")).await.unwrap();
    assert_eq!(answer.body(), &block.slice(0..500));
    assert!(!block.as_ptr_range().contains(&answer.body().as_ptr()), "it holds no block");
    assert!(answer.extensions().get::<u8>().is_none());
    assert_eq!(why(&answer), "failed; last-good; age=0");
}

#[tokio::test(start_paused = true)]
async fn a_degraded_answer_is_no_good_one() {
    let backend = Backend::default();
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::last_good(LastGoodConfig::default(), reads()))
        .layer(
            FallbackLayer::value(text("none"))
                .when(|class: &Class, _: Result<&Response, &BoxError>| class.soft),
        )
        .service(backend.clone());
    backend.fail(Some(ErrorKind::Overloaded));
    assert_eq!(why(&service.clone().oneshot(request("Ada")).await.unwrap()), "MCP-W-103; value");
    backend.fail(Some(ErrorKind::ConnectFailed));
    service.clone().oneshot(request("Ada")).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn fallbacks_are_stacked_and_the_outermost_is_the_last_resort() {
    let (backend, second) = (Backend::default(), Backend::default());
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::value(text("none")))
        .layer(FallbackLayer::last_good(LastGoodConfig::default(), reads()))
        .layer(FallbackLayer::service(second.clone()))
        .service(backend.clone());
    let ask = async |body| service.clone().oneshot(request(body)).await.unwrap();
    ask("Ada").await;
    backend.fail(Some(ErrorKind::ConnectFailed));
    assert_eq!(why(&ask("Ada").await), "MCP-E-011; service");
    second.fail(Some(ErrorKind::Draining));
    assert_eq!(why(&ask("Ada").await), "MCP-E-011; last-good; age=0");
    assert_eq!(why(&ask("Grace").await), "MCP-E-011; value");
}

// Of its own, and the rest.

/// A way of one's own: the answer of the day, which is kept nowhere and takes a while.
struct OfTheDay;

impl<Req, Err> Substitute<Req, String, Err> for OfTheDay {
    type Kept = ();
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Substituted<String>, Declined>> + Send>>;

    const WAITS: bool = true;

    fn source(&self) -> Source {
        Source::Other("of-the-day")
    }

    fn keep(&self, _: &Req, _: Option<Instant>) {}

    fn substitute(&self, (): (), _: Failure<'_, String, Err>) -> Self::Future {
        Box::pin(async {
            sleep(ms(5)).await;
            Ok("soup".to_owned().into())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_of_one_s_own_over_foreign_types() {
    let marked = Arc::new(Mutex::new(String::new()));
    let note = marked.clone();
    let fails = service_fn(|_: u8| ready(Err::<String, BoxError>("no".into())));
    let layer = FallbackLayer::new(OfTheDay)
        .classify(|outcome: Result<&String, &BoxError>| outcome.map_or(Class::FAILURE, |_| Class::SUCCESS))
        .mark(move |answer: &mut String, degraded: Degraded| {
            *note.lock().unwrap() = degraded.to_string();
            answer.push('!');
        });
    assert_eq!(layer.layer(fails).oneshot(7).await.unwrap(), "soup!");
    assert_eq!(*marked.lock().unwrap(), "failed; of-the-day");
}

/// A service that fails to be ready fails its call, and that has an answer.
#[tokio::test(start_paused = true)]
async fn what_fails_to_be_ready_is_answered_too() {
    #[derive(Clone)]
    struct Gate(Arc<AtomicBool>);
    impl Service<Request> for Gate {
        type Response = Response;
        type Error = BoxError;
        type Future = Ready<Result<Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            match self.0.load(SeqCst) {
                true => Poll::Ready(Ok(())),
                false => Poll::Ready(Err(Error::new(ErrorKind::CircuitOpen).into())),
            }
        }

        fn call(&mut self, request: Request) -> Self::Future {
            ready(Ok(Response::new(request.into_body())))
        }
    }
    let open = Arc::new(AtomicBool::new(false));
    let mut service = FallbackLayer::value(text("none")).layer(Gate(open.clone()));
    let answer = service.ready().await.unwrap().call(request("Ada")).await.unwrap();
    assert_eq!(why(&answer), "MCP-W-105; value");
    // It has opened since it was asked.
    service.ready().await.unwrap();
    open.store(true, SeqCst);
    assert_eq!(service.call(request("Ada")).await.unwrap().body(), "Ada");
    assert_eq!(service.ready().await.unwrap().call(request("Ada")).await.unwrap().body(), "Ada");
}

/// Neither the clock nor the request is touched where nobody needs them.
#[tokio::test(start_paused = true)]
async fn a_value_leaves_the_request_alone() {
    let stamp = service_fn(|request: Request| async move {
        assert_eq!(request.context().stamp(), None);
        Ok::<_, BoxError>(Response::new(request.into_body()))
    });
    FallbackLayer::value(text("none"))
        .honour_context()
        .layer(stamp)
        .oneshot(due_in("Ada", 100))
        .await
        .unwrap();
}
