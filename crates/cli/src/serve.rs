//! `towpath serve`

use crate::{
    args::ServeArgs,
    exit::Failure,
    stop::{Hangups, Signals},
    tls,
};
use serde::{Deserialize, Serialize};
use std::{
    future::IntoFuture,
    io::{ErrorKind, IsTerminal, Write, stderr, stdout},
    time::Duration,
};
use tokio::sync::oneshot;
use towpath::{
    BindOptions, ErrorCode, Fault, Json, Raw, Router, Scheme, Server, ServerConfig, ServerTls,
    router::Handler,
};
use tracing_subscriber::EnvFilter;

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .init();

    let router = router().checked().map_err(|error| Failure::Other(error.to_string()))?;
    let tls = tls::server(&args)?;
    let mut options = BindOptions::new().unix_mode(args.mode);
    if let Some(path) = &args.handover {
        options = options.handover(path);
    }
    if let Some(tls) = &tls {
        options = options.tls(tls.clone());
    }
    let config = ServerConfig {
        compression: args.compress.map(|compress| compress.compression()),
        ..ServerConfig::default()
    };
    let server =
        Server::builder().config(config).options(options).bind(&args.listen).await.map_err(|error| {
            let text = error.to_string();
            if error.kind() == ErrorKind::InvalidInput { Failure::Usage(text) } else { Failure::Other(text) }
        })?;

    // Whoever reads the line may send SIGTERM at once: it is listened for before the line is written.
    let deaf = |error| Failure::Other(format!("no signal can be received: {error}"));
    let mut signals = Signals::listen().map_err(deaf)?;
    let mut hangups = Hangups::listen(tls.is_some()).map_err(deaf)?;
    let mut out = stdout();
    let place = match server.address() {
        tcp if tcp.scheme() == Scheme::Tcp => server.local_addr().to_string(),
        other => other.to_string(),
    };
    writeln!(out, "listening on {place}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Other(format!("stdout cannot be written: {error}")))?;
    let (drain, drained) = oneshot::channel::<()>();
    let serving = server.serve(router).with_graceful_shutdown(async {
        // The sender is dropped, and sends nothing.
        let _ = drained.await;
    });
    let impatient = async {
        signals.next().await;
        drop(drain);
        signals.next().await;
    };
    tokio::select! {
        ended = serving.into_future() => ended.map_err(|error| Failure::Other(error.to_string())),
        () = hangups.each(|| reload(tls.as_ref())) => Ok(()),
        () = impatient => Err(Failure::Other("a second signal ended it before it was drained".to_owned())),
    }
}

/// The certificates, again.
fn reload(tls: Option<&ServerTls>) {
    match tls.map(ServerTls::reload) {
        Some(Ok(())) => tracing::info!("the certificates were read again"),
        Some(Err(error)) => tracing::warn!(%error, "the certificates stay what they were"),
        None => {}
    }
}

#[derive(Deserialize)]
struct GetUser {
    id: u64,
}

#[derive(Serialize)]
struct User {
    id: u64,
    name: String,
    email: String,
}

#[derive(Deserialize, Serialize)]
struct Sleep {
    ms: u64,
}

#[derive(Deserialize)]
struct Fail {
    code: ErrorCode,
    #[serde(default)]
    message: String,
    cause: Option<ErrorCode>,
}

fn router() -> Router {
    Router::new()
        .route("Echo.Echo", (async |body: Raw| body).idempotent())
        .route("UserService.GetUserInfo", get_user.idempotent())
        .route("Debug.Sleep", sleep)
        .route("Debug.Fail", fail)
}

async fn get_user(Json(GetUser { id }): Json<GetUser>) -> Json<User> {
    Json(User { id, name: format!("User {id}"), email: format!("user{id}@example.com") })
}

async fn sleep(Json(nap): Json<Sleep>) -> Json<Sleep> {
    tokio::time::sleep(Duration::from_millis(nap.ms)).await;
    Json(nap)
}

async fn fail(Json(Fail { code, message, cause }): Json<Fail>) -> Result<(), Fault> {
    let fault = Fault::new(code, message);
    Err(match cause {
        Some(cause) => fault.with_cause(cause),
        None => fault,
    })
}
