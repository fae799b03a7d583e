//! What becomes of a call's trace, with and without somebody who listens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are not #[test] themselves

use bytes::Bytes;
use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};
use towpath_core::{
    BoxError, CodecId, EndpointId, Error, ErrorCode, ErrorKind, Fault, Live, Request, Response,
    context::{self, Field, SpanId, TraceContext, current_trace},
};
use towpath_trace::{Recorded, Role, Rpc, TraceConfig, TraceLayer, TraceOptions, Value, Why};

fn config(sample: f64) -> TraceConfig {
    TraceConfig::sampled(sample).unwrap()
}

fn with(change: impl FnOnce(&mut TraceOptions)) -> TraceConfig {
    let mut options = config(0.0).options();
    change(&mut options);
    TraceConfig::try_new(options).unwrap()
}

fn request() -> Request {
    Request::new("Orders.Place", "".into())
}

fn traced(trace: TraceContext) -> Request {
    let mut request = request();
    request.context_mut().set_trace(Some(trace));
    request
}

/// What was recorded, as text.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    role: Role,
    trace: TraceContext,
    parent: Option<SpanId>,
    name: String,
    attempt: u16,
    endpoint: Option<EndpointId>,
    took: Duration,
    is_error: bool,
    error_type: Option<String>,
    why: Why,
    attributes: Vec<(String, String)>,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    fn observer(&self) -> impl Fn(&Recorded<'_>) + Clone + use<> {
        let log = self.0.clone();
        move |recorded: &Recorded<'_>| {
            let mut attributes = Vec::new();
            recorded.attributes(|name, value| {
                let value = match value {
                    Value::Str(text) => text.to_owned(),
                    value => format!("{value:?}"),
                };
                attributes.push((name.to_owned(), value));
            });
            log.lock().unwrap().push(Seen {
                role: recorded.role,
                trace: recorded.trace,
                parent: recorded.parent,
                name: recorded.name.to_owned(),
                attempt: recorded.attempt,
                endpoint: recorded.endpoint,
                took: recorded.took,
                is_error: recorded.outcome.is_error,
                error_type: recorded.outcome.error_type.map(ToOwned::to_owned),
                why: recorded.why,
                attributes,
            });
        }
    }

    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn only(&self) -> Seen {
        let [seen] = <[Seen; 1]>::try_from(self.take()).unwrap();
        seen
    }
}

/// A response whose body is a trace.
fn tell(trace: Option<TraceContext>) -> Response {
    Response::new(trace.map_or(Bytes::new(), |trace| Bytes::from(trace.traceparent().to_vec())))
}

fn told(response: &Response) -> TraceContext {
    TraceContext::parse_traceparent(response.body()).unwrap()
}

/// Answers with the trace that the request came with.
async fn echo(request: Request) -> Result<Response, BoxError> {
    tokio::task::yield_now().await;
    Ok(tell(request.context().trace()))
}

/// Calls a clone.
async fn call<S>(service: &S, request: Request) -> TraceContext
where
    S: Service<Request, Response = Response, Error = BoxError> + Clone,
{
    told(&service.clone().oneshot(request).await.unwrap())
}

