//! What the tests of the layers share.

#![allow(dead_code)] // not all of them use all of it

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tower::Service;
use towpath_core::{BoxError, Error, Request, Response};
use towpath_limit::{ConcurrencyConfig, LimitEvent, QueueOrder, Refusal, WhenFull};

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn config(limit: u32, when_full: WhenFull) -> ConcurrencyConfig {
    ConcurrencyConfig::try_new(limit).unwrap().with_when_full(when_full).unwrap()
}

pub(crate) fn waits(queue: u32, millis: u64, order: QueueOrder) -> WhenFull {
    WhenFull::Wait { queue, timeout: ms(millis), order }
}

pub(crate) fn request() -> Request<()> {
    Request::new("A.B", ())
}

pub(crate) fn due_in(millis: u64) -> Request<()> {
    let mut request = request();
    request.context_mut().set_deadline(Some(Instant::now() + ms(millis)));
    request
}

#[track_caller]
pub(crate) fn own<T>(outcome: Result<T, BoxError>) -> Error {
    let error = outcome.err().expect("a refusal");
    Error::find(&*error).expect("an error of the layer").clone()
}

/// Hands out the events that it observed.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<LimitEvent>>>);

impl Events {
    pub(crate) fn observer(&self) -> impl Fn(&LimitEvent) + Clone + use<> {
        let events = self.0.clone();
        move |event| events.lock().unwrap().push(*event)
    }

    pub(crate) fn seen(&self) -> Vec<LimitEvent> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn refused(&self) -> Vec<(Refusal, Duration)> {
        let refused = |event: &LimitEvent| match event {
            LimitEvent::Refused { why, waited, .. } => Some((*why, *waited)),
            _ => None,
        };
        self.seen().iter().filter_map(refused).collect()
    }
}

/// A service with so many workers and a queue in front of them, in order of coming.
#[derive(Clone)]
pub(crate) struct Workers {
    workers: Arc<Semaphore>,
    time: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Workers {
    pub(crate) fn new(workers: usize, time: Duration) -> Self {
        Workers::with_times(workers, move || time)
    }

    pub(crate) fn with_times(workers: usize, time: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Workers { workers: Arc::new(Semaphore::new(workers)), time: Arc::new(time) }
    }
}

impl Service<Request<()>> for Workers {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let Workers { workers, time } = self.clone();
        Box::pin(async move {
            let _worker = workers.acquire().await?;
            let time = time();
            if !time.is_zero() {
                sleep(time).await;
            }
            Ok(Response::new(()))
        })
    }
}
