//! A backend fails for a while and recovers. The breaker of its method opens, asks now and then, and closes; the
//! other method is called all the while. A line for each change of state, and one for each half second.
//!
//! `cargo run --example breaker_dashboard -- [--seconds S] [--config '{"open_ms": 1000}']`

use clap::Parser;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, interval, sleep};
use towpath::{
    BoxError, Client, DefaultClassify, Fault, Json, Router, Server,
    breaker::{BreakerConfig, BreakerEvent, BreakerHandle, BreakerLayer, BreakerOptions, Change, Window},
};

#[derive(Parser)]
struct Args {
    /// How long it runs. The stock is broken from the first quarter to the half.
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// The breakers' config, as in a file. Without it: `BreakerConfig::prompt`, with a window of 1 s, so that the
    /// good calls from before the trouble do not count for long.
    #[arg(long)]
    config: Option<String>,
}

towpath::fault_codes! {
    /// What the stock service fails with.
    enum StockFault {
        /// The database is gone. `unhealthy`: it opens breakers, which no other fault of an application does.
        Broken = "STK-E-900", "the database is gone", transient, unhealthy;
    }
}

const METHODS: [&str; 2] = ["StockService.Count", "StockService.Reserve"];

fn stock(broken: Arc<AtomicBool>) -> Router {
    let reserve = move || {
        let broken = broken.load(Relaxed);
        async move { if broken { Err(Fault::from(StockFault::Broken)) } else { Ok(Json(7)) } }
    };
    let count = || async { Ok::<_, Fault>(Json(42)) };
    Router::new().route(METHODS[0], count).route(METHODS[1], reserve)
}

/// `1.62 s  StockService.Reserve  closed -> open: failure rate; 310 of 620 calls failed, next probe in 95 ms`
fn line(change: &Change, start: Instant) -> String {
    let Change { name, from, to, reason, at, counts, open_for, .. } = change;
    let mut line = format!("{:5.2} s  {name:21} {from} -> {to}: {reason}", (*at - start).as_secs_f64());
    if let Some(time) = open_for {
        let (failed, calls) = (counts.failures, counts.calls);
        line += &format!("; {failed} of {calls} calls failed, next probe in {} ms", time.as_millis());
    }
    line
}

/// What there is of one breaker beside its changes.
fn rates(breaker: &BreakerHandle) -> String {
    let (status, rejected) = (breaker.status(), breaker.rejected());
    let (calls, failed) = (status.window.calls, 100.0 * status.window.failure_rate());
    format!(
        "{:21} {:9} {calls:4} calls, {failed:3.0} % failed, {rejected} turned away",
        breaker.name(),
        status.state
    )
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let config = match &args.config {
        Some(text) => serde_json::from_str(text)?,
        None => {
            let window = Window::Time(Duration::from_secs(1));
            BreakerConfig::try_new(BreakerOptions { window, ..BreakerConfig::prompt().options() })?
        }
    };
    let broken = Arc::new(AtomicBool::new(false));
    let server = Server::builder().bind("127.0.0.1:0").await?;
    let url = format!("mcp://{}", server.local_addr());
    tokio::spawn(server.serve(stock(broken.clone())).into_future());

    let start = Instant::now();
    let breaker = BreakerLayer::new(config)
        .per_method()
        .honour_context()
        .classify(DefaultClassify::new().declare(StockFault::declared()))
        .observe(move |event: &BreakerEvent| {
            if let BreakerEvent::Changed(change) = event {
                println!("{}", line(change, start));
            }
        });
    let breakers = breaker.handle();
    let client = Client::builder().layer(breaker).connect(&url).await?;
    for n in 0..20 {
        let client = client.clone();
        tokio::spawn(async move {
            loop {
                // What becomes of a single call is not of interest here: the breaker tells.
                let _ = client.call::<u32>(METHODS[n % 2], &()).await;
                sleep(Duration::from_millis(10)).await;
            }
        });
    }

    let mut half_seconds = interval(Duration::from_millis(500));
    while start.elapsed().as_secs_f64() < args.seconds {
        half_seconds.tick().await;
        let part = start.elapsed().as_secs_f64() / args.seconds;
        broken.store((0.25..0.5).contains(&part), Relaxed);
        let health = if broken.load(Relaxed) { "broken" } else { "well" };
        println!("{:5.2} s  the stock is {health}", start.elapsed().as_secs_f64());
        breakers.all().iter().for_each(|breaker| println!("         {}", rates(breaker)));
    }
    Ok(())
}
