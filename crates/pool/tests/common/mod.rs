//! Connections that do as they are told.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context as Task, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};
use towpath_core::{Context, Error, ErrorKind, Observe, Processed, Request, Response};
use towpath_pool::{
    Call, Connection, Ended, Ending, Exclusive, Multiplexed, Ping, PoolConfig, PoolEvent, PoolOptions,
    Refusal, Retirement,
};

/// The place that connections lead to.
#[derive(Clone, Default)]
pub struct World(Arc<Inner>);

#[derive(Default)]
pub struct Inner {
    /// Connects fail.
    pub refuses: AtomicBool,
    /// Connects panic.
    pub panics: AtomicBool,
    /// How long a connect takes, in ms.
    pub delay: AtomicU32,
    /// Connections can be pinged, and answer (1) or do not (2).
    pub pings: AtomicU32,
    /// An answer is followed by a body that takes so long, in ms.
    pub body: AtomicU32,
    /// When each connect was begun.
    pub tries: Mutex<Vec<Instant>>,
    /// The reading of the clock with which each call came.
    pub stamps: Mutex<Vec<Option<Instant>>>,
    /// All connections that were made.
    pub lines: Mutex<Vec<Line>>,
    pub pinged: AtomicUsize,
    /// Calls under way, over all connections, and the most that there were.
    pub calls: AtomicUsize,
    pub most: AtomicUsize,
}

impl std::ops::Deref for World {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// One connection; a clone is the other end of it.
#[derive(Clone)]
pub struct Line(Arc<State>);

struct State {
    number: usize,
    world: World,
    ended: Mutex<(Option<Ended>, Vec<Waker>)>,
    in_flight: AtomicUsize,
    /// The body of the last answer is there.
    rested: Mutex<Option<Pin<Box<Sleep>>>>,
    handles: AtomicUsize,
}

/// The pool's end of it.
pub struct Pooled(pub Line);

impl World {
    pub async fn connect(self) -> Result<Pooled, Error> {
        self.tries.lock().unwrap().push(Instant::now());
        match self.delay.load(SeqCst) {
            0 => {}
            ms => sleep(Duration::from_millis(ms.into())).await,
        }
        assert!(!self.panics.load(SeqCst), "on purpose");
        if self.refuses.load(SeqCst) {
            return Err(Error::new(ErrorKind::ConnectFailed).because("refused"));
        }
        let mut lines = self.lines.lock().unwrap();
        let line = Line(Arc::new(State {
            number: lines.len(),
            world: self.clone(),
            ended: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            rested: Mutex::new(None),
            handles: AtomicUsize::new(1),
        }));
        lines.push(line.clone());
        Ok(Pooled(line))
    }

    pub fn connects(
        &self,
    ) -> impl Fn() -> Pin<Box<dyn Future<Output = Result<Pooled, Error>> + Send>> + use<> {
        let world = self.clone();
        move || Box::pin(world.clone().connect())
    }

    pub fn line(&self, number: usize) -> Line {
        self.lines.lock().unwrap()[number].clone()
    }

    pub fn made(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    pub fn tried(&self) -> usize {
        self.tries.lock().unwrap().len()
    }

    /// Connections that the pool has not dropped or closed, and that have not ended.
    pub fn open(&self) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| !line.is_over() && line.0.handles.load(SeqCst) > 0).count()
    }
}

impl Line {
    pub fn end(&self, how: Ending) {
        let kind = match how {
            Ending::Broken => ErrorKind::ConnectionLost,
            _ => ErrorKind::Draining,
        };
        self.finish(Ended { how, error: Error::new(kind).because("on purpose") });
    }

    fn finish(&self, ended: Ended) {
        let mut state = self.0.ended.lock().unwrap();
        state.0.get_or_insert(ended);
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub fn is_over(&self) -> bool {
        self.0.ended.lock().unwrap().0.is_some()
    }

    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(SeqCst)
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.0.0.handles.fetch_sub(1, SeqCst);
    }
}

impl Connection for Pooled {
    type Closed = Pin<Box<dyn Future<Output = Ended> + Send>>;

    fn is_closing(&self) -> bool {
        self.0.is_over()
    }

