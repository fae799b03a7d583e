//! Spans as OpenTelemetry's SDK hands them out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are not #[test] themselves

use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter},
};
use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use towpath_core::{
    BoxError, Error, ErrorKind, Request, Response,
    context::{self, TraceContext, current_trace},
};
use towpath_trace::{
    Recorded, TraceConfig, TraceLayer, TraceOptions,
    otel::{Export, ExportConfig, ExportCounts, ExportOptions, bridged},
};
use tracing::{Instrument, level_filters::LevelFilter, subscriber::set_default};
use tracing_subscriber::prelude::*;

/// Keeps what it is sent; or does what it is told to.
#[derive(Clone, Debug, Default)]
struct Sink {
    spans: Arc<Mutex<Vec<SpanData>>>,
    resource: Arc<Mutex<Option<Resource>>>,
    fails: bool,
    hangs: bool,
}

impl SpanExporter for Sink {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if self.hangs {
            pending::<()>().await;
        }
        if self.fails {
            return Err(OTelSdkError::InternalFailure("on purpose".into()));
        }
        self.spans.lock().unwrap().extend(batch);
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        *self.resource.lock().unwrap() = Some(resource.clone());
    }
}

impl Sink {
    async fn take(&self, export: &Export) -> Vec<SpanData> {
        export.flush().await;
        std::mem::take(&mut *self.spans.lock().unwrap())
    }
}

fn config(sample: f64) -> TraceConfig {
    TraceConfig::sampled(sample).unwrap()
}

/// A response whose body is a trace.
fn tell(trace: Option<TraceContext>) -> Response {
    Response::new(trace.unwrap().traceparent().to_vec().into())
}

fn told(response: &Response) -> TraceContext {
    TraceContext::parse_traceparent(response.body()).unwrap()
}

fn request() -> Request {
    Request::new("Orders.Place", "".into())
}

/// An export to a sink, and a subscriber for this thread.
fn start() -> (Sink, Export, tracing::subscriber::DefaultGuard) {
    let sink = Sink::default();
    let export = Export::start(sink.clone(), ExportConfig::of_service("orders"));
    let guard = set_default(tracing_subscriber::registry().with(export.layer()));
    (sink, export, guard)
}

fn ids(span: &SpanData) -> (String, String) {
    (span.span_context.trace_id().to_string(), span.span_context.span_id().to_string())
}

fn of(trace: TraceContext) -> (String, String) {
    (trace.trace_id.to_string(), trace.span_id.to_string())
}

