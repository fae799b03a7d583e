//! The router as a server sees it: a service from request to response.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};
use std::{
    future::{Future, pending, poll_fn, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context as Task, Poll, Wake, Waker},
    time::Duration,
};
use tokio::time::timeout;
use tower::{Service, ServiceExt, service_fn};
use towpath_core::{
    Acceptance, BoxError, CodecId, Context, Error, ErrorCode, ErrorKind, Fault, Metadata, Method, Mode,
    Request, Response,
    context::{Field, TraceContext},
};
use towpath_transport::router::{
    Extension, FromParts, FromRef, FromRequest, Handler, InvalidRoute, Json, METHODS, MethodInfo, Protobuf,
    Raw, Router, State, Typed,
};

#[derive(Clone, PartialEq, Serialize, Deserialize, Message)]
struct Sum {
    #[prost(int64, tag = "1")]
    a: i64,
    #[prost(int64, tag = "2")]
    b: i64,
}

fn request(method: &'static str, codec: CodecId, body: impl Into<Bytes>) -> Request {
    let mut request = Request::new(method, body.into());
    request.set_codec(codec);
    request
}

fn json(method: &'static str, body: &'static str) -> Request {
    request(method, CodecId::JSON, body)
}

async fn call(router: &Router, request: Request) -> Response {
    // A call that nobody wakes fails its test instead of stopping all.
    timeout(Duration::from_secs(10), router.clone().oneshot(request)).await.unwrap().unwrap()
}

async fn text(router: &Router, request: Request) -> String {
    let response = call(router, request).await;
    assert!(!response.is_fault(), "{:?}", response.body());
    String::from_utf8(response.into_body().to_vec()).unwrap()
}

async fn fault(router: &Router, request: Request) -> Fault {
    Fault::from_response(&call(router, request).await).unwrap()
}