    fn closed(&self) -> Self::Closed {
        let line = self.0.clone();
        Box::pin(poll_fn(move |cx| {
            let mut state = line.0.ended.lock().unwrap();
            match &state.0 {
                Some(ended) => Poll::Ready(ended.clone()),
                None => {
                    state.1.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }

    fn close(&self) {
        self.0.end(Ending::GoingAway);
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    fn poll_idle(&mut self, cx: &mut Task<'_>) -> Poll<bool> {
        let mut rested = self.0.0.rested.lock().unwrap();
        if let Some(sleep) = &mut *rested {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            *rested = None;
        }
        drop(rested);
        Poll::Ready(!self.is_closing())
    }

    fn ping(&self) -> Option<Ping> {
        let world = &self.0.0.world;
        let answers = match world.pings.load(SeqCst) {
            0 => return None,
            n => n == 1,
        };
        world.pinged.fetch_add(1, SeqCst);
        Some(Box::pin(async move {
            match answers {
                true => Ok(()),
                false => std::future::pending().await,
            }
        }))
    }
}

/// A call: its method is its number, its body how long it takes in ms. The answer says which connection took it.
pub struct Calling {
    line: Line,
    sleep: Pin<Box<Sleep>>,
    request: Option<Request>,
    done: bool,
}

impl Calling {
    fn new(line: &Line, request: Request) -> Self {
        let ms: u64 = std::str::from_utf8(request.body()).unwrap().parse().unwrap_or(0);
        line.0.in_flight.fetch_add(1, SeqCst);
        line.0.world.stamps.lock().unwrap().push(request.context().stamp());
        let now = line.0.world.calls.fetch_add(1, SeqCst) + 1;
        line.0.world.most.fetch_max(now, SeqCst);
        Calling {
            line: line.clone(),
            sleep: Box::pin(sleep(Duration::from_millis(ms))),
            request: Some(request),
            done: false,
        }
    }
}

impl Future for Calling {
    type Output = Result<Response, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Self::Output> {
        if self.sleep.as_mut().poll(cx).is_ready() {
            let body = self.line.0.world.body.load(SeqCst);
            if body > 0 {
                let sleep = Box::pin(sleep(Duration::from_millis(body.into())));
                *self.line.0.rested.lock().unwrap() = Some(sleep);
            }
            self.done = true;
            return Poll::Ready(Ok(Response::new(self.line.0.number.to_string().into())));
        }
        // What the peer has not begun when it goes away can go elsewhere; here that is what takes longest.
        let mut ended = self.line.0.ended.lock().unwrap();
        let is_last = self.request.as_ref().is_some_and(|request| request.method().as_str() == "Last");
        match &ended.0 {
            Some(ended) if ended.how == Ending::GoingAway && is_last => {
                Poll::Ready(Err(ended.error.clone().with_processed(Processed::No)))
            }
            Some(ended) if ended.how == Ending::Broken => Poll::Ready(Err(ended.error.clone())),
            _ => {
                ended.1.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.line.0.in_flight.fetch_sub(1, SeqCst);
        self.line.0.world.calls.fetch_sub(1, SeqCst);
    }
}

impl Call<Request> for Pooled {
    type Response = Response;
    type Error = Error;
    type Future = Calling;

    fn context(request: &Request) -> Option<&Context> {
        Some(request.context())
    }

    fn context_mut(request: &mut Request) -> Option<&mut Context> {
        Some(request.context_mut())
    }

    fn is_bulk(request: &Request) -> bool {
        request.method().as_str() == "Bulk"
    }

    fn unprocessed(mut future: Pin<&mut Calling>, error: &Error) -> Option<Request> {
        if error.processed() == Processed::No { future.request.take() } else { None }
    }
}

impl Multiplexed<Request> for Pooled {
    fn call(&self, request: Request) -> Calling {
        Calling::new(&self.0, request)
    }
}

impl Exclusive<Request> for Pooled {
    fn call(&mut self, request: Request) -> Calling {
        assert_eq!(self.0.in_flight(), 0, "one call at a time");
        assert!(self.0.0.rested.lock().unwrap().is_none(), "the body was not read yet");
        Calling::new(&self.0, request)
    }
}

/// A call that takes so long.
pub fn call(ms: u64) -> Request {
    Request::new("Call", ms.to_string().into())
}

/// A call that takes so long, with a deadline that comes after so long.
pub fn call_by(ms: u64, deadline: u64) -> Request {
    let mut request = call(ms);
    request.context_mut().set_deadline(Some(Instant::now() + Duration::from_millis(deadline)));
    request
}

/// Which connection took it.
pub fn by(response: &Response) -> usize {
    std::str::from_utf8(response.body()).unwrap().parse().unwrap()
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn config(change: impl FnOnce(&mut PoolOptions)) -> PoolConfig {
    let mut options = PoolOptions::default();
    change(&mut options);
    PoolConfig::try_new(options).unwrap()
}

/// Keeps what a pool reports.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<PoolEvent>>>);

impl Log {
    pub fn count(&self, which: impl Fn(&PoolEvent) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| which(event)).count()
    }

    pub fn retired(&self, which: Retirement) -> usize {
        self.count(|event| matches!(event, PoolEvent::Retired { why, .. } if *why == which))
    }

    pub fn refused(&self, which: Refusal) -> usize {
        self.count(|event| matches!(event, PoolEvent::Refused { why, .. } if *why == which))
    }
}

impl Observe<PoolEvent> for Log {
    fn observe(&self, event: &PoolEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}
