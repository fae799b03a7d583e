//! A trace goes with its call, whatever happens on the way, and nobody else's comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::task::JoinSet;
use tower::ServiceExt;
use towpath::{
    BoxError, BudgetConfig, Client, ClientPolicies, Context, Error, ErrorKind, Request, Response, Server,
    Tracing,
    context::{self, SpanId, TraceContext, TraceId},
    retry::{HedgeAfter, HedgeConfig, RetryConfig},
    trace::{Recorded, Role, TraceConfig, Value, log::JsonLines},
};

/// A span, as it was recorded.
#[derive(Clone, Debug)]
struct Span {
    role: Role,
    trace: TraceContext,
    parent: Option<SpanId>,
    attempt: u16,
    address: Option<String>,
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::Str(text) => text.to_owned(),
        Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// What the process logs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// What handlers have said of the first thousand numbers: the number, and the trace and the span that the line names.
    fn of_handlers(&self) -> Vec<(u64, String, String)> {
        let lines = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let id = |line: &serde_json::Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let number =
            |line: &serde_json::Value| line["fields"]["number"].as_u64().filter(|number| *number < 1_000);
        lines.filter_map(|line| Some((number(&line)?, id(&line, "trace_id"), id(&line, "span_id")))).collect()
    }
}

fn tracing(spans: &Spans) -> Tracing {
    let spans = spans.clone();
    Tracing::new(TraceConfig::sampled(1.0).unwrap()).observe(move |recorded: &Recorded<'_>| {
        let (mut host, mut port) = (None, None);
        recorded.attributes(|name, value| match name {
            "server.address" => host = Some(text(value)),
            "server.port" => port = Some(text(value)),
            _ => {}
        });
        spans.lock().unwrap().push(Span {
            role: recorded.role,
            trace: recorded.trace,
            parent: recorded.parent,
            attempt: recorded.attempt,
            address: host.zip(port).map(|(host, port)| format!("{host}:{port}")),
        });
    })
}

/// Says in which trace it was called: in its own task, after a wait, and in a task that it has spawned. Of ten calls one is
/// refused the first time, one is slow the first time.
async fn answer(request: Request) -> Result<Response, BoxError> {
    let own = request.context().trace().map(|trace| trace.trace_id);
    let number: u32 = std::str::from_utf8(request.body())?.parse()?;
    let first = request.context().attempt() == 0;
    tracing::info!(number, "asked");
    match number % 10 {
        3 if first => return Err(Error::new(ErrorKind::Overloaded).into()),
        7 if first => tokio::time::sleep(Duration::from_millis(400)).await,
        _ => tokio::task::yield_now().await,
    }
    let here = context::current_trace().map(|trace| trace.trace_id);
    tracing::info!(number, "waited");
    let spawned = context::spawn(async move {
        tokio::task::yield_now().await;
        tracing::info!(number, "spawned");
        context::current_trace().map(|trace| trace.trace_id)
    });
    let spawned = spawned.await?;
    let said = [own, here, spawned].map(|id| id.map(|id| id.to_string()).unwrap_or_default());
    Ok(Response::new(said.join(" ").into()))
}

