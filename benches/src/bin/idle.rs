//! What connections cost a server that nobody calls: they hold no buffers.
//!
//! ```text
//! idle [--connections N] [--limit-mb M]
//! ```
//!
//! The server is a process of its own. Every connection makes one call first, so that whatever a call leaves behind
//! is there. What the kernel keeps for a socket is not counted.

use bytes::Bytes;
use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{io::Read, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::Command,
    time::{Instant, sleep},
};
use tower::{Service, ServiceExt};
use towpath_benches::{
    Failure,
    process::resident,
    service::{Echo, METHOD},
};
use towpath_core::Request;
use towpath_transport::{Address, ClientConfig, Connection, Server, ServerConfig};

#[derive(Parser)]
#[command(about = "How much memory idle connections cost a server")]
struct Args {
    /// How many.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Fail if the server is larger than this at the end, in MB (10^6 bytes).
    #[arg(long, default_value_t = 200)]
    limit_mb: u64,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Serve,
}

/// Serves until its stdin ends.
async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let parent = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        served = Server::from_listener(listener, ServerConfig::default())?.serve(Echo) => Ok(served?),
        _ = parent => Ok(()),
    }
}

/// A descriptor for each connection, and some to spare.
fn allow(connections: usize) -> Result<(), Failure> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = connections as u64 + 200;
    if soft < wanted {
        let told = |error| format!("{wanted} descriptors are wanted, {hard} allowed (ulimit -Hn): {error}");
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).map_err(told)?;
    }
    Ok(())
}

async fn run(args: &Args) -> Result<(), Failure> {
    let mut server = Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = server.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).await?;
    }
    let address: Address = format!("mcp://{}", line.trim()).parse()?;
    let pid = server.id().ok_or("the server has ended")?.to_string();
    let size = || resident(&pid).ok_or("the server has ended");

    let before = size()?;
    let (since, body) = (Instant::now(), Bytes::from(vec![7; 1024]));
    let mut connections = Vec::with_capacity(args.connections);
    for _ in 0..args.connections {
        let mut connection = Connection::connect(&address, &ClientConfig::default()).await?;
        let response = connection.ready().await?.call(Request::new(METHOD, body.clone())).await?;
        if response.body() != &body {
            return Err("the echo is not what was sent".into());
        }
        connections.push(connection);
    }
    let took = since.elapsed();
    // Whatever is let go of after a while is let go of.
    sleep(Duration::from_secs(1)).await;
    let after = size()?;
    if let Some(lost) = connections.iter().find(|connection| connection.is_closed()) {
        return Err(format!("a connection was lost meanwhile: {}", lost.closed().await).into());
    }
    println!(
        "{} connections, made and called once in {:.1} s: the server grew from {:.1} MB to {:.1} MB, {:.1} kB each",
        args.connections,
        took.as_secs_f64(),
        before as f64 / 1e6,
        after as f64 / 1e6,
        after.saturating_sub(before) as f64 / 1e3 / args.connections.max(1) as f64,
    );
    if after > args.limit_mb * 1_000_000 {
        return Err(format!("more than {} MB", args.limit_mb).into());
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    allow(args.connections)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        match args.role {
            Some(Role::Serve) => serve().await,
            None => run(&args).await,
        }
    });
    runtime.shutdown_background();
    done
}
