//! What is kept of calls that were not sampled, as it arrives at a collector.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are not #[test] themselves

mod collector;

use collector::{Collector, attribute};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{self, sleep};
use tokio_test::{assert_ready, task::spawn};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use towpath_core::{BoxError, Error, ErrorKind, Request, Response, context};
use towpath_trace::{
    TraceConfig, TraceHandle, TraceLayer, TraceOptions,
    otel::{Export, ExportConfig, ExportOptions, Otlp, OtlpProtocol},
};
use tracing::{Event, Level, Subscriber, subscriber::set_default};
use tracing_subscriber::{Layer as _, layer, prelude::*};

/// Where nothing is said else, spans wait until they are asked for: no timer runs while time is paused.
fn options() -> ExportOptions {
    ExportOptions { interval: Duration::from_secs(3_600), ..ExportOptions::default() }
}

fn export(collector: &Collector, options: ExportOptions) -> Export {
    let config = ExportConfig::try_new(options).unwrap();
    Otlp::new(collector.endpoint(), OtlpProtocol::Grpc, config).start().unwrap()
}

/// Nothing is sampled.
fn tail(keep_per_second: u32) -> TraceConfig {
    TraceConfig::try_new(TraceOptions { sample: 0.0, keep_per_second, ..TraceOptions::default() }).unwrap()
}

/// A client that makes three attempts at most, and the server that it calls, which does as the method says.
fn stack(
    config: &TraceConfig,
    export: &Export,
) -> (
    impl tower::Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + use<>,
    [TraceHandle; 3],
) {
    let layers = [TraceLayer::client, TraceLayer::attempt, TraceLayer::server];
    let [client, attempt, server] =
        layers.map(|layer| layer(config.clone()).target("mcp://orders:8080").observe(export.keeper()));
    let handles = [client.handle(), attempt.handle(), server.handle()];
    let lost = || BoxError::from(Error::new(ErrorKind::ConnectionLost).because("cut"));
    let server = server.layer(service_fn(move |request: Request| async move {
        match (request.method().name(), request.context().attempt()) {
            ("Lost", _) | ("LostOnce", 0) => Err(lost()),
            ("Slow", _) => {
                sleep(Duration::from_secs(2)).await;
                Ok(Response::default())
            }
            _ => Ok(Response::default()),
        }
    }));
    let attempt = BoxCloneSyncService::new(attempt.layer(server));
    let attempts = service_fn(move |request: Request| {
        let attempt = attempt.clone();
        async move {
            let mut outcome = Err(lost());
            for number in 0..3 {
                let mut request = request.clone();
                request.context_mut().set_attempt(number);
                outcome = attempt.clone().oneshot(request).await;
                if outcome.is_ok() {
                    break;
                }
            }
            outcome
        }
    });
    (client.layer(attempts), handles)
}

fn request(method: &'static str) -> Request {
    Request::with_context(method, towpath_core::Context::new(), "".into())
}

