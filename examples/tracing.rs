//! Where a call was, and why it failed: one trace through two services, as log lines and, where a collector is named, as
//! spans in OpenTelemetry.
//!
//! A front service asks a stock service, which has run out of something. Nobody samples a trace here
//! (`sample` is 0), and yet the order that fails is kept, with all the calls around it; and every log line says which call
//! it belongs to. It starts both services on free loopback ports, checks what it shows, and ends:
//!
//! ```text
//! cargo run --example tracing
//! cargo run --example tracing --features otlp -- http://127.0.0.1:4317     # and to a collector, by OTLP over gRPC
//! ```

#[cfg(not(feature = "otlp"))]
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use towpath::{
    BoxError, Client, ClientPolicies, ErrorKind, Fault, Json, Router, Server, State, Tracing, context,
    trace::{Recorded, TraceConfig, log::JsonLines},
};
use tracing_subscriber::{filter::LevelFilter, prelude::*};

/// What was kept, a line each.
type Kept = Arc<Mutex<Vec<String>>>;

/// The traces that are sampled: none, unless a collector takes them.
fn sampled(share: f64, kept: &Kept) -> Result<Tracing, BoxError> {
    let kept = kept.clone();
    Ok(Tracing::new(TraceConfig::sampled(share)?).observe(move |call: &Recorded<'_>| {
        let outcome = call.outcome.error_type.unwrap_or("well");
        let line = format!("{:?} {} {} ended {outcome}", call.role, call.trace.trace_id, call.name);
        kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line);
    }))
}

/// Logs as JSON lines; and spans to a collector, if one is named.
#[cfg(feature = "otlp")]
fn subscribe(collector: Option<&str>) -> Result<Option<towpath::trace::otel::Export>, BoxError> {
    use towpath::trace::otel::{ExportConfig, Otlp, OtlpProtocol};
    let export = match collector {
        Some(endpoint) => {
            Some(Otlp::new(endpoint, OtlpProtocol::Grpc, ExportConfig::of_service("shop")).start()?)
        }
        None => None,
    };
    let lines = tracing_subscriber::fmt::layer().event_format(JsonLines::new());
    let spans = export.as_ref().map(towpath::trace::otel::Export::layer);
    tracing_subscriber::registry().with(spans).with(lines.with_filter(LevelFilter::INFO)).init();
    Ok(export)
}

#[cfg(not(feature = "otlp"))]
fn subscribe(collector: Option<&str>) -> Result<Option<Infallible>, BoxError> {
    if collector.is_some() {
        return Err("to send spans, build it with --features otlp".into());
    }
    let lines = tracing_subscriber::fmt::layer().event_format(JsonLines::new());
    tracing_subscriber::registry().with(lines.with_filter(LevelFilter::INFO)).init();
    Ok(None)
}

async fn serve(router: Router, tracing: Tracing) -> Result<String, BoxError> {
    let server = Server::builder().trace(tracing).bind("127.0.0.1:0").await?;
    let address = format!("mcp://{}", server.local_addr());
    tokio::spawn(server.serve(router).into_future());
    Ok(address)
}

/// The stock service.
async fn reserve(Json(item): Json<String>) -> Result<Json<String>, Fault> {
    // Nothing here is told of a trace, and the line has its ids.
    tracing::info!(item, "asked for");
    match &*item {
        "lamp" => Ok(Json("reserved".into())),
        _ => Err(Fault::new(ErrorKind::HandlerFailed, "the shelf cannot be reached")),
    }
}

/// The front service: what it calls goes on with the trace of what it handles.
async fn order(State(stock): State<Client>, Json(item): Json<String>) -> Result<Json<String>, Fault> {
    let answer = stock.call("Stock.Reserve", &item).await?;
    // So does what it spawns.
    context::spawn(async { tracing::info!("noted in the books") });
    Ok(Json(answer))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let collector = std::env::args().nth(1);
    let export = subscribe(collector.as_deref())?;
    let kept = Kept::default();
    let tracing = || sampled(if collector.is_some() { 1.0 } else { 0.0 }, &kept);

    let stock = serve(Router::new().route("Stock.Reserve", reserve), tracing()?).await?;
    let stock =
        Client::builder().policies(ClientPolicies::default()).trace(tracing()?).connect(stock).await?;
    let front = serve(Router::new().route("Shop.Order", order).with_state(stock), tracing()?).await?;
    let shop = Client::builder().trace(tracing()?).connect(front).await?;

    // These belong to no call that is handled here.
    let answer: String = context::background(shop.call("Shop.Order", "lamp")).await?;
    println!("the lamp is {answer}");
    let failed = context::background(shop.call::<String>("Shop.Order", "sofa")).await;
    println!("the sofa is not: {}", failed.err().map(|error| error.to_string()).unwrap_or_default());

    let kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    kept.iter().for_each(|line| println!("  {line}"));
    // The one that failed, from the first service to the last; of a collector's, all.
    let wanted = if collector.is_some() { 12 } else { 6 };
    if kept.len() != wanted {
        return Err(format!("{} spans, and {wanted} were to be shown", kept.len()).into());
    }
    if let Some(export) = export {
        #[cfg(feature = "otlp")]
        {
            export.flush().await;
            println!("{:?}", export.counts());
        }
        #[cfg(not(feature = "otlp"))]
        match export {}
    }
    Ok(())
}