fn attributes(span: &SpanData) -> BTreeMap<&str, String> {
    span.attributes.iter().map(|attribute| (attribute.key.as_str(), attribute.value.to_string())).collect()
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    let mut found = spans.iter().filter(|span| span.name == name);
    let (Some(one), None) = (found.next(), found.next()) else {
        panic!("{name} is not there once: {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>())
    };
    one
}

/// A stack as it is across a wire: client, attempt, server, handler.
fn stack<H, F>(
    config: &TraceConfig,
    export: &Export,
    handler: H,
) -> impl tower::Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + use<H, F>
where
    H: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response, BoxError>> + Send + 'static,
{
    let server = TraceLayer::server(config.clone()).observe(export.keeper());
    let server = server.layer(service_fn(handler));
    let wire = service_fn(move |request: Request| {
        let arrived =
            Request::with_context(request.method(), request.context().clone(), request.body().clone());
        // Another task, and nothing of this one's context.
        let mut context = towpath_core::Context::new();
        context.set_trace(arrived.context().trace());
        let served = tokio::spawn(context::scope(context, server.clone().oneshot(arrived)));
        async move { served.await? }
    });
    let attempt = TraceLayer::attempt(config.clone()).target("mcp://orders:8080").observe(export.keeper());
    let client = TraceLayer::client(config.clone()).observe(export.keeper());
    client.layer(attempt.layer(wire))
}

#[tokio::test]
async fn a_sampled_call_from_end_to_end() {
    let (sink, export, _guard) = start();
    let seen = Arc::new(Mutex::new(None));
    let note = seen.clone();
    let handler = move |request: Request| {
        *note.lock().unwrap() = request.context().trace();
        async move {
            let inner = async { tracing::info!("something happened") };
            inner.instrument(tracing::info_span!("load", rows = 3)).await;
            context::spawn(async { tracing::info_span!("aside").in_scope(|| ()) }).await?;
            tracing::debug_span!("a detail").in_scope(|| ());
            Ok(Response::default())
        }
    };
    let stack = stack(&config(1.0), &export, handler);
    stack.oneshot(request()).await.unwrap();
    let spans = sink.take(&export).await;
    assert_eq!(spans.len(), 5, "{spans:#?}");
    let of_kind = |role: &str| {
        spans.iter().find(|span| attributes(span).contains_key("rpc.method") && kind(span) == role).unwrap()
    };
    fn kind(span: &SpanData) -> &'static str {
        match (&span.span_kind, attributes(span).contains_key("towpath.attempt")) {
            (SpanKind::Server, _) => "server",
            (SpanKind::Client, true) => "attempt",
            (SpanKind::Client, false) => "client",
            _ => "other",
        }
    }
    let (client, attempt, server) = (of_kind("client"), of_kind("attempt"), of_kind("server"));
    let (load, aside) = (named(&spans, "load"), named(&spans, "aside"));
    // What is on the wire, and in the handler's context, is what is exported.
    assert_eq!(ids(server), of(seen.lock().unwrap().unwrap()));
    let parent = |span: &SpanData| span.parent_span_id.to_string();
    assert_eq!(parent(client), "0000000000000000");
    assert_eq!(parent(attempt), ids(client).1);
    assert_eq!(parent(server), ids(attempt).1);
    assert_eq!((parent(load), parent(aside)), (ids(server).1, ids(server).1));
    assert!(spans.iter().all(|span| ids(span).0 == ids(client).0 && span.span_context.is_sampled()));
    assert_eq!((server.parent_span_is_remote, client.parent_span_is_remote), (true, false));
    for span in [client, attempt, server] {
        assert_eq!((&*span.name, &span.status), ("Orders.Place", &Status::Unset));
        let attributes = attributes(span);
        let has =
            |name: &str, value: &str| assert_eq!(attributes.get(name).map(|v| &**v), Some(value), "{name}");
        has("rpc.system.name", "towpath");
        has("rpc.method", "Orders.Place");
        has("rpc.service", "Orders");
        assert!(!attributes.keys().any(|name| name.starts_with("code.") || name.starts_with("thread.")));
    }
    assert_eq!(attributes(attempt)["server.address"], "orders");
    assert_eq!(load.events.len(), 1);
    let resource = sink.resource.lock().unwrap().clone().unwrap();
    assert_eq!(resource.get(&"service.name".into()).unwrap().to_string(), "orders");
    assert_eq!(export.counts().sent, 5);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_one_and_a_span_takes_as_long_as_its_call() {
    let (sink, export, _guard) = start();
    let fails = |_: Request| async {
        Err::<Response, BoxError>(Error::new(ErrorKind::Overloaded).because("too much").into())
    };
    assert!(stack(&config(1.0), &export, fails).oneshot(request()).await.is_err());
    for span in sink.take(&export).await {
        let attributes = attributes(&span);
        assert_eq!(attributes["error.type"], "MCP-W-103");
        assert_eq!(attributes["rpc.response.status_code"], "MCP-W-103");
        let Status::Error { description } = &span.status else { panic!("{span:?}") };
        assert!(description.contains("MCP-W-103") && description.contains("too much"), "{description}");
        assert!(!attributes.contains_key("towpath.kept"));
    }
    // One that is given up.
    let never = |_: Request| pending::<Result<Response, BoxError>>();
    let call = stack(&config(1.0), &export, never).oneshot(request());
    assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
    let spans = sink.take(&export).await;
    assert_eq!(spans.len(), 2, "the server is not told here");
    assert!(spans.iter().all(|span| attributes(span)["error.type"] == "cancelled"));
    assert!(spans.iter().all(|span| span.status == Status::Unset));
}

#[tokio::test(start_paused = true)]
async fn of_a_call_that_is_not_sampled_only_what_is_worth_it() {
    let (sink, export, _guard) = start();
    let seen = Arc::new(Mutex::new(None));
    let note = seen.clone();
    let handler = move |request: Request| {
        *note.lock().unwrap() = request.context().trace();
        async move {
            async { tracing::info!("something happened") }.instrument(tracing::info_span!("load")).await;
            context::spawn(async { tracing::info_span!("aside").in_scope(|| ()) }).await?;
            match request.body().len() {
                0 => Ok(Response::default()),
                1 => Err(Error::new(ErrorKind::HandlerFailed).into()),
                _ => {
                    sleep(Duration::from_secs(2)).await;
                    Ok(Response::default())
                }
            }
        }
    };
    let stack = stack(&config(0.0), &export, handler);
    let call = async |body: &'static str| {
        let _ = stack.clone().oneshot(Request::new("Orders.Place", body.into())).await;
        sink.take(&export).await
    };
    // Neither of the call nor of what others record in it.
    assert_eq!(call("").await, []);
    for (body, why) in [("1", "failed"), ("22", "slow")] {
        let spans = call(body).await;
        let [server, attempt, client] = <[SpanData; 3]>::try_from(spans).unwrap();
        assert_eq!(ids(&server), of(seen.lock().unwrap().unwrap()));
        assert_eq!(server.parent_span_id, attempt.span_context.span_id());
        assert_eq!(attempt.parent_span_id, client.span_context.span_id());
        assert!(server.parent_span_is_remote && !attempt.parent_span_is_remote);
        assert_eq!((&server.span_kind, &attempt.span_kind), (&SpanKind::Server, &SpanKind::Client));
        for span in [&server, &attempt, &client] {
            assert_eq!(&*span.name, "Orders.Place");
            assert_eq!(
                (&*attributes(span)["towpath.kept"], &*attributes(span)["rpc.method"]),
                (why, "Orders.Place")
            );
            let took = span.end_time.duration_since(span.start_time).unwrap();
            assert_eq!(took >= Duration::from_secs(2), why == "slow");
            assert_eq!(matches!(span.status, Status::Error { .. }), why == "failed");
        }
    }
}

