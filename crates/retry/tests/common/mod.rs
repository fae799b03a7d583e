//! A service that does as it is told, and somebody who listens.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // each test takes what it needs

use bytes::Bytes;
use std::{
    collections::VecDeque,
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::Service;
use towpath_core::{
    BoxError, Error as StackError, ErrorCode, ErrorKind, Fault as CoreFault, Request, Response,
};
use towpath_retry::{GaveUp, RetryEvent};

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn request() -> Request {
    Request::new("A.B", Bytes::from_static(b"x"))
}

#[track_caller]
pub fn own(error: &BoxError) -> &StackError {
    StackError::find(&**error).unwrap()
}

/// What the service does with a call.
#[derive(Clone)]
pub enum Step {
    Answer(&'static str),
    Late(u64, &'static str),
    Fail(ErrorKind),
    LateFail(u64, ErrorKind),
    Error(StackError),
    Fault(&'static str),
    NotProcessed(&'static str),
    Hang,
}

/// What was seen of a call.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub attempt: u16,
    pub left: Option<Duration>,
}

/// A service that takes one step for each call.
#[derive(Clone)]
pub struct Script(Arc<Inner>);

struct Inner {
    steps: Mutex<VecDeque<Step>>,
    always: Option<Step>,
    seen: Mutex<Vec<Seen>>,
    alive: AtomicUsize,
}

struct Alive(Arc<Inner>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, SeqCst);
    }
}

impl Script {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Script::of(steps.into_iter().collect(), None)
    }

    pub fn always(step: Step) -> Self {
        Script::of(VecDeque::new(), Some(step))
    }

    fn of(steps: VecDeque<Step>, always: Option<Step>) -> Self {
        let (seen, alive) = (Mutex::default(), AtomicUsize::new(0));
        Script(Arc::new(Inner { steps: Mutex::new(steps), always, seen, alive }))
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    /// How many calls are under way.
    pub fn alive(&self) -> usize {
        self.0.alive.load(SeqCst)
    }
}

impl Service<Request> for Script {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let context = request.context();
        let at = Instant::now();
        let seen = Seen { at, attempt: context.attempt(), left: context.remaining(at) };
        self.0.seen.lock().unwrap().push(seen);
        let step = self.0.steps.lock().unwrap().pop_front().or(self.0.always.clone());
        self.0.alive.fetch_add(1, SeqCst);
        let alive = Alive(self.0.clone());
        Box::pin(async move {
            let _alive = alive;
            let fault = |code| CoreFault::new(ErrorCode::from_static(code), "on purpose");
            match step.unwrap() {
                Step::Answer(text) => Ok(Response::new(text.into())),
                Step::Late(after, text) => {
                    sleep(ms(after)).await;
                    Ok(Response::new(text.into()))
                }
                Step::Fail(kind) => Err(StackError::new(kind).into()),
                Step::LateFail(after, kind) => {
                    sleep(ms(after)).await;
                    Err(StackError::new(kind).into())
                }
                Step::Error(error) => Err(error.into()),
                Step::Fault(code) => Ok(fault(code).into()),
                Step::NotProcessed(code) => Ok(fault(code).with_not_processed(true).into()),
                Step::Hang => pending().await,
            }
        })
    }
}

/// Hands out the events that it observed.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<RetryEvent>>>);

impl Events {
    pub fn observer(&self) -> impl Fn(&RetryEvent) + Clone + Send + Sync + use<> {
        let events = self.0.clone();
        move |event| events.lock().unwrap().push(*event)
    }

    pub fn take(&self) -> Vec<RetryEvent> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub fn gave_up(&self) -> Vec<(GaveUp, u16)> {
        let gave_up = |event: RetryEvent| match event {
            RetryEvent::GaveUp { why, attempts } => Some((why, attempts)),
            _ => None,
        };
        self.take().into_iter().filter_map(gave_up).collect()
    }
}