/// One line for a span: what it is, its number, why it was kept, and that of its parent, which must have arrived. In order.
fn tree(spans: &[Span]) -> Vec<String> {
    let what = |span: &Span| match (span.kind(), attribute(span, "towpath.attempt")) {
        (SpanKind::Server, _) => "server".to_owned(),
        (_, Some(number)) => format!("attempt {number}"),
        _ => "call".to_owned(),
    };
    let by_id: HashMap<&[u8], &Span> = spans.iter().map(|span| (&*span.span_id, span)).collect();
    assert_eq!(by_id.len(), spans.len(), "an id is there twice");
    let mut lines: Vec<String> = spans
        .iter()
        .map(|span| {
            let kept = attribute(span, "towpath.kept").expect("it was not sampled");
            let own = format!("{} {kept}", what(span));
            if span.parent_span_id.is_empty() {
                return own;
            }
            let parent = by_id.get(&*span.parent_span_id).expect("its parent has not arrived");
            assert_eq!(parent.trace_id, span.trace_id);
            assert!(parent.start_time_unix_nano <= span.start_time_unix_nano + 1_000_000);
            format!("{own} < {}", what(parent))
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_call_that_fails_arrives_with_all_its_attempts() {
    let collector = Collector::start(OtlpProtocol::Grpc).await;
    let export = export(&collector, options());
    let (service, _) = stack(&tail(100), &export);
    assert!(service.clone().oneshot(request("Orders.Lost")).await.is_err());
    export.flush().await;
    let spans = collector.take();
    let whole = [
        "attempt 0 failed < call",
        "attempt 1 failed < call",
        "attempt 2 failed < call",
        "call failed",
        "server failed < attempt 0",
        "server failed < attempt 1",
        "server failed < attempt 2",
    ];
    assert_eq!(tree(&spans), whole);
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));

    // The one that mended it is not there: nothing was wrong with it.
    service.clone().oneshot(request("Orders.LostOnce")).await.unwrap();
    service.oneshot(request("Orders.Place")).await.unwrap();
    export.flush().await;
    let mended = ["attempt 0 failed < call", "call below", "server failed < attempt 0"];
    assert_eq!(tree(&collector.take()), mended);
}

#[tokio::test]
async fn the_slow_one_arrives_and_the_fast_ones_around_it_do_not() {
    let collector = Collector::start(OtlpProtocol::Grpc).await;
    let export = export(&collector, options());
    let (service, _) = stack(&tail(100), &export);
    // At the same time, on one thread: who is polled meanwhile has nothing to do with it.
    time::pause();
    let calls = (0..60).map(|n| {
        let method = if n == 30 { "Orders.Slow" } else { "Orders.Place" };
        tokio::spawn(context::background(service.clone().oneshot(request(method))))
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    time::resume();
    export.flush().await;
    let spans = collector.take();
    assert_eq!(tree(&spans), ["attempt 0 slow < call", "call slow", "server slow < attempt 0"]);
    for span in spans {
        let took = Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano);
        assert_eq!((&*span.name, took.as_secs()), ("Orders.Slow", 2));
    }
}

/// A service that is down fails all calls.
#[tokio::test]
async fn no_more_arrives_than_may_be_kept_a_second() {
    let collector = Collector::start(OtlpProtocol::Grpc).await;
    let export = export(&collector, options());
    let (service, handles) = stack(&tail(6), &export);
    time::pause();
    for _ in 0..40 {
        service.clone().oneshot(request("Orders.Lost")).await.unwrap_err();
    }
    // A second later there may be as many again.
    time::advance(Duration::from_secs(1)).await;
    for _ in 0..40 {
        service.clone().oneshot(request("Orders.Lost")).await.unwrap_err();
    }
    time::resume();
    export.flush().await;
    let lines = tree(&collector.take());
    let arrived = |what| lines.iter().filter(|line| line.starts_with(what)).count() as u64;
    // Six of each, twice. No span is without its parent: `tree` looks for it.
    assert_eq!(["call", "attempt", "server"].map(arrived), [12, 12, 12]);
    let counts = handles.map(|handle| handle.counts());
    assert_eq!(counts.map(|counts| counts.kept), [12, 12, 12]);
    assert_eq!(counts.map(|counts| counts.left_out), [80 - 12, 240 - 12, 240 - 12]);
}

/// Counts warnings that say this.
struct Said(&'static str, Arc<AtomicU64>);

impl<S: Subscriber> layer::Layer<S> for Said {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        let mut says = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            if field.name() == "message" {
                says = format!("{value:?}");
            }
        });
        if *event.metadata().level() == Level::WARN && says.starts_with(self.0) {
            self.1.fetch_add(1, SeqCst);
        }
    }
}

#[tokio::test]
async fn a_collector_that_is_slow_holds_up_no_call() {
    let (full, lost) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let full_said = Said("spans find no room", full.clone());
    let lost_said = Said("spans cannot be sent", lost.clone());
    let _guard = set_default(tracing_subscriber::registry().with(full_said.and_then(lost_said)));
    let collector = Collector::start(OtlpProtocol::Grpc).await;
    let small = ExportOptions {
        queue: 16,
        batch: 4,
        interval: Duration::from_millis(10),
        timeout: Duration::from_millis(200),
        ..options()
    };
    let export = export(&collector, small);
    let (service, handles) = stack(&tail(1_000_000), &export);
    let held = collector.hold().await;
    let mut rounds = 0;
    // Until batches were given up, more than one.
    while export.counts().failed < 12 {
        for _ in 0..50 {
            // Answered at the first poll: there was nothing that it would have waited for.
            let mut call = spawn(service.clone().oneshot(request("Orders.Lost")));
            assert_ready!(call.poll()).unwrap_err();
        }
        rounds += 1;
        sleep(Duration::from_millis(20)).await;
    }
    drop(held);
    export.flush().await;
    let counts = export.counts();
    let made = 7 * 50 * rounds;
    assert_eq!(handles.map(|handle| handle.counts().kept).iter().sum::<u64>(), made);
    assert_eq!(counts.sent + counts.failed + counts.dropped, made);
    assert!(counts.dropped >= made - 16 - counts.sent - counts.failed, "{counts:?}");
    assert_eq!((full.load(SeqCst), lost.load(SeqCst)), (1, 1));

    // What comes then is sent as if nothing had been.
    collector.take();
    service.oneshot(request("Orders.Lost")).await.unwrap_err();
    export.flush().await;
    assert_eq!(tree(&collector.take()).len(), 7);
    assert_eq!(export.counts().sent, counts.sent + 7);
}