#[tokio::test]
async fn a_call_is_a_child_of_the_span_around_it() {
    let (sink, export, _guard) = start();
    let client = TraceLayer::client(config(0.0)).layer(service_fn(|request: Request| async move {
        Ok::<_, BoxError>(tell(request.context().trace()))
    }));
    // A program that records without towpath, and samples itself.
    let all = ExportOptions { sample_others: 1.0, ..ExportOptions::default() };
    let others = Export::start(sink.clone(), ExportConfig::try_new(all).unwrap());
    let _others = set_default(tracing_subscriber::registry().with(others.layer()));
    let job = tracing::info_span!("job");
    let made = client.clone().oneshot(request()).instrument(job).await.unwrap();
    let made = told(&made);
    assert!(made.is_sampled());
    let spans = sink.take(&others).await;
    let call = named(&spans, "Orders.Place");
    assert_eq!(ids(call), of(made));
    assert_eq!(call.parent_span_id, named(&spans, "job").span_context.span_id());
    assert_eq!(call.span_context.trace_id(), named(&spans, "job").span_context.trace_id());

    // Within a handler, a span of the handler's own.
    let server = TraceLayer::server(config(1.0)).layer(service_fn(move |_: Request| {
        let client = client.clone();
        async move {
            let response = client.oneshot(self::request()).instrument(tracing::info_span!("step")).await?;
            assert_eq!(told(&response).trace_id, current_trace().unwrap().trace_id);
            Ok::<_, BoxError>(response)
        }
    }));
    let made = server.oneshot(Request::new("Orders.Ship", "".into())).await.unwrap();
    let made = told(&made);
    let spans = sink.take(&others).await;
    let (call, step) = (named(&spans, "Orders.Place"), named(&spans, "step"));
    assert_eq!((ids(call), call.parent_span_id), (of(made), step.span_context.span_id()));
    assert_eq!(step.parent_span_id, named(&spans, "Orders.Ship").span_context.span_id());
    drop(export);
}

