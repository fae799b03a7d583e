//! The servers of the simulation: they listen, serve, drain, die and come back.

use super::ledger::Ledger;
use std::time::Duration;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};
use towpath::{
    Router, ServerConfig,
    transport::{Drain, ServerConnection},
};
use towpath_testing::net::Network;

pub struct Host {
    name: String,
    network: Network,
    config: ServerConfig,
    router: Router,
    ledger: Ledger,
    running: Option<Running>,
}

struct Running {
    drain: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Host {
    pub fn new(name: String, network: Network, config: ServerConfig, router: Router, ledger: Ledger) -> Self {
        Host { name, network, config, router, ledger, running: None }
    }

    pub fn start(&mut self) {
        let mut listener = self.network.listen(&self.name).unwrap();
        let (drain, mut drained) = oneshot::channel();
        let (config, router) = (self.config.clone(), self.router.clone());
        let task = tokio::spawn(async move {
            let signal = Drain::new();
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    biased;
                    _ = &mut drained => break,
                    io = listener.accept() => {
                        connections.spawn(ServerConnection::new(io, router.clone(), &config, signal.watch()));
                    }
                    Some(done) = connections.join_next() => done.unwrap(),
                }
            }
            drop(listener);
            signal.start();
            while connections.join_next().await.is_some() {}
        });
        self.running = Some(Running { drain, task });
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Ends it at once.
    pub async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
            let _ = running.task.await;
        }
    }

    /// A drain never waits much longer than it may; a peer that is not heard of has its last words time.
    pub async fn drain(&mut self) {
        let Some(running) = self.running.take() else { return };
        let start = Instant::now();
        let _ = running.drain.send(());
        let most = self.config.drain_timeout + Duration::from_secs(7);
        let mut task = running.task;
        tokio::select! {
            biased;
            done = &mut task => done.unwrap(),
            () = sleep(most) => {
                self.ledger.violation(format!("{}: its drain was not over after {:?}", self.name, start.elapsed()));
                task.abort();
                let _ = task.await;
            }
        }
    }
}
