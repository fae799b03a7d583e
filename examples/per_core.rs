//! The same callers, the same server, first on tokio's multi-thread runtime, then on a thread for each core:
//! how many calls a second each of them makes. Both sides are in this one process.
//!
//! `cargo run --release --example per_core -- [--seconds S] [--rounds N]`

use clap::Parser;
use std::{sync::mpsc, time::Duration};
use tokio::time::Instant;
use towpath::{Client, CodecId, Cores, Request, Response, Server};

/// Callers for each core.
const CALLERS: usize = 64;

#[derive(Clone, Copy, Parser)]
struct Args {
    /// How long each measurement takes.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How often each is made; the best counts, as others use this machine too.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn echo(request: Request) -> Result<Response, towpath::BoxError> {
    let mut answer = Response::new(request.into_body());
    answer.set_codec(CodecId::RAW);
    Ok(answer)
}

/// Callers who call again as soon as they are answered; how many calls they made.
async fn call(address: String, callers: usize, time: Duration) -> Result<u64, Failure> {
    let client = Client::connect(&address).await?;
    let end = Instant::now() + time;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut calls = 0;
                while Instant::now() < end {
                    let _: bytes::Bytes =
                        client.request("Echo.Echo").raw("sixty-four bytes, more or less").send().await?;
                    calls += 1;
                }
                Ok::<u64, Failure>(calls)
            })
        })
        .collect();
    let mut calls = 0;
    for task in tasks {
        calls += task.await??;
    }
    Ok(calls)
}

/// Tokio's multi-thread runtime, with a connection for each core.
fn multi_thread(cores: usize, time: Duration) -> Result<u64, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_all().build()?;
    runtime.block_on(async {
        let server = Server::builder().bind("127.0.0.1:0").await?;
        let address = server.address().to_string();
        tokio::spawn(server.serve(tower::service_fn(echo)).into_future());
        let tasks: Vec<_> = (0..cores).map(|_| tokio::spawn(call(address.clone(), CALLERS, time))).collect();
        let mut calls = 0;
        for task in tasks {
            calls += task.await??;
        }
        Ok(calls)
    })
}

/// A thread for each core, each with a connection of its own.
fn per_core(cores: usize, time: Duration) -> Result<u64, Failure> {
    let cores = Cores::new(cores)?;
    let (say, hear) = mpsc::channel();
    let runtimes = cores.handles().to_vec();
    cores.spawn_on(0, async move {
        let server = Server::builder().bind("127.0.0.1:0").await?;
        say.send(server.address().to_string())?;
        server.serve(tower::service_fn(echo)).across(runtimes).await?;
        Ok::<(), Failure>(())
    });
    let address = hear.recv()?;
    let calls = cores.run(|_| call(address.clone(), CALLERS, time))?;
    let calls = calls.into_iter().sum::<Result<u64, Failure>>()?;
    cores.join();
    Ok(calls)
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let cores = std::thread::available_parallelism()?.get();
    let time = Duration::from_secs_f64(args.seconds);
    let (mut shared, mut apart) = (0u64, 0u64);
    for _ in 0..args.rounds {
        shared = shared.max(multi_thread(cores, time)?);
        apart = apart.max(per_core(cores, time)?);
    }
    let rate = |calls: u64| calls as f64 / args.seconds;
    println!("{cores} cores, {CALLERS} callers on each, both sides in this process, best of {}", args.rounds);
    println!("  multi-thread runtime   {:>10.0} calls/s", rate(shared));
    println!("  a thread for each core {:>10.0} calls/s   {:.2}x", rate(apart), apart as f64 / shared as f64);
    Ok(())
}