#[tokio::test]
async fn a_trace_begins_here_or_goes_on() {
    for sample in [0.0, 1.0] {
        let service = TraceLayer::client(config(sample)).layer(service_fn(echo));
        let (first, second) = (call(&service, request()).await, call(&service, request()).await);
        assert_eq!((first.is_sampled(), second.is_sampled()), (sample == 1.0, sample == 1.0));
        assert!(first.trace_id != second.trace_id && first.span_id != second.span_id);
        assert!(first.trace_id.0 != 0 && first.span_id.0 != 0);
        // What came with the call is what counts.
        for flags in [0, 1, 0x83] {
            let came = TraceContext { flags, ..first };
            let next = call(&service, traced(came)).await;
            assert_eq!((next.trace_id, next.flags), (came.trace_id, flags));
            assert_ne!(next.span_id, came.span_id);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_children_of_the_call_and_siblings() {
    let log = Log::default();
    let observed = |layer: TraceLayer| layer.observe(log.observer());
    let attempt =
        observed(TraceLayer::attempt(config(1.0))).layer(service_fn(|request: Request| async move {
            context::pick(EndpointId(7 + u64::from(request.context().attempt())));
            match request.context().attempt() {
                0 => Err(Error::new(ErrorKind::ConnectFailed).into()),
                _ => echo(request).await,
            }
        }));
    // As a retry makes them.
    let planner = service_fn(move |mut request: Request| {
        let attempt = attempt.clone();
        async move {
            let first = attempt.clone().oneshot(request.clone()).await;
            assert!(first.is_err());
            request.context_mut().set_attempt(1);
            attempt.oneshot(request).await
        }
    });
    let service = observed(TraceLayer::client(config(1.0))).layer(planner);
    let last = call(&service, request()).await;
    let [first, second, whole] = <[Seen; 3]>::try_from(log.take()).unwrap();
    assert_eq!((whole.role, whole.parent, whole.attempt), (Role::Client, None, 0));
    for (number, attempt) in [&first, &second].into_iter().enumerate() {
        assert_eq!((attempt.role, attempt.parent), (Role::Attempt, Some(whole.trace.span_id)));
        assert_eq!(attempt.trace.trace_id, whole.trace.trace_id);
        assert_eq!(usize::from(attempt.attempt), number);
        assert_eq!(attempt.endpoint, Some(EndpointId(7 + number as u64)));
        let number = ("towpath.attempt".to_owned(), format!("Int({number})"));
        assert!(attempt.attributes.contains(&number), "{attempt:?}");
    }
    assert_ne!(first.trace.span_id, second.trace.span_id);
    assert_eq!(second.trace, last);
    // The last word counts.
    assert_eq!(whole.endpoint, Some(EndpointId(8)));
    assert_eq!((first.error_type.as_deref(), second.error_type), (Some("MCP-E-011"), None));
}

/// Whoever listens further up, a retry, still hears where an attempt goes.
#[tokio::test]
async fn an_endpoint_is_heard_further_up() {
    let picks = service_fn(|request: Request| {
        context::pick(EndpointId(3));
        async move {
            context::pick(EndpointId(4));
            echo(request).await
        }
    });
    let mut service = TraceLayer::attempt(config(1.0)).observe(|_: &Recorded<'_>| ()).layer(picks);
    let listen = context::Listen::new();
    let future = service.ready().await.unwrap().call(request());
    assert_eq!(listen.heard(), Some(EndpointId(3)));
    future.await.unwrap();
    assert_eq!(listen.heard(), Some(EndpointId(4)));
}

#[tokio::test]
async fn a_handler_s_calls_are_its_children() {
    for sample in [0.0, 1.0] {
        let client = TraceLayer::client(config(0.5)).layer(service_fn(echo));
        let handler = service_fn(move |request: Request| {
            let client = client.clone();
            async move {
                let own = request.context().trace();
                assert_eq!(current_trace(), own);
                let spawned = context::spawn(async { current_trace() }).await.unwrap();
                assert_eq!(spawned, own);
                let child = call(&client, self::request()).await;
                assert_eq!(child.trace_id, own.unwrap().trace_id);
                assert_eq!(child.is_sampled(), own.unwrap().is_sampled());
                assert_eq!(current_trace(), own);
                Ok::<_, BoxError>(tell(own))
            }
        });
        let server = TraceLayer::server(config(sample)).layer(handler);
        let came = TraceContext::random(sample == 1.0);
        // As a transport does it, with and without a trace; and as a test does it.
        for request in [traced(came), request()] {
            let context = request.context().clone();
            let trace = request.context().trace();
            let own = context::scope(context, call(&server, request)).await;
            assert_eq!(own.is_sampled(), sample == 1.0);
            assert!(trace.is_none_or(|came| came.trace_id == own.trace_id && came.span_id != own.span_id));
        }
        assert_eq!(current_trace(), None);
        call(&server, request()).await;
        assert_eq!(current_trace(), None);
    }
}

/// A fault that a server makes of an error has the trace of the call, also where that begins here.
#[tokio::test]
async fn who_answers_for_a_call_knows_its_trace() {
    let server = TraceLayer::server(config(0.0)).layer(service_fn(echo));
    let scope = context::scope(towpath_core::Context::new(), async {
        let own = call(&server, request()).await;
        (own, current_trace())
    });
    let (own, known) = scope.await;
    assert_eq!(known, Some(own));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_calls_that_are_not_sampled() {
    let log = Log::default();
    let fault = |code| {
        let fault = Fault::new(ErrorCode::from_static(code), "no");
        Ok::<Response, BoxError>(fault.into_response(CodecId::JSON))
    };
    let inner = service_fn(move |request: Request| async move {
        match request.method().name() {
            "Lost" => Err(Error::new(ErrorKind::ConnectionLost).at("a:1").into()),
            "Busy" => Err(Error::new(ErrorKind::RateLimited).into()),
            "Foreign" => Err("foreign".into()),
            "Unknown" => fault("USR-E-001"),
            "Slow" => {
                sleep(Duration::from_millis(1_500)).await;
                echo(request).await
            }
            _ => echo(request).await,
        }
    });
    let seen = async |layer: TraceLayer, method: &'static str| {
        let service = layer.observe(log.observer()).layer(inner);
        let mut request = request();
        request.set_method(method);
        let _ = service.oneshot(request).await;
        log.take().pop().map(|seen| (seen.why, seen.is_error, seen.error_type))
    };
    let client = |method| seen(TraceLayer::client(config(0.0)), method);
    let kept = |why, code: &str| Some((why, true, Some(code.to_owned())));
    assert_eq!(client("A.Fine").await, None);
    assert_eq!(client("A.Lost").await, kept(Why::Failed, "MCP-E-010"));
    assert_eq!(client("A.Busy").await, kept(Why::Failed, "MCP-W-104"));
    assert_eq!(client("A.Foreign").await, kept(Why::Failed, "_OTHER"));
    assert_eq!(client("A.Slow").await, Some((Why::Slow, false, None)));
    // An answer, unless told otherwise.
    assert_eq!(client("A.Unknown").await, None);
    let faults = TraceLayer::client(with(|options| options.keep_faults = true));
    assert_eq!(seen(faults, "A.Unknown").await, kept(Why::Failed, "USR-E-001"));
    // A server has done well to refuse.
    let server = |method| seen(TraceLayer::server(config(0.0)), method);
    assert_eq!(server("A.Busy").await, None);
    assert_eq!(server("A.Lost").await, kept(Why::Failed, "MCP-E-010"));
    let none = with(|options| (options.keep_failures, options.keep_slow) = (false, None));
    assert_eq!(seen(TraceLayer::client(none.clone()), "A.Lost").await, None);
    assert_eq!(seen(TraceLayer::client(none), "A.Slow").await, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_around_a_kept_call_is_kept() {
    let log = Log::default();
    let (config, observer) = (config(0.0), log.observer());
    let attempt = TraceLayer::attempt(config.clone()).observe(observer.clone());
    let attempt = attempt.layer(service_fn(|request: Request| async move {
        match request.context().attempt() {
            0 => Err(BoxError::from(Error::new(ErrorKind::Overloaded))),
            _ => echo(request).await,
        }
    }));
    let client = TraceLayer::client(config.clone()).observe(observer.clone());
    let client = client.layer(service_fn(move |mut request: Request| {
        let attempt = attempt.clone();
        async move {
            tokio::task::yield_now().await;
            let _ = attempt.clone().oneshot(request.clone()).await;
            request.context_mut().set_attempt(1);
            attempt.oneshot(request).await
        }
    }));
    let server = TraceLayer::server(config).observe(observer);
    let server = server.layer(service_fn(move |_: Request| {
        let client = client.clone();
        async move { client.oneshot(request()).await }
    }));
    call(&server, request()).await;
    let seen = log.take();
    let shape: Vec<_> = seen.iter().map(|seen| (seen.role, seen.why, seen.attempt)).collect();
    let below = Why::Below;
    assert_eq!(shape, [(Role::Attempt, Why::Failed, 0), (Role::Client, below, 0), (Role::Server, below, 0)]);
    assert_eq!((seen[0].parent, seen[1].parent), (Some(seen[1].trace.span_id), Some(seen[2].trace.span_id)));
    assert!(seen.iter().all(|other| other.trace.trace_id == seen[0].trace.trace_id));
    // The next one is not touched by it.
    call(&server, request()).await;
    assert_eq!(log.take().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn so_many_a_second_are_kept() {
    let log = Log::default();
    let layer = TraceLayer::client(with(|options| options.keep_per_second = 10)).observe(log.observer());
    let handle = layer.handle();
    let fails = layer.layer(service_fn(|_: Request| async { Err::<Response, BoxError>("no".into()) }));
    for (after, kept) in [(0, 10), (500, 5), (5_000, 10)] {
        sleep(Duration::from_millis(after)).await;
        for _ in 0..100 {
            assert!(fails.clone().oneshot(request()).await.is_err());
        }
        assert_eq!(log.take().len(), kept);
    }
    assert_eq!((handle.counts().kept, handle.counts().left_out), (25, 275));
    handle.config().set(with(|options| options.keep_per_second = 0));
    assert!(fails.oneshot(request()).await.is_err());
    assert_eq!(log.take(), []);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_waits_for_says_so() {
    let log = Log::default();
    let never = |sample| {
        let layer = TraceLayer::client(config(sample)).observe(log.observer());
        layer.layer(service_fn(|_: Request| pending::<Result<Response, BoxError>>()))
    };
    let give_up_after = async |sample, ms| {
        let _ = tokio::time::timeout(Duration::from_millis(ms), never(sample).oneshot(request())).await;
        log.take().pop()
    };
    let sampled = give_up_after(1.0, 10).await.unwrap();
    assert_eq!((sampled.error_type.as_deref(), sampled.is_error), (Some("cancelled"), false));
    assert_eq!(sampled.took, Duration::from_millis(10));
    // A hedge that has lost is nothing remarkable; one that was slow is.
    assert_eq!(give_up_after(0.0, 10).await, None);
    assert_eq!(give_up_after(0.0, 1_000).await.map(|seen| seen.why), Some(Why::Slow));
}

#[tokio::test]
async fn a_panic_is_an_error() {
    let log = Log::default();
    let layer = TraceLayer::server(config(0.0)).observe(log.observer());
    let panics = layer.layer(service_fn(|_: Request| async {
        if current_trace().is_some() {
            panic!("on purpose");
        }
        Ok::<Response, BoxError>(Response::default())
    }));
    assert!(tokio::spawn(panics.oneshot(request())).await.is_err());
    let seen = log.only();
    assert_eq!((seen.why, seen.error_type.as_deref()), (Why::Failed, Some("panic")));
    assert_eq!(current_trace(), None);
}

#[tokio::test]
async fn a_config_is_replaced_while_it_is_used() {
    let live = Live::new(config(0.0));
    let service = TraceLayer::client(live.clone()).layer(service_fn(echo));
    let mut used = service.clone();
    assert!(!told(&used.ready().await.unwrap().call(request()).await.unwrap()).is_sampled());
    live.set(config(1.0));
    assert!(told(&used.ready().await.unwrap().call(request()).await.unwrap()).is_sampled());
    assert!(call(&service, request()).await.is_sampled());
}

#[tokio::test]
async fn strangers_do_not_decide() {
    let strange = |sample| with(|options| (options.trust_callers, options.sample) = (false, sample));
    for sample in [0.0, 1.0] {
        let server = TraceLayer::server(strange(sample)).layer(service_fn(echo));
        let came = TraceContext::random(sample == 0.0);
        let own = call(&server, traced(came)).await;
        assert_eq!((own.trace_id, own.is_sampled()), (came.trace_id, sample == 1.0));
        let mut b3 = request();
        b3.metadata_mut().insert("b3", if sample == 0.0 { "1" } else { "0" }).unwrap();
        assert_eq!(call(&server, b3).await.is_sampled(), sample == 1.0);
    }
    // A client's own word is its own.
    let client = TraceLayer::client(strange(0.0)).layer(service_fn(echo));
    assert!(call(&client, traced(TraceContext::random(true))).await.is_sampled());
}

#[tokio::test]
async fn b3_is_understood_and_the_plain_form_is_written() {
    let server = TraceLayer::server(config(0.0)).layer(service_fn(echo));
    let with = |key: &str, value: &str| {
        let mut request = request();
        request.metadata_mut().insert(key, value).unwrap();
        request
    };
    let (trace, span) = ("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1");
    let own = call(&server, with("b3", &format!("{trace}-{span}-1"))).await;
    assert_eq!((own.trace_id.to_string(), own.is_sampled()), (trace.to_owned(), true));
    assert!(call(&server, with("b3", "1")).await.is_sampled());
    let undecided = TraceLayer::server(config(1.0)).layer(service_fn(echo));
    assert!(call(&undecided, with("b3", &format!("{trace}-{span}"))).await.is_sampled());
    assert!(!call(&undecided, with("b3", &format!("{trace}-{span}-0"))).await.is_sampled());

    let plain = TraceLayer::client(config(0.0)).describe_by(Rpc::new().write_plain_ids());
    let plain = plain.layer(service_fn(|request: Request| async move {
        let entry = |key| request.metadata().get_str(key).map(ToOwned::to_owned);
        let own = request.context().trace().unwrap();
        assert_eq!(entry("trace-id"), Some(own.trace_id.to_string()));
        assert_eq!(entry("span-id"), Some(own.span_id.to_string()));
        Ok::<_, BoxError>(Response::new(entry("parent-id").unwrap_or_default().into()))
    }));
    let came = TraceContext::random(false);
    let parent = plain.clone().oneshot(traced(came)).await.unwrap();
    assert_eq!(*parent.body(), came.span_id.to_string());
    assert_eq!(plain.oneshot(request()).await.unwrap().body(), "");
}

/// An id of another kind stays what faults say; the trace that is made of it is the same everywhere.
#[tokio::test]
async fn a_foreign_id_makes_a_trace() {
    let server = TraceLayer::server(config(0.0)).layer(service_fn(|request: Request| async move {
        assert_eq!(request.context().trace_id_text().as_deref(), Some("a1b2c3d4"));
        echo(request).await
    }));
    let mut request = request();
    request.context_mut().set_field(Field::TraceText, Some("a1b2c3d4".into()));
    let (first, second) = (call(&server, request.clone()).await, call(&server, request).await);
    assert_eq!(first.trace_id.to_string(), "000000000000000000000000a1b2c3d4");
    assert_eq!(first.trace_id, second.trace_id);
}

#[tokio::test]
async fn a_span_says_what_is_called_and_where() {
    let log = Log::default();
    let layer = TraceLayer::attempt(config(1.0)).observe(log.observer());
    let layer = layer.target("mcp://orders:8080");
    let located = layer.clone().locate(|id| (id == Some(EndpointId(5))).then(|| "10.0.0.5:81".into()));
    let picks = |id: u64| {
        service_fn(move |request: Request| {
            context::pick(EndpointId(id));
            echo(request)
        })
    };
    let attributes = |seen: Seen| {
        let of =
            |name: &str| seen.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        ["rpc.system.name", "rpc.method", "rpc.service", "server.address", "server.port", "towpath.endpoint"]
            .map(|name| of(name).unwrap_or_default())
    };
    call(&layer.layer(service_fn(echo)), request()).await;
    let call_of = ["towpath", "Orders.Place", "Orders"];
    assert_eq!(attributes(log.only()), [&call_of[..], &["orders", "Int(8080)", ""]].concat()[..]);
    call(&located.layer(picks(5)), request()).await;
    assert_eq!(attributes(log.only()), [&call_of[..], &["10.0.0.5", "Int(81)", "Int(5)"]].concat()[..]);
    call(&located.layer(picks(6)), request()).await;
    assert_eq!(attributes(log.only())[3..], ["orders", "Int(8080)", "Int(6)"]);
}
