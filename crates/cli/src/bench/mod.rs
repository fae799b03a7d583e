//! `towpath bench`: calls a method over and over, and says how long it took.

mod live;
mod load;
mod pace;
mod report;
mod svg;
mod tally;

use crate::{args::BenchArgs, body, exit::Failure, token, usage};
use load::{Load, Target};
use report::{Asked, Report};
use std::{
    fs,
    io::{Write, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tally::Tally;
use tokio::time::Instant;
use towpath::{Method, terminated};

/// How long a connect may take.
const CONNECT: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: BenchArgs) -> Result<(), Failure> {
    usage::method(&args.method)?;
    usage::headers(&args.headers)?;
    let token = token::read(&args.token, &args.headers)?;
    let body = body::read(args.body, args.codec)?;
    let url = args.address.to_string();
    let asked = Asked {
        url: url.clone(),
        method: args.method.clone(),
        connections: args.connections,
        inflight: args.inflight,
        rate: args.rate,
    };
    let target = Arc::new(Target {
        method: Method::from(args.method),
        codec: args.codec.id(),
        body,
        headers: args.headers,
        token,
        timeout: args.timeout,
    });
    let mut builder = args.address.client(&args.tls, CONNECT)?;
    if let Some(compress) = args.compress {
        builder = builder.compression(compress.compression());
    }
    let mut clients = Vec::new();
    for _ in 0..args.connections {
        clients.push(builder.clone().connect(&url).await?);
    }

    let stop = Arc::new(AtomicBool::new(false));
    let stopper = tokio::spawn({
        let stop = stop.clone();
        async move {
            terminated().await;
            stop.store(true, Relaxed);
        }
    });
    let begin = Instant::now();
    let mut load = Load::start(clients, &target, args.inflight, args.rate, begin, args.duration, &stop)?;
    let line = tokio::spawn(live::run(load.tallies().to_vec(), begin, args.duration));
    let unsent = load.finished().await?;
    let took = begin.elapsed();
    line.abort();
    // Its last line is erased before the report is written.
    let _ = line.await;
    stopper.abort();

    let mut tally = Tally::sum(load.tallies())?;
    for waited in unsent {
        tally.unsent(waited);
    }
    let report = Report { asked, took, tally };
    let text = if args.json { report.json() } else { report.text() };
    let mut out = stdout().lock();
    let written = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    written.map_err(|error| Failure::Other(format!("stdout cannot be written: {error}")))?;
    if let Some(file) = args.svg {
        fs::write(&file, svg::draw(&report))
            .map_err(|error| Failure::Other(format!("{} cannot be written: {error}", file.display())))?;
    }
    report.verdict()
}
