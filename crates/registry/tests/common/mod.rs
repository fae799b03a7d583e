//! A line to a registry that can be cut, and one who follows.
#![allow(dead_code, unreachable_pub)] // no test uses all of it
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::sleep;
use tower::ServiceExt;
use tower_service::Service;
use towpath_core::{BoxError, Change, Discover, Endpoint, EndpointId, Error, ErrorKind, Request, Response};
use towpath_discover::Watch;
use towpath_registry::{Registry, RegistryClient};

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What is at the other end.
#[derive(Clone)]
pub enum End {
    Registry(Registry),
    /// Refuses connections.
    Down,
    /// Never answers.
    Hung,
}

/// A line to a registry that can be cut, and led to another one. What is under way when it is cut fails.
#[derive(Clone)]
pub struct Line {
    end: Arc<Mutex<End>>,
    cut: Arc<tokio::sync::Notify>,
    pub calls: Arc<AtomicUsize>,
}

impl Line {
    pub fn to(registry: &Registry) -> Self {
        let end = Arc::new(Mutex::new(End::Registry(registry.clone())));
        Line { end, cut: Arc::default(), calls: Arc::default() }
    }

    pub fn lead(&self, end: End) {
        *self.end.lock().unwrap() = end;
        self.cut.notify_waiters();
    }

    pub fn client(&self) -> RegistryClient<Line> {
        RegistryClient::new(self.clone())
    }

    pub fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

impl Service<Request> for Line {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        let (end, cut) = (self.end.lock().unwrap().clone(), self.cut.clone());
        Box::pin(async move {
            let answer = async {
                match end {
                    End::Registry(registry) => registry.router().oneshot(request).await,
                    End::Down => Err(Error::new(ErrorKind::ConnectFailed).into()),
                    End::Hung => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = cut.notified() => Err(Error::new(ErrorKind::ConnectionLost).into()),
                answer = answer => answer,
            }
        })
    }
}

/// One who has the set as the changes of a watch make it.
pub struct Follower {
    pub watch: Watch,
    pub set: BTreeMap<EndpointId, Endpoint>,
    /// The fewest that there were, once there were any.
    pub fewest: usize,
}

impl Follower {
    pub fn new(watch: Watch) -> Self {
        Follower { watch, set: BTreeMap::new(), fewest: usize::MAX }
    }

    /// What is there without waiting.
    pub fn now(&mut self) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(change)) = Pin::new(&mut self.watch).poll_change(&mut cx) {
            match change {
                Change::Insert(endpoint) => drop(self.set.insert(endpoint.id(), endpoint)),
                Change::Remove(id) => assert!(self.set.remove(&id).is_some(), "it was not there"),
                Change::Settled => self.fewest = self.fewest.min(self.set.len()),
            }
        }
        let mut addresses: Vec<_> = self.set.values().map(|one| one.address().to_string()).collect();
        addresses.sort();
        addresses
    }

    /// What is there by then.
    pub async fn after(&mut self, time: Duration) -> Vec<String> {
        self.now();
        sleep(time).await;
        self.now()
    }

    pub fn at(&self, address: &str) -> &Endpoint {
        self.set.values().find(|one| &**one.address() == address).expect(address)
    }
}
