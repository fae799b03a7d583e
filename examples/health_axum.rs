//! A towpath server whose liveness and readiness are served by axum, for an orchestrator, and a client that checks it.
//!
//! Without arguments it asks itself what `curl` would, shows what is answered while a check fails and while the server
//! drains, and ends. With `--listen`, it serves until SIGTERM or Ctrl-C, to be asked by hand:
//!
//! ```text
//! cargo run --example health_axum -- --listen 127.0.0.1:8080 --health 127.0.0.1:9090
//! curl -i http://127.0.0.1:9090/livez
//! curl -i http://127.0.0.1:9090/readyz
//! kill -TERM …        # not ready at once, and serves on for 5 s before it drains
//! ```

use clap::Parser;
use std::{
    error::Error,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot, time::sleep};
use towpath::{Endpoint, EndpointStatus, Router, Server, terminated};
use towpath_health::{
    Health, HealthChecker, HealthConfig, HealthEvent, HealthOptions, HttpProbe, ReportConfig,
};

#[derive(Parser)]
struct Args {
    /// Where calls are served
    #[arg(long, requires = "health")]
    listen: Option<SocketAddr>,

    /// Where /livez and /readyz are served
    #[arg(long, requires = "listen")]
    health: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    // What the service needs, and may lose.
    let cache_is_up = Arc::new(AtomicBool::new(true));
    match (args.listen, args.health) {
        (Some(listen), Some(health)) => {
            println!("calls at mcp://{listen}; curl -i http://{health}/readyz");
            serve(listen, health, cache_is_up, Duration::from_secs(5), terminated(), |_, _| ()).await
        }
        _ => by_itself(cache_is_up).await,
    }
}

/// The server, with what it says of itself at another port.
async fn serve(
    listen: SocketAddr,
    at: SocketAddr,
    cache_is_up: Arc<AtomicBool>,
    delay: Duration,
    stop: impl Future<Output = ()> + Send + 'static,
    started: impl FnOnce(SocketAddr, SocketAddr),
) -> Result<(), Box<dyn Error>> {
    let health = Health::builder()
        // An outcome is good for 50 ms, so that this program has something to show. The default is a second.
        .config(ReportConfig::try_new(Duration::from_millis(800), Duration::from_millis(50))?)
        .ready_check("cache", move || {
            let up = cache_is_up.load(Relaxed);
            async move { if up { Ok(()) } else { Err("the cache does not answer") } }
        })
        .note("disk", || async { Err("81 % full") })
        .build();
    let router = Router::new().route("Greeter.Hello", async || "hello");
    let server =
        Server::builder().readiness(health.readiness().clone()).drain_delay(delay).bind(listen).await?;
    let listener = TcpListener::bind(at).await?;
    started(server.local_addr(), listener.local_addr()?);

    // It answers until the server has drained, and ends with it.
    let answering = axum::serve(listener, health.router()).into_future();
    tokio::select! {
        served = server.serve(router).with_graceful_shutdown(stop).into_future() => served?,
        answered = answering => answered?,
    }
    Ok(())
}

/// Starts the server, checks it as a client does, breaks and heals it, and drains it.
async fn by_itself(cache_is_up: Arc<AtomicBool>) -> Result<(), Box<dyn Error>> {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, told) = oneshot::channel();
    let (cache, half) = (cache_is_up.clone(), Duration::from_millis(500));
    let serving = tokio::spawn(async move {
        let stop = async {
            let _ = stopped.await;
        };
        let started = |calls, health| {
            let _ = tell.send((calls, health));
        };
        serve(free, free, cache, half, stop, started).await.map_err(|error| error.to_string())
    });
    let (calls, health) = told.await?;

    // The client's side: the endpoint's own label says where it is asked. The default is every 5 s.
    let config = HealthConfig::try_new(HealthOptions {
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(50),
        ..HealthOptions::default()
    })?;
    let checker = HealthChecker::builder(HttpProbe::new("/readyz")?.port_of_label("health-port"))
        .config(config)
        .observe(|event: &HealthEvent| {
            if let HealthEvent::Changed { endpoint, healthy, error, .. } = event {
                let why = error.as_ref().map_or(String::new(), |error| format!(": {error}"));
                println!(
                    "  the client: {endpoint} is {}{why}",
                    if *healthy { "healthy" } else { "unhealthy" }
                );
            }
        })
        .build();
    let endpoint =
        Endpoint::new(format!("mcp://{calls}")).with_label("health-port", health.port().to_string());
    // No pool here that would say so.
    endpoint.state().set_ready();
    checker.add(endpoint.clone());
    let until = async |unhealthy: bool| {
        while (endpoint.state().status() == EndpointStatus::Unhealthy) != unhealthy {
            sleep(Duration::from_millis(5)).await;
        }
    };

    show(health, "/livez").await?;
    show(health, "/readyz").await?;
    println!("\nthe cache is lost");
    cache_is_up.store(false, Relaxed);
    until(true).await;
    show(health, "/readyz").await?;
    println!("\nthe cache is back");
    cache_is_up.store(true, Relaxed);
    until(false).await;
    show(health, "/readyz").await?;
    println!("\nthe server is told to drain");
    drop(stop);
    until(true).await;
    show(health, "/readyz").await?;
    serving.await??;
    println!("\nit has drained");
    Ok(())
}

/// Prints what `curl -i` would, without the headers.
async fn show(at: SocketAddr, path: &str) -> Result<(), Box<dyn Error>> {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::{
        client::legacy::{Client, connect::HttpConnector},
        rt::TokioExecutor,
    };
    let client: Client<HttpConnector, Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let answer = client.get(format!("http://{at}{path}").parse()?).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    println!("GET {path}: {status}\n  {}", String::from_utf8_lossy(&body));
    Ok(())
}
