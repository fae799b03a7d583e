//! An echo client and server, for comparing towpath with others under the same load: a closed loop of
//! `--inflight` callers over `--conns` connections.
//!
//! ```text
//! towpath-echo server --addr 127.0.0.1:7777 [--rt current|multi:N] [--stack bare|full]
//! towpath-echo client --addr 127.0.0.1:7777 [--conns C] [--inflight N] [--payload BYTES] [--seconds S]
//!                     [--warmup S] [--server-pid PID] [--rt current|multi:N] [--stack bare|full]
//! ```
//!
//! `bare` is the transport with tower services on both sides; `full` is the client and the server with everything on
//! (policies, balancer, metrics, spans of 1 % of the calls: `benches/src/armour.rs`). The client prints one line of JSON.

mod args;
mod report;

use args::{Args, Side, Stack};
use bytes::Bytes;
use tower::{Service, ServiceExt};
use towpath::{Raw, Router};
use towpath_benches::{
    Failure, armour,
    meter::Meter,
    service::{Echo, METHOD},
};
use towpath_core::{BoxError, Request, Response};
use towpath_transport::{Address, ClientConfig, Connection, Server, ServerConfig, terminated};

#[cfg(feature = "count-alloc")]
#[global_allocator]
static ALLOCATOR: towpath_benches::alloc::Switched = towpath_benches::alloc::Switched;

async fn serve(args: Args) -> Result<(), Failure> {
    match args.stack {
        Stack::Bare => {
            let server = Server::bind(args.addr, ServerConfig::default()).await?;
            server.serve(Echo).with_graceful_shutdown(terminated()).await?;
        }
        Stack::Full => {
            let server = armour::server().bind(args.addr).await?;
            let router: Router = Router::new().route(METHOD, |raw: Raw| async move { raw });
            server.serve(router).with_graceful_shutdown(terminated()).await?;
        }
    }
    report::print_server();
    Ok(())
}

async fn call(args: Args) -> Result<(), Failure> {
    let address = Address::from(args.addr);
    match args.stack {
        Stack::Bare => {
            let mut connections = Vec::new();
            for _ in 0..args.conns {
                connections.push(Connection::connect(&address, &ClientConfig::default()).await?);
            }
            drive(args, connections).await
        }
        Stack::Full => {
            let mut clients = Vec::new();
            for _ in 0..args.conns {
                let client = armour::client(args.addr)?;
                client.ready().await?;
                clients.push(client);
            }
            drive(args, clients).await
        }
    }
}

/// Each caller calls again as soon as it is answered.
async fn drive<S>(args: Args, services: Vec<S>) -> Result<(), Failure>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Error: Into<BoxError> + Send,
    S::Future: Send,
{
    let body = Bytes::from(vec![7u8; args.payload]).clone();
    let meter = Meter::default();
    let mut callers = Vec::new();
    for i in 0..args.inflight {
        let (mut service, body, meter) = (services[i % services.len()].clone(), body.clone(), meter.clone());
        callers.push(tokio::spawn(async move {
            let mut lap = meter.lap();
            while !meter.is_over() {
                let request = Request::new(METHOD, body.clone());
                let response =
                    service.ready().await.map_err(Into::into)?.call(request).await.map_err(Into::into)?;
                if response.body().len() != body.len() {
                    return Err(BoxError::from("the echo is not what was sent"));
                }
                lap.record();
            }
            Ok(())
        }));
    }
    let measured = meter.measure(args.warmup, args.seconds, args.server_pid).await;
    report::print_client(&args, &measured);
    for caller in callers {
        caller.await??;
    }
    Ok(())
}

async fn run(args: Args) -> Result<(), Failure> {
    match args.side {
        Side::Server => serve(args).await,
        Side::Client => call(args).await,
    }
}

fn main() -> Result<(), Failure> {
    #[cfg(feature = "count-alloc")]
    towpath_benches::alloc::count(true);
    let args = Args::from_env()?;
    if args.stack == Stack::Full {
        armour::spans_have_a_subscriber();
    }
    let workers = args.workers;
    let runtime = match workers {
        None => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        Some(n) => tokio::runtime::Builder::new_multi_thread().worker_threads(n).enable_all().build()?,
    };
    // Spawned, so that with several workers nothing runs on a thread that is none of them.
    runtime.block_on(async { tokio::spawn(run(args)).await? })
}