/// One that makes ids of its own, and has the last word about sampling.
#[tokio::test]
async fn a_tracer_of_somebody_else() {
    for keeps in [true, false] {
        let sink = Sink::default();
        let sampler = if keeps { Sampler::AlwaysOn } else { Sampler::AlwaysOff };
        let provider =
            SdkTracerProvider::builder().with_simple_exporter(sink.clone()).with_sampler(sampler).build();
        let _guard = set_default(
            tracing_subscriber::registry().with(bridged(provider.tracer("own"), LevelFilter::INFO)),
        );
        let layer = TraceLayer::client(config(1.0)).observe(|recorded: &Recorded<'_>| {
            assert!(!recorded.is_kept());
        });
        let attempt = TraceLayer::attempt(config(1.0)).layer(service_fn(|request: Request| async move {
            Ok::<_, BoxError>(tell(request.context().trace()))
        }));
        let made = layer.layer(attempt).oneshot(request()).await.unwrap();
        let made = told(&made);
        assert_eq!(made.is_sampled(), keeps);
        let spans = std::mem::take(&mut *sink.spans.lock().unwrap());
        if keeps {
            let [attempt, client] = <[SpanData; 2]>::try_from(spans).unwrap();
            assert_eq!(ids(&attempt), of(made));
            assert_eq!(attempt.parent_span_id, client.span_context.span_id());
        } else {
            assert_eq!(spans, []);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_exporter() {
    let small = ExportOptions { queue: 8, batch: 4, ..ExportOptions::default() };
    let config_of = || ExportConfig::try_new(small.clone()).unwrap();
    for (sink, fails) in
        [(Sink { fails: true, ..Sink::default() }, true), (Sink { hangs: true, ..Sink::default() }, false)]
    {
        let export = Export::start(sink, config_of());
        let _guard = set_default(tracing_subscriber::registry().with(export.layer()));
        let ok = |_: Request| async { Ok(Response::default()) };
        let stack = stack(&config(1.0), &export, ok);
        let begun = Instant::now();
        for _ in 0..20 {
            stack.clone().oneshot(request()).await.unwrap();
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        export.flush().await;
        let ExportCounts { sent, failed, dropped, .. } = export.counts();
        assert_eq!((sent, failed + dropped), (0, 60));
        assert_eq!((dropped == 0, begun.elapsed() >= Duration::from_secs(10)), (fails, !fails));
    }
}

/// What sends ends with the last handle, and sends the rest first.
#[tokio::test(start_paused = true)]
async fn the_rest_is_sent_at_the_end() {
    let sink = Sink::default();
    let export = Export::start(sink.clone(), ExportConfig::default());
    let options = TraceOptions { keep_failures: true, sample: 0.0, ..TraceOptions::default() };
    let layer = TraceLayer::client(TraceConfig::try_new(options).unwrap()).observe(export.keeper());
    let service = layer.layer(service_fn(|_: Request| async { Err::<Response, BoxError>("no".into()) }));
    drop((export, layer));
    assert!(service.oneshot(request()).await.is_err());
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert_eq!(sink.spans.lock().unwrap().len(), 1);
    assert_eq!(Arc::strong_count(&sink.spans), 1, "the task is gone, and its exporter with it");
}
