//! The admin interface of the shop: its clients and servers, live, while the day is played.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::{sync::oneshot, task::JoinHandle};
use towpath::{
    BoxError, Client,
    admin::{Admin, Recorder, ServerState, Target},
    metrics::{Metrics, Prometheus},
    policies::ServerStack,
};

/// The clients and servers that are to be shown, and what all of them count. Clones are the same.
#[derive(Clone)]
pub(crate) struct Watch {
    shown: Arc<Mutex<Shown>>,
    prometheus: Prometheus,
}

#[derive(Clone, Default)]
struct Shown {
    clients: Vec<(&'static str, Target)>,
    servers: Vec<(String, Target)>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Watch { shown: Arc::default(), prometheus: Prometheus::new() }
    }

    /// Where all clients and servers count, shown or not.
    pub(crate) fn metrics(&self) -> &Metrics {
        self.prometheus.metrics()
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the calls of one more client, if it is the first one of that name: three replicas call the same services.
    pub(crate) fn wants(&self, name: &str) -> Option<Recorder> {
        (!self.shown().clients.iter().any(|(other, _)| *other == name)).then(Recorder::default)
    }

    pub(crate) fn show(&self, name: &'static str, client: &Client) {
        self.shown().clients.push((name, client.into()));
    }

    /// Shows a server that accepts by itself: it should get no calls while it is down.
    pub(crate) fn show_server(
        &self,
        name: &str,
        recorder: Recorder,
        stack: &ServerStack,
        up: Arc<AtomicBool>,
    ) {
        let state = move || if up.load(Relaxed) { ServerState::Serving } else { ServerState::Starting };
        let target = Target::from(&stack.handles()).recorder(recorder).server_state(state);
        self.shown().servers.push((format!("{name}-server"), target));
    }

    /// Serves it until what is returned is [ended](Served::end). Breakers can be forced: it is a shop to try things on.
    pub(crate) async fn serve(&self, address: SocketAddr) -> Result<Served, BoxError> {
        let Shown { clients, servers } = self.shown().clone();
        let admin = Admin::new().writable(true).metrics(self.prometheus.page());
        let admin = clients.into_iter().rev().fold(admin, |admin, (name, target)| admin.target(name, target));
        let admin = servers.into_iter().fold(admin, |admin, (name, target)| admin.target(name, target));
        let serving = admin.serve(address).await?;
        let address = serving.local_addr();
        let (end, ended) = oneshot::channel::<()>();
        let serving = tokio::spawn(serving.until(async {
            let _ = ended.await;
        }));
        Ok(Served { address, end, serving })
    }
}

/// The admin interface, served.
pub(crate) struct Served {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Served {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and waits for what is being answered.
    pub(crate) async fn end(self) -> Result<(), BoxError> {
        drop(self.end);
        Ok(self.serving.await??)
    }
}