/// Through retry, hedge, balancer and pool, over real sockets: each call in a trace that somebody else has begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_a_thousand_calls_at_a_time_keep_their_traces() {
    const CALLS: u32 = 1_000;
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().event_format(JsonLines::new()).with_writer(move || writer.clone());
    // For the process: handlers run on threads of the runtime.
    log.init();
    let (servers, clients) = (Spans::default(), Spans::default());
    let mut places = Vec::new();
    for _ in 0..3 {
        let server = Server::builder().trace(tracing(&servers)).bind("127.0.0.1:0").await.unwrap();
        places.push(server.local_addr().to_string());
        tokio::spawn(server.serve(tower::service_fn(answer)).into_future());
    }
    // As many attempts as they want: it is not about budgets.
    let plenty = BudgetConfig::try_new(1.0, 10_000).unwrap();
    let hedge = HedgeConfig::try_new(HedgeAfter::Fixed(Duration::from_millis(100))).unwrap();
    let retry = RetryConfig::default().with_budget(plenty).with_hedge(hedge.with_budget(plenty));
    let mut policies = ClientPolicies::default();
    policies.retry = Some(retry);
    let client = Client::builder()
        .idempotent("Orders.*")
        .policies(policies)
        .trace(tracing(&clients))
        .connect(format!("mcp://{}", places.join(",")))
        .await
        .unwrap();

    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let client = client.clone();
        calls.spawn(async move {
            let (trace_id, span_id) = (fastrand::u128(1..), fastrand::u64(1..));
            let trace = format!("00-{trace_id:032x}-{span_id:016x}-01");
            let trace = TraceContext::parse_traceparent(trace.as_bytes()).unwrap();
            let mut context = Context::new();
            context.set_trace(Some(trace));
            let request = Request::with_context("Orders.Place", context, number.to_string().into());
            (number, trace, client.oneshot(request).await)
        });
    }
    let (mut begun, mut numbered) = (BTreeMap::new(), BTreeMap::new());
    while let Some(call) = calls.join_next().await {
        let (number, trace, answer) = call.unwrap();
        let answer = answer.unwrap();
        let id = trace.trace_id.to_string();
        assert_eq!(answer.body(), &format!("{id} {id} {id}"), "whatever the handler does");
        begun.insert(trace.trace_id, trace);
        numbered.insert(u64::from(number), id);
    }
    let (mut logged, mut whole) = (BTreeMap::new(), BTreeSet::new());
    for (number, trace, span) in lines.of_handlers() {
        assert_eq!(trace, numbered[&number], "a line of call {number} names its trace");
        let lines = logged.entry(span).or_insert(0);
        *lines += 1;
        if *lines == 3 {
            whole.insert(number);
        }
    }
    assert_eq!(whole.len(), CALLS as usize, "of each call a handler has said all that it says, in one span");
    let mut of: BTreeMap<TraceId, Vec<Span>> = BTreeMap::new();
    for span in clients.lock().unwrap().iter().chain(servers.lock().unwrap().iter()) {
        of.entry(span.trace.trace_id).or_default().push(span.clone());
    }
    assert_eq!(of.len(), CALLS as usize, "no trace but those that were begun");
    let (mut retried, mut used) = (0, BTreeSet::new());
    for (id, spans) in of {
        let with = |role| spans.iter().filter(move |span| span.role == role).collect::<Vec<_>>();
        let [call] = with(Role::Client)[..] else { panic!("{spans:?}") };
        assert_eq!(call.parent, Some(begun[&id].span_id));
        let attempts = with(Role::Attempt);
        assert!(attempts.iter().all(|attempt| attempt.parent == Some(call.trace.span_id)), "{spans:?}");
        let numbers: BTreeSet<_> = attempts.iter().map(|attempt| attempt.attempt).collect();
        assert_eq!(numbers, (0..attempts.len() as u16).collect(), "siblings, numbered: {spans:?}");
        retried += usize::from(attempts.len() > 1);
        used.extend(attempts.iter().filter_map(|attempt| attempt.address.clone()));
        let ids: BTreeSet<_> = attempts.iter().map(|attempt| attempt.trace.span_id).collect();
        assert_eq!(ids.len(), attempts.len());
        for server in with(Role::Server) {
            assert!(server.parent.is_some_and(|parent| ids.contains(&parent)), "{spans:?}");
            assert!(
                logged.contains_key(&server.trace.span_id.to_string()),
                "its lines name the handler's span"
            );
        }
    }
    // All that were refused. Of those that were slow a busy machine may hedge fewer, or more.
    assert!(retried > CALLS as usize / 10, "{retried} calls had more than one attempt");
    assert_eq!(used, places.into_iter().collect(), "spans say where attempts went");
}

/// What a handler calls is in the trace of what it handles, and one address has a place as well.
#[tokio::test]
async fn a_call_within_a_handler_goes_on_with_the_trace() {
    let (below, above, clients) = (Spans::default(), Spans::default(), Spans::default());
    let server = Server::builder().trace(tracing(&below)).bind("127.0.0.1:0").await.unwrap();
    let place = server.local_addr().to_string();
    tokio::spawn(server.serve(tower::service_fn(answer)).into_future());
    let inner = Client::builder().trace(tracing(&clients)).connect(format!("mcp://{place}")).await.unwrap();
    let server = Server::builder().trace(tracing(&above)).bind("127.0.0.1:0").await.unwrap();
    let outer = Client::connect(format!("mcp://{}", server.local_addr())).await.unwrap();
    let pass = move |_: Request| {
        let inner = inner.clone();
        // As a handler calls: without a word about traces.
        async move {
            let said: String = inner.request("Orders.Place").raw("1001").send().await?;
            Ok::<_, BoxError>(Response::new(said.into()))
        }
    };
    tokio::spawn(server.serve(tower::service_fn(pass)).into_future());
    let said: String = outer.request("Front.Order").raw("").send().await.unwrap();
    let (above, below) = (above.lock().unwrap()[0].clone(), below.lock().unwrap()[0].clone());
    assert!(said.starts_with(&above.trace.trace_id.to_string()));
    let clients = clients.lock().unwrap().clone();
    let [attempt, call] = &clients[..] else { panic!("{clients:?}") };
    assert_eq!(call.parent, Some(above.trace.span_id));
    assert_eq!(attempt.parent, Some(call.trace.span_id));
    assert_eq!(below.parent, Some(attempt.trace.span_id));
    assert_eq!((&attempt.address, &call.address), (&Some(place.clone()), &Some(place)));
}
