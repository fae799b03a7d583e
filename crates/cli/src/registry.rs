//! `towpath registry`

use crate::{
    args::RegistryArgs,
    exit::Failure,
    listen::{self, Listen},
    tls,
};
use towpath::{
    BindOptions, ServerConfig,
    registry::{Happened, Registry, RegistryConfig, RegistryEvent},
    transport::ToldToDrain,
};

pub(crate) async fn run(args: RegistryArgs) -> Result<(), Failure> {
    listen::log("warn,towpath::registry=info");
    let config = (RegistryConfig::default().with_heartbeat(args.heartbeat))
        .and_then(|config| config.with_missed(args.missed))
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let registry = Registry::with(config, tell);
    let listen = Listen {
        at: &args.listen,
        options: BindOptions::new().unix_mode(args.mode),
        tls: tls::server(&args.tls)?,
        config: ServerConfig::default(),
        register: Vec::new(),
    };
    let router = registry.router();
    // Those who watch wait for up to a minute, and would hold up the drain.
    let let_go = |told: ToldToDrain| async move {
        told.await;
        registry.drain();
    };
    listen::run(listen, router, |serve| serve.beside(let_go)).await
}

/// Who comes and goes, for the log; the library warns of those whose lease ran out.
fn tell(event: &RegistryEvent) {
    let RegistryEvent { service, instance, what } = event;
    let what = match what {
        Happened::Registered => "is registered",
        Happened::Described => "says something else of itself",
        Happened::Replaced => "is registered again",
        Happened::Deregistered => "has taken its leave",
        _ => return,
    };
    let (address, weight, draining) = (instance.address(), instance.weight(), instance.is_draining());
    tracing::info!(target: "towpath::registry", %service, weight, draining, "{address} {what}");
}
