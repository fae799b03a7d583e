//! A backend that does as it is told, and a breaker in front of it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test takes what it needs

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Waker},
    time::Duration,
};
use tokio::time::sleep;
use tower::{Layer, Service, service_fn};
use towpath_breaker::{
    BreakerConfig, BreakerEvent, BreakerHandle, BreakerLayer, BreakerOptions, Reason, State,
};
use towpath_core::{BoxError, Class, Error, ErrorKind, Verdict};

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn config(change: impl FnOnce(&mut BreakerOptions)) -> BreakerConfig {
    let mut options = BreakerOptions { jitter: 0.0, ..BreakerOptions::default() };
    change(&mut options);
    BreakerConfig::try_new(options).unwrap()
}

/// What the backend is asked to do with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Do {
    Good,
    Fail,
    Soft,
    Caller,
    Nothing,
    Answer,
    /// Answers well after so many milliseconds.
    Slow(u64),
    SlowFail(u64),
    Hang,
}
pub use Do::*;

pub fn meaning(outcome: Result<&Do, &BoxError>) -> Class {
    let Err(error) = outcome else { return Class::SUCCESS };
    let of = |verdict| Class { verdict, ..Class::SUCCESS };
    match error.to_string().as_str() {
        "soft" => Class { soft: true, ..Class::FAILURE },
        "caller" => of(Verdict::Caller),
        "nothing" => of(Verdict::Nothing),
        "answer" => of(Verdict::Answer),
        _ => Class::FAILURE,
    }
}

pub async fn backend(what: Do) -> Result<Do, BoxError> {
    match what {
        Good => Ok(what),
        Slow(time) => {
            sleep(ms(time)).await;
            Ok(what)
        }
        SlowFail(time) => {
            sleep(ms(time)).await;
            Err("fail".into())
        }
        Hang => std::future::pending().await,
        Soft => Err("soft".into()),
        Caller => Err("caller".into()),
        Nothing => Err("nothing".into()),
        Answer => Err("answer".into()),
        Fail => Err("fail".into()),
    }
}

pub type Call = Pin<Box<dyn Future<Output = Result<Do, BoxError>> + Send>>;

/// A breaker around that backend.
pub struct Bench {
    pub service: Box<dyn FnMut(Do) -> Call>,
    pub handle: BreakerHandle,
    pub changes: Arc<Mutex<Vec<(State, Reason)>>>,
    pub rejected: Arc<AtomicUsize>,
}

impl Bench {
    pub fn new(config: BreakerConfig) -> Self {
        Bench::of(BreakerLayer::new(config))
    }

    pub fn of(layer: BreakerLayer) -> Self {
        let (changes, rejected) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (seen, count) = (changes.clone(), rejected.clone());
        let layer = layer.classify(meaning).observe(move |event: &BreakerEvent| match event {
            BreakerEvent::Changed(change) => seen.lock().unwrap().push((change.to, change.reason)),
            BreakerEvent::Rejected { .. } => drop(count.fetch_add(1, SeqCst)),
            _ => {}
        });
        let mut service = layer.layer(service_fn(backend));
        let handle = layer.handle();
        let service = Box::new(move |what| Box::pin(service.call(what)) as Call);
        Bench { service, handle, changes, rejected }
    }

    /// Starts a call, and polls it once.
    pub fn start(&mut self, what: Do) -> Call {
        let mut call = (self.service)(what);
        let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        call
    }

    /// Calls; says whether it was let through.
    pub async fn call(&mut self, what: Do) -> bool {
        refusal((self.service)(what).await).is_none()
    }

    pub async fn all(&mut self, what: &[Do]) {
        for what in what {
            assert!(self.call(*what).await, "{what:?} was turned away");
        }
    }

    /// Fails until it is open.
    pub async fn trip(&mut self) {
        while self.handle.state() != State::Open {
            assert!(self.call(Fail).await);
        }
    }

    pub fn state(&self) -> State {
        self.handle.state()
    }

    pub fn changes(&self) -> Vec<(State, Reason)> {
        self.changes.lock().unwrap().clone()
    }
}

pub fn refusal(outcome: Result<Do, BoxError>) -> Option<Error> {
    let error = Error::find(&*outcome.err()?).cloned()?;
    assert_eq!(error.kind(), ErrorKind::CircuitOpen);
    Some(error)
}
