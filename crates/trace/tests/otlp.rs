//! Spans as they arrive at a collector, over gRPC and HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are not #[test] themselves

mod collector;

use collector::{Collector, attribute};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use towpath_core::{
    BoxError, Error, ErrorKind, Request, Response,
    context::{self, TraceContext},
};
use towpath_trace::{
    TraceConfig, TraceLayer,
    otel::{Export, ExportConfig, ExportOptions, Otlp, OtlpProtocol},
};
use tracing::subscriber::set_default;
use tracing_subscriber::prelude::*;

fn options() -> ExportOptions {
    let resource = [("deployment.environment.name".to_owned(), "test".to_owned())].into();
    ExportOptions { service: Some("orders".into()), resource, ..ExportOptions::default() }
}

fn otlp(endpoint: String, protocol: OtlpProtocol) -> Otlp {
    Otlp::new(endpoint, protocol, ExportConfig::try_new(options()).unwrap())
}

/// Client, attempt and server, one around another; the server answers with its trace.
fn stack(
    sample: f64,
    export: &Export,
) -> impl tower::Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + use<> {
    let config = TraceConfig::sampled(sample).unwrap();
    let server = TraceLayer::server(config.clone()).observe(export.keeper());
    let server = server.layer(service_fn(|request: Request| async move {
        match request.method().name() {
            "Lost" => Err(BoxError::from(Error::new(ErrorKind::ConnectionLost).because("cut"))),
            _ => Ok(Response::new(request.context().trace().unwrap().traceparent().to_vec().into())),
        }
    }));
    let attempt = TraceLayer::attempt(config.clone()).target("mcp://orders:8080").observe(export.keeper());
    TraceLayer::client(config).observe(export.keeper()).layer(attempt.layer(server))
}

fn request(method: &'static str) -> Request {
    Request::with_context(method, towpath_core::Context::new(), "".into())
}

/// Of the three, from the outermost on, and each a child of the one before.
fn in_order(spans: Vec<Span>) -> [Span; 3] {
    let mut spans = <[Span; 3]>::try_from(spans).unwrap();
    let depth = |span: &Span| match (span.kind(), attribute(span, "towpath.attempt")) {
        (SpanKind::Server, _) => 2,
        (_, Some(_)) => 1,
        _ => 0,
    };
    spans.sort_by_key(depth);
    assert!(spans[0].parent_span_id.is_empty());
    for (above, below) in [(0, 1), (1, 2)] {
        assert_eq!(spans[below].parent_span_id, spans[above].span_id);
        assert_eq!(spans[below].trace_id, spans[above].trace_id);
    }
    spans
}

async fn arrives(protocol: OtlpProtocol) {
    let collector = Collector::start(protocol).await;
    let mut otlp = otlp(collector.endpoint(), protocol);
    otlp.headers = otlp.headers.with("x-key", "hush");
    let export = otlp.start().unwrap();
    let _guard = set_default(tracing_subscriber::registry().with(export.layer()));

    // Sampled: by way of `tracing`.
    let answer = stack(1.0, &export).oneshot(request("Orders.Place")).await.unwrap();
    let trace = TraceContext::parse_traceparent(answer.body()).unwrap();
    export.flush().await;
    let spans = in_order(collector.take());
    assert_eq!(spans[2].trace_id, trace.trace_id.0.to_be_bytes());
    assert_eq!(spans[2].span_id, trace.span_id.0.to_be_bytes());
    for span in &spans {
        assert_eq!((&*span.name, span.status.as_ref().map_or(0, |status| status.code)), ("Orders.Place", 0));
        assert_eq!(attribute(span, "rpc.system.name").as_deref(), Some("towpath"));
        assert_eq!(attribute(span, "rpc.method").as_deref(), Some("Orders.Place"));
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        assert_eq!(span.flags & 1, 1);
    }
    assert_eq!(attribute(&spans[1], "server.address").as_deref(), Some("orders"));
    assert_eq!(attribute(&spans[1], "server.port").as_deref(), Some("8080"));
    assert_eq!(attribute(&spans[1], "towpath.attempt").as_deref(), Some("0"));

    // Not sampled, and failed: made when it had ended.
    assert!(stack(0.0, &export).oneshot(request("Orders.Lost")).await.is_err());
    stack(0.0, &export).oneshot(request("Orders.Place")).await.unwrap();
    export.flush().await;
    for span in in_order(collector.take()) {
        assert_eq!(attribute(&span, "towpath.kept").as_deref(), Some("failed"));
        assert_eq!(attribute(&span, "error.type").as_deref(), Some("MCP-E-010"));
        let status = span.status.unwrap();
        assert_eq!(status.code, StatusCode::Error as i32);
        assert!(status.message.contains("cut"), "{}", status.message);
    }
    let about = collector.resource();
    assert_eq!(about["service.name"], "orders");
    assert_eq!(about["deployment.environment.name"], "test");
    assert_eq!(collector.header("x-key").as_deref(), Some("hush"));
    assert_eq!((export.counts().sent, export.counts().failed, export.counts().dropped), (6, 0, 0));
}

#[tokio::test]
async fn over_grpc() {
    arrives(OtlpProtocol::Grpc).await;
}

#[tokio::test]
async fn over_http() {
    arrives(OtlpProtocol::Http).await;
}

/// On a runtime with several threads, which is what servers have.
#[test]
fn nothing_blocks_on_any_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for protocol in [OtlpProtocol::Grpc, OtlpProtocol::Http] {
            let collector = Collector::start(protocol).await;
            let export = otlp(collector.endpoint(), protocol).start().unwrap();
            let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(export.layer()));
            let stack = stack(1.0, &export);
            let calls = (0..64).map(|_| {
                use tracing::instrument::WithSubscriber;
                let call = context::background(stack.clone().oneshot(request("Orders.Place")));
                tokio::spawn(call.with_subscriber(dispatch.clone()))
            });
            for call in calls.collect::<Vec<_>>() {
                call.await.unwrap().unwrap();
            }
            export.flush().await;
            assert_eq!(collector.take().len(), 3 * 64);
        }
    });
}

/// A collector that is not there harms no call; when it is there, it gets what comes then.
#[tokio::test]
async fn a_collector_that_is_down_is_nobody_s_problem() {
    for protocol in [OtlpProtocol::Grpc, OtlpProtocol::Http] {
        let place = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = place.local_addr().unwrap();
        drop(place);
        let timeout = Duration::from_millis(300);
        let config = ExportConfig::try_new(ExportOptions { timeout, ..options() }).unwrap();
        let export = Otlp::new(format!("http://{address}"), protocol, config).start().unwrap();
        let _guard = set_default(tracing_subscriber::registry().with(export.layer()));
        let (stack, begun) = (stack(1.0, &export), Instant::now());
        for _ in 0..50 {
            stack.clone().oneshot(request("Orders.Place")).await.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        export.flush().await;
        assert_eq!((export.counts().sent, export.counts().failed), (0, 150));
        let collector = Collector::start_at(protocol, address).await;
        // The exporter's own connection may take a while to try again.
        let mut arrived = Vec::new();
        for _ in 0..100 {
            stack.clone().oneshot(request("Orders.Place")).await.unwrap();
            export.flush().await;
            arrived = collector.take();
            if !arrived.is_empty() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        in_order(arrived);
    }
}