async fn add(Json(ask): Json<Sum>) -> Json<i64> {
    Json(ask.a + ask.b)
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Notes how often an asynchronous call was accepted.
fn accepting(request: &mut Request) -> Arc<AtomicUsize> {
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    request.set_mode(Mode::Async);
    request.extensions_mut().insert(Acceptance::new(move || {
        count.fetch_add(1, Relaxed);
    }));
    accepted
}

#[tokio::test]
async fn a_json_call_is_answered_in_json() {
    let router = Router::new().route("Math.Add", add);
    let response = call(&router, json("Math.Add", r#"{"a":2,"b":3}"#)).await;
    assert_eq!((response.codec(), &response.body()[..]), (CodecId::JSON, &b"5"[..]));
}

#[tokio::test]
async fn a_protobuf_call_is_answered_in_protobuf() {
    async fn swap(Protobuf(s): Protobuf<Sum>) -> Protobuf<Sum> {
        Protobuf(Sum { a: s.b, b: s.a })
    }
    async fn same(Typed(s): Typed<Sum>) -> Typed<Sum> {
        Typed(s)
    }
    let router = Router::new().route("Math.Swap", swap).route("Math.Same", same);
    let body = Sum { a: 1, b: 2 }.encode_to_vec();
    let response = call(&router, request("Math.Swap", CodecId::PROTOBUF, body.clone())).await;
    assert_eq!(response.codec(), CodecId::PROTOBUF);
    assert_eq!(Sum::decode(response.into_body()).unwrap(), Sum { a: 2, b: 1 });
    let response = call(&router, request("Math.Same", CodecId::PROTOBUF, body.clone())).await;
    assert_eq!((response.codec(), &response.body()[..]), (CodecId::PROTOBUF, &body[..]));
    assert_eq!(text(&router, json("Math.Same", r#"{"b":2,"a":1}"#)).await, r#"{"a":1,"b":2}"#);
}

#[tokio::test]
async fn raw_goes_as_it_came() {
    let router = Router::new()
        .route("Echo.Echo", async |raw: Raw| raw)
        .route("Echo.Bytes", async |body: Bytes| body)
        .route("Echo.Request", async |request: Request| request.into_body());
    for codec in [CodecId::RAW, CodecId::JSON, CodecId::PROTOBUF, CodecId(200)] {
        let response = call(&router, request("Echo.Echo", codec, "any")).await;
        assert_eq!((response.codec(), &response.body()[..]), (codec, &b"any"[..]));
    }
    for method in ["Echo.Bytes", "Echo.Request"] {
        let response = call(&router, json(method, "any")).await;
        assert_eq!((response.codec(), &response.body()[..]), (CodecId::RAW, &b"any"[..]));
    }
}

#[tokio::test]
async fn six_arguments_and_none() {
    #[derive(Clone)]
    struct App {
        greeting: Arc<str>,
    }
    impl FromRef<App> for Arc<str> {
        fn from_ref(app: &App) -> Self {
            app.greeting.clone()
        }
    }
    async fn six(
        method: Method,
        metadata: Metadata,
        context: Context,
        State(greeting): State<Arc<str>>,
        Extension(who): Extension<&'static str>,
        Json(n): Json<u32>,
    ) -> String {
        let key = metadata.get_str("k").unwrap().to_owned();
        format!("{greeting} {who}: {method} {key} {} {n}", context.attempt())
    }
    async fn none() {}
    let router =
        Router::new().route("A.Six", six).route("A.None", none).with_state(App { greeting: "hello".into() });
    let mut ask = json("A.Six", "7");
    ask.metadata_mut().insert("k", "v").unwrap();
    ask.context_mut().set_attempt(3);
    ask.extensions_mut().insert("you");
    assert_eq!(text(&router, ask).await, "hello you: A.Six v 3 7");
    assert_eq!(text(&router, json("A.None", "anything")).await, "null");
}

#[tokio::test]
async fn arguments_of_one_s_own() {
    struct Tenant(String);
    impl<S> FromParts<S> for Tenant {
        fn from_parts(request: &Request, _: &S) -> Result<Self, Fault> {
            let name = request.metadata().get_str("tenant");
            name.map(|name| Tenant(name.into()))
                .ok_or_else(|| Fault::new(ErrorCode::from_static("TEN-E-001"), "who are you"))
        }
    }
    struct Lines(usize);
    impl<S> FromRequest<S> for Lines {
        fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
            Ok(Lines(request.body().split(|b| *b == b'\n').count()))
        }
    }
    let router = Router::new()
        .route("A.Count", async |Tenant(name): Tenant, Lines(n): Lines| format!("{name} {n}"))
        .route("A.Who", async |Tenant(name): Tenant| name);
    let mut ask = request("A.Count", CodecId::RAW, "a\nb");
    assert_eq!(fault(&router, ask.clone()).await.code(), "TEN-E-001");
    ask.metadata_mut().insert("tenant", "acme").unwrap();
    assert_eq!(text(&router, ask.clone()).await, "acme 2");
    ask.set_method("A.Who");
    assert_eq!(text(&router, ask).await, "acme");
}

#[tokio::test]
async fn what_is_refused_is_not_processed_and_keeps_the_trace() {
    let router = Router::new().route("Math.Add", add);
    let trace = TraceContext::random(true);
    for (mut ask, code, says) in [
        (json("Math.Sub", "{}"), "MCP-E-004", "Math.Sub"),
        (json("Math", "{}"), "MCP-E-004", "Math"),
        (json("math.add", "{}"), "MCP-E-004", "math.add"),
        (request("Math.Add", CodecId::PROTOBUF, ""), "MCP-E-005", "Math.Add takes JSON"),
        (request("Math.Add", CodecId::RAW, "{}"), "MCP-E-005", "Math.Add takes JSON"),
        (json("Math.Add", r#"{"a":1}"#), "MCP-E-006", "missing field `b`"),
        (json("Math.Add", ""), "MCP-E-006", "Math.Add"),
    ] {
        let accepted = accepting(&mut ask);
        ask.context_mut().set_trace(Some(trace));
        let codec = ask.codec();
        let response = call(&router, ask).await;
        let expected = if codec == CodecId::PROTOBUF { CodecId::PROTOBUF } else { CodecId::JSON };
        assert_eq!(response.codec(), expected);
        let fault = Fault::from_response(&response).unwrap();
        assert_eq!(fault.code(), code);
        assert!(fault.message().contains(says), "{fault}");
        assert!(fault.not_processed());
        assert_eq!(fault.trace_id(), Some(&*trace.trace_id.to_string()));
        assert_eq!(accepted.load(Relaxed), 0, "{code}");
    }
}

#[tokio::test]
async fn a_foreign_trace_id_comes_back_as_it_was() {
    let mut ask = json("No.Such", "");
    ask.context_mut().set_field(Field::TraceText, Some(Bytes::from_static(b"a1b2c3d4")));
    assert_eq!(fault(&Router::new(), ask).await.trace_id(), Some("a1b2c3d4"));
    assert!(fault(&Router::new(), json("No.Such", "")).await.trace_id().is_some());
}

#[tokio::test]
async fn a_fault_is_an_answer_that_says_it_was_processed() {
    #[derive(Debug)]
    struct Short;
    impl From<Short> for Fault {
        fn from(_: Short) -> Fault {
            Fault::new(ErrorCode::from_static("INV-E-003"), "short")
        }
    }
    let router = Router::new()
        .route("A.Plain", async || Err::<(), _>(Fault::new(ErrorCode::from_static("ORD-E-102"), "no")))
        .route("A.Own", async || Err::<Json<u8>, _>(Short))
        .route("A.Fine", async || Ok::<_, Short>(Json(1)));
    let plain = fault(&router, json("A.Plain", "")).await;
    assert_eq!((plain.code().as_str(), plain.message(), plain.not_processed()), ("ORD-E-102", "no", false));
    let response = call(&router, request("A.Own", CodecId::PROTOBUF, "")).await;
    assert_eq!(response.codec(), CodecId::PROTOBUF);
    assert_eq!(Fault::from_response(&response).unwrap().code(), "INV-E-003");
    assert_eq!(text(&router, json("A.Fine", "")).await, "1");
}

#[tokio::test]
async fn an_asynchronous_call_is_accepted_after_decoding_and_before_the_handler_runs() {
    let seen = Arc::new(AtomicUsize::new(usize::MAX));
    for spawned in [false, true] {
        let mut ask = json("A.B", "1");
        let accepted = accepting(&mut ask);
        let (seen, now) = (seen.clone(), accepted.clone());
        let handler = {
            let seen = seen.clone();
            move |_: Json<u8>| {
                seen.store(now.load(Relaxed), Relaxed);
                ready(())
            }
        };
        let router = if spawned {
            Router::new().route("A.B", handler.spawned())
        } else {
            Router::new().route("A.B", handler)
        };
        call(&router, ask).await;
        assert_eq!((seen.load(Relaxed), accepted.load(Relaxed)), (1, 1), "spawned: {spawned}");
    }
    // Without arguments there is nothing to decode.
    let mut ask = json("A.B", "not json");
    let accepted = accepting(&mut ask);
    call(&Router::new().route("A.B", async || ()), ask).await;
    assert_eq!(accepted.load(Relaxed), 1);
}

#[tokio::test]
async fn a_spawned_call_begins_at_its_second_poll() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    async fn heavy(State(factor): State<u32>, Json(n): Json<u32>) -> Json<u32> {
        RUNS.fetch_add(1, Relaxed);
        Json(n * factor)
    }
    let mut router = Router::new().route("A.Heavy", heavy.spawned()).with_state(3);
    let mut ask = json("A.Heavy", "2");
    let accepted = accepting(&mut ask);
    let mut future = pin!(router.call(ask));
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut task = Task::from_waker(&waker);
    assert!(future.as_mut().poll(&mut task).is_pending());
    assert_eq!((RUNS.load(Relaxed), accepted.load(Relaxed)), (0, 0));
    // An executor that does not move it has to be told to poll it again.
    assert_eq!(wakes.0.load(Relaxed), 1);
    let Poll::Ready(Ok(response)) = future.poll(&mut task) else { panic!("not ready") };
    assert_eq!(&response.body()[..], b"6");
    // What is refused is refused there, too.
    assert_eq!(fault(&router, json("A.Heavy", "no")).await.code(), "MCP-E-006");
    assert_eq!(RUNS.load(Relaxed), 1);
}

#[tokio::test]
async fn nested_merged_and_fallen_back() {
    let users = Router::new()
        .route("Get", async || "user")
        .nest("Admin", Router::new().route("Ban", async || "ban"))
        .fallback(async |method: Method| format!("no user method {}", method.name()));
    let math = Router::new().route("Math.Add", async || "sum").fallback(async || "nowhere");
    let router: Router = Router::new().nest("User", users).merge(math).checked().unwrap();
    assert_eq!(router.methods(), ["Math.Add", "User.Admin.Ban", "User.Get"]);
    for (method, answer) in [
        ("User.Get", "user"),
        ("User.Admin.Ban", "ban"),
        ("Math.Add", "sum"),
        ("User.Drop", "no user method Drop"),
        ("User.Admin.Drop", "no user method Drop"),
        ("User", "nowhere"),
        ("Users.Get", "nowhere"),
        ("Get", "nowhere"),
    ] {
        assert_eq!(text(&router, json(method, "")).await, answer, "{method}");
    }
}

#[tokio::test]
async fn parts_with_states_of_their_own() {
    let left = Router::new().route("A.N", async |State(n): State<u8>| n.to_string()).with_state(1u8);
    let right = Router::new().route("A.S", async |State(s): State<&'static str>| s);
    let router: Router = right.merge(left).with_state("two");
    assert_eq!(text(&router, json("A.N", "")).await, "1");
    assert_eq!(text(&router, json("A.S", "")).await, "two");
}

#[tokio::test]
async fn a_contested_name_is_nobody_s() {
    let router = || {
        Router::new()
            .route("A.B", async || "one")
            .route("A.C", async || "fine")
            .merge(Router::new().route("A.B", async || "two").fallback(async || "f"))
            .fallback(async || "g")
    };
    let errors = router().checked().unwrap_err();
    assert_eq!(
        errors.all(),
        [InvalidRoute::Duplicate("A.B".into()), InvalidRoute::DuplicateFallback(String::new())]
    );
    assert_eq!(errors.to_string(), "A.B is registered twice; the router has two fallbacks");
    let router = router().with_state(());
    assert!(router.clone().checked().is_err());
    for method in ["A.B", "A.Else"] {
        let fault = fault(&router, json(method, "")).await;
        assert_eq!(fault.code(), "MCP-E-009");
        assert!(fault.not_processed() && fault.message().contains("registered twice"), "{fault}");
    }
    assert_eq!(text(&router, json("A.C", "")).await, "fine");
}

#[tokio::test]
async fn adding_to_a_clone_leaves_the_other_alone() {
    let one: Router = Router::new().route("A.B", async || ());
    let two = one.clone().route("A.C", async || ());
    assert_eq!((one.methods().len(), two.methods().len()), (1, 2));
}

#[tokio::test]
async fn a_service_is_readied_and_its_errors_pass() {
    /// Panics when the clone that is called was not readied.
    struct Picky {
        ready: bool,
        polls: u8,
    }
    impl Clone for Picky {
        fn clone(&self) -> Self {
            Picky { ready: false, polls: 0 }
        }
    }
    impl Service<Request> for Picky {
        type Response = Response;
        type Error = Error;
        type Future = std::future::Ready<Result<Response, Error>>;

        fn poll_ready(&mut self, cx: &mut Task<'_>) -> Poll<Result<(), Error>> {
            self.polls += 1;
            self.ready = self.polls > 2;
            if self.ready {
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }

        fn call(&mut self, request: Request) -> Self::Future {
            assert!(self.ready, "called without being readied");
            match request.method().name() {
                "Fails" => ready(Err(Error::new(ErrorKind::Overloaded))),
                name => ready(Ok(Response::new(name.to_owned().into()))),
            }
        }
    }
    let picky = Picky { ready: false, polls: 0 };
    let router: Router = Router::new()
        .route_service("P.Works", picky.clone())
        .route_service("P.Fails", picky.clone())
        .route_service("P.Unready", service_fn(async |_| Err::<Response, _>("never")))
        .fallback_service(picky);
    assert_eq!(text(&router, json("P.Works", "")).await, "Works");
    assert_eq!(text(&router, json("Q.Other", "")).await, "Other");
    let error: BoxError = router.clone().oneshot(json("P.Fails", "")).await.unwrap_err();
    assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::Overloaded);
    assert_eq!(router.clone().oneshot(json("P.Unready", "")).await.unwrap_err().to_string(), "never");
}

#[tokio::test]
async fn it_is_always_ready_and_serves_calls_side_by_side() {
    let mut router: Router =
        Router::new().route("A.Stuck", async || pending::<()>().await).route("A.Fine", async || "fine");
    poll_fn(|cx| router.poll_ready(cx)).await.unwrap();
    let stuck = router.call(json("A.Stuck", ""));
    poll_fn(|cx| router.poll_ready(cx)).await.unwrap();
    assert_eq!(&router.call(json("A.Fine", "")).await.unwrap().body()[..], b"fine");
    drop(stuck);
}

#[tokio::test]
async fn dropping_the_answer_drops_the_handler() {
    struct Gone(Arc<AtomicUsize>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = dropped.clone();
    let mut router: Router = Router::new().route("A.B", move || {
        let gone = Gone(count.clone());
        async move {
            let _gone = gone;
            pending::<()>().await;
        }
    });
    let mut future = Box::pin(router.call(json("A.B", "")));
    assert!(future.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
    assert_eq!(dropped.load(Relaxed), 0);
    drop(future);
    assert_eq!(dropped.load(Relaxed), 1);
}

#[test]
fn it_goes_where_a_server_wants_it() {
    fn servable<S>(_: S)
    where
        S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
    }
    servable(Router::new().route("A.B", add));
}

#[tokio::test]
async fn a_server_lists_its_methods() {
    let router = || {
        let users = Router::new().route("Get", async |Json(_): Json<Sum>| ()).fallback(async || "fallback");
        Router::new()
            .route("Math.Add", async |State(n): State<u8>, _: Typed<Sum>| n.to_string())
            .route("Any.Bytes", (async |body: Bytes| body).idempotent().spawned())
            .route("Any.Nothing", (async || ()).spawned())
            .route("Proto.Buf", (async |_: Protobuf<Sum>| ()).idempotent())
            .route_service("A.Service", Router::new())
            .nest("User", users.without_listing())
            .fallback(async || "fallback")
            .with_state(1u8)
    };
    let expected = serde_json::json!([
        {"name": "A.Service", "codecs": [], "flags": []},
        {"name": "Any.Bytes", "codecs": [], "flags": ["idempotent", "spawned"]},
        {"name": "Any.Nothing", "codecs": [], "flags": ["spawned"]},
        {"name": "Math.Add", "codecs": [1, 2], "flags": []},
        {"name": "Proto.Buf", "codecs": [2], "flags": ["idempotent"]},
        {"name": "User.Get", "codecs": [1], "flags": []},
    ]);
    for codec in [CodecId::RAW, CodecId::JSON, CodecId::PROTOBUF, CodecId(99)] {
        let mut ask = request(METHODS, codec, "whatever");
        let accepted = accepting(&mut ask);
        let response = call(&router(), ask).await;
        assert_eq!((response.codec(), accepted.load(Relaxed)), (CodecId::JSON, 1));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(response.body()).unwrap(), expected);
        let read: Vec<MethodInfo> = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(read, router().describe());
    }
    let list = async |router: Router| text(&router, json(METHODS, "null")).await;
    assert_eq!(list(router().without_listing()).await, "fallback");
    assert_eq!(list(router().route(METHODS, async || "own")).await, "own");
    assert_eq!(list(Router::new()).await, "[]");
    let none = Router::new().without_listing();
    assert_eq!(fault(&none.with_state(()), json(METHODS, "")).await.code(), "MCP-E-004");
    // An idempotent handler is called as any other.
    assert_eq!(text(&router(), request("Any.Bytes", CodecId::RAW, "hi")).await, "hi");
}
