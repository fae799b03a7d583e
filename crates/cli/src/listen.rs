//! A server that runs until a signal drains it.

use crate::{
    exit::Failure,
    stop::{Hangups, Signals},
};
use std::{
    future::IntoFuture,
    io::{ErrorKind, IsTerminal, Write, stderr, stdout},
};
use tokio::sync::oneshot;
use tower::util::{Either, option_layer};
use towpath::{
    BindOptions, Register, Router, Scheme, Serve, Server, ServerConfig, ServerTls,
    limit::{ReportLoad, ReportLoadLayer},
};
use tracing_subscriber::EnvFilter;

/// Has what is logged go to stderr: what RUST_LOG says, or this.
pub(crate) fn log(otherwise: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(otherwise));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .init();
}

/// The methods, in a registry or on their own.
type Served = Either<ReportLoad<Router>, Router>;

/// What is served, and how.
pub(crate) struct Listen<'a> {
    pub(crate) at: &'a str,
    pub(crate) options: BindOptions,
    pub(crate) tls: Option<ServerTls>,
    pub(crate) config: ServerConfig,
    pub(crate) register: Vec<Register>,
}

/// Listens, says where on the first line of stdout, and serves until it has drained.
pub(crate) async fn run(
    listen: Listen<'_>,
    router: Router,
    more: impl FnOnce(Serve<Served>) -> Serve<Served>,
) -> Result<(), Failure> {
    let Listen { at, mut options, tls, config, register } = listen;
    let router = router.checked().map_err(|error| Failure::Other(error.to_string()))?;
    if let Some(tls) = &tls {
        options = options.tls(tls.clone());
    }
    // For who shares calls out among those that are registered; an answer to anybody else is as the handler made it.
    let report = (!register.is_empty()).then(ReportLoadLayer::new);
    let mut builder = Server::builder().config(config).options(options).layer(option_layer(report));
    for register in register {
        builder = builder.register(register);
    }
    let server = builder.bind(at).await.map_err(|error| {
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
    let serving = more(server.serve(router)).with_graceful_shutdown(async {
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
