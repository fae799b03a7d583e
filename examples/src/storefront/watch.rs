//! The admin interface of the shop: its clients, live, while the day is played.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{sync::oneshot, task::JoinHandle};
use towpath::{
    BoxError, Client,
    admin::{Admin, Recorder, Target},
};

/// The clients that are to be shown. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Vec<(&'static str, Target)>>>);

impl Watch {
    /// Records the calls of one more client, if it is the first one of that name: three replicas call the same services.
    pub(crate) fn wants(&self, name: &str) -> Option<Recorder> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!known.iter().any(|(other, _)| *other == name)).then(Recorder::default)
    }

    pub(crate) fn show(&self, name: &'static str, client: &Client) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name, client.into()));
    }

    /// Serves it until what is returned is [ended](Served::end). Breakers can be forced: it is a shop to try things on.
    pub(crate) async fn serve(&self, address: SocketAddr) -> Result<Served, BoxError> {
        let clients = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let admin = Admin::new().writable(true);
        let admin = clients.into_iter().rev().fold(admin, |admin, (name, target)| admin.target(name, target));
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
