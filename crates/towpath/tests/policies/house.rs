//! Hosts on a network in memory, and clients between them.

use std::{future::Future, time::Duration};
use tokio::{task::JoinSet, time::Instant};
use tower_service::Service;
use towpath::{
    BoxError, Client, ClientBuilder, Connection, Error, ErrorKind, Request, Response, ServerConfig,
    transport::{Drain, ServerConnection},
};
use towpath_testing::net::{Conditions, Network};

/// Hosts near each other: half a millisecond each way.
pub(crate) fn network() -> Network {
    let (min_latency, max_latency) = (Duration::from_micros(400), Duration::from_micros(600));
    Network::new(7, Conditions { min_latency, max_latency, ..Conditions::default() })
}

/// Serves on a host for as long as the runtime lives.
pub(crate) fn serve<S>(network: &Network, host: &str, service: S)
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    let mut listener = network.listen(host).unwrap();
    tokio::spawn(async move {
        let (config, signal) = (ServerConfig::default(), Drain::new());
        let mut connections = JoinSet::new();
        loop {
            let io = listener.accept().await;
            connections.spawn(ServerConnection::new(io, service.clone(), &config, signal.watch()));
        }
    });
}

/// The builder of a client on one host.
pub(crate) fn from(network: &Network, host: &'static str) -> ClientBuilder {
    let network = network.clone();
    Client::builder().connector(move |address, config| {
        let network = network.clone();
        async move {
            let io = network.connect(host, address.host().unwrap()).await;
            let io = io.map_err(|error| Error::new(ErrorKind::ConnectFailed).with_source(error))?;
            let (connection, driver) = Connection::new(io, address.to_string(), &config).unwrap();
            tokio::spawn(driver);
            Ok(connection)
        }
    })
}

/// Makes a call at each tick, whatever became of those before; answers with what all of them came to.
pub(crate) async fn open_loop<R: Send + 'static, F: Future<Output = R> + Send + 'static>(
    per_second: u32,
    time: Duration,
    mut call: impl FnMut(Instant) -> F,
) -> Vec<R> {
    let (start, mut calls) = (Instant::now(), JoinSet::new());
    let count = (time.as_secs_f64() * f64::from(per_second)) as u32;
    for n in 0..count {
        tokio::time::sleep_until(start + Duration::from_secs(1) * n / per_second).await;
        calls.spawn(call(Instant::now()));
    }
    calls.join_all().await
}
