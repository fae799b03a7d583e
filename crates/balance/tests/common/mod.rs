//! What the tests of the balancer share: servers that do as they are told, on paused time.

#![allow(dead_code)] // not all of them use all of it

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceExt};
use towpath_balance::{Balance, BalanceConfig, BalanceEvent, BalanceOptions, Balancer, Pick};
use towpath_core::{
    BoxError, CallInfo, Change, Classify, DefaultClassify, Discover, Endpoint, Error, ErrorKind, FromContext,
    LoadReport, NewService, OnReject, Request, Response, context::Field,
};

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn config(change: impl FnOnce(&mut BalanceOptions)) -> BalanceConfig {
    let mut options = BalanceOptions::default();
    change(&mut options);
    BalanceConfig::try_new(options).unwrap()
}

pub(crate) fn request() -> Request {
    Request::new("A.B", bytes::Bytes::new())
}

/// With an affinity key.
pub(crate) fn keyed(key: &str) -> Request {
    let mut request = request();
    request.context_mut().set_field(Field::AffinityKey, Some(bytes::Bytes::copy_from_slice(key.as_bytes())));
    request
}

pub(crate) fn due_in(millis: u64) -> Request {
    let mut request = request();
    request.context_mut().set_deadline(Some(Instant::now() + ms(millis)));
    request
}

#[track_caller]
pub(crate) fn own<T>(outcome: Result<T, BoxError>) -> Error {
    let error = outcome.err().expect("a refusal");
    Error::find(&*error).expect("an error of the layer").clone()
}

/// Where the call went: the server's number.
pub(crate) async fn call<S>(balance: &S) -> Result<usize, BoxError>
where
    S: Service<Request, Response = Response, Error = BoxError> + Clone,
{
    call_with(balance, request()).await
}

pub(crate) async fn call_with<S>(balance: &S, request: Request) -> Result<usize, BoxError>
where
    S: Service<Request, Response = Response, Error = BoxError> + Clone,
{
    let response = balance.clone().oneshot(request).await?;
    Ok(usize::from(response.body()[0]))
}

/// How a server answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answers {
    Well,
    /// The handler fails.
    Badly,
    /// So many in a hundred badly.
    BadlyAtTimes(u8),
    /// It asks to be left alone for so many milliseconds.
    RetryAfter(u64),
    /// Its stack panics.
    Panics,
    Never,
}

/// A server, and in front of it what stands for a pool: ready while it is connected.
#[derive(Clone)]
pub(crate) struct Server(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) number: u8,
    pub(crate) endpoint: Endpoint,
    how: Mutex<(Answers, Duration)>,
    connected: AtomicBool,
    report: Mutex<Option<LoadReport>>,
    waiting: Mutex<Vec<Waker>>,
    pub(crate) polls: AtomicU32,
    pub(crate) calls: AtomicU64,
    pub(crate) in_work: AtomicU64,
}

impl Server {
    /// Connected, and it says so.
    pub(crate) fn new(number: u8) -> Self {
        let server = Server::unconnected(number);
        server.connect();
        server
    }

    pub(crate) fn unconnected(number: u8) -> Self {
        Server::unconnected_at(number, &format!("mcp://10.0.0.{number}:1"))
    }

    /// Connected, at this address; it answers at once.
    pub(crate) fn at(number: u8, address: &str) -> Self {
        let server = Server::unconnected_at(number, address);
        server.answers(Answers::Well, Duration::ZERO);
        server.connect();
        server
    }

    fn unconnected_at(number: u8, address: &str) -> Self {
        Server(Arc::new(Inner {
            number,
            endpoint: Endpoint::new(address),
            how: Mutex::new((Answers::Well, ms(10))),
            connected: AtomicBool::new(false),
            report: Mutex::new(None),
            waiting: Mutex::default(),
            polls: AtomicU32::new(0),
            calls: AtomicU64::new(0),
            in_work: AtomicU64::new(0),
        }))
    }

    pub(crate) fn many(servers: u8) -> Vec<Server> {
        (0..servers).map(Server::new).collect()
    }

    pub(crate) fn answers(&self, answers: Answers, after: Duration) {
        *self.0.how.lock().unwrap() = (answers, after);
    }

    pub(crate) fn reports(&self, report: Option<LoadReport>) {
        *self.0.report.lock().unwrap() = report;
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.0.endpoint.clone()
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.calls.load(SeqCst)
    }

    /// How often it was polled whether it is ready.
    pub(crate) fn polls(&self) -> u32 {
        self.0.polls.load(SeqCst)
    }

    pub(crate) fn in_work(&self) -> u64 {
        self.0.in_work.load(SeqCst)
    }

    pub(crate) fn connect(&self) {
        self.connect_silently();
        self.0.endpoint.state().set_ready();
    }

    /// As a stack does that knows nothing of the endpoint's state.
    pub(crate) fn connect_silently(&self) {
        self.0.connected.store(true, SeqCst);
        let waiting = std::mem::take(&mut *self.0.waiting.lock().unwrap());
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn disconnect(&self) {
        self.0.connected.store(false, SeqCst);
        self.0.endpoint.state().set_connecting(None);
    }
}

/// In work until it is dropped.
struct InWork(Server);

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.0.in_work.fetch_sub(1, SeqCst);
    }
}

impl Service<Request> for Server {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.polls.fetch_add(1, SeqCst);
        if !self.0.connected.load(SeqCst) {
            self.0.waiting.lock().unwrap().push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        self.0.calls.fetch_add(1, SeqCst);
        self.0.in_work.fetch_add(1, SeqCst);
        let (server, (answers, after)) = (self.clone(), *self.0.how.lock().unwrap());
        let in_work = InWork(server.clone());
        if answers == Answers::Panics {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        Box::pin(async move {
            let _in_work = in_work;
            if after > Duration::ZERO {
                sleep(after).await;
            }
            let bad = match answers {
                Answers::Well | Answers::Panics => None,
                Answers::Badly => Some(ErrorKind::HandlerFailed.into()),
                Answers::BadlyAtTimes(share) => {
                    (fastrand::u8(..100) < share).then(|| ErrorKind::HandlerFailed.into())
                }
                Answers::RetryAfter(millis) => Some(
                    Error::new(ErrorKind::Overloaded).with_remote(true).with_retry_after(Some(ms(millis))),
                ),
                Answers::Never => std::future::pending().await,
            };
            if let Some(error) = bad {
                return Err(error.into());
            }
            let mut response = Response::new(vec![server.0.number].into());
            if let Some(report) = *server.0.report.lock().unwrap() {
                response.metadata_mut().insert(LoadReport::KEY, report.to_string())?;
            }
            Ok(response)
        })
    }
}

/// Finds the server of an endpoint.
#[derive(Clone, Default)]
pub(crate) struct Servers {
    pub(crate) all: Arc<Mutex<Vec<Server>>>,
    /// How many stacks were made.
    pub(crate) made: Arc<AtomicU32>,
}

impl Servers {
    pub(crate) fn new(servers: &[Server]) -> Self {
        Servers { all: Arc::new(Mutex::new(servers.to_vec())), made: Arc::default() }
    }

    pub(crate) fn made(&self) -> u32 {
        self.made.load(SeqCst)
    }
}

impl NewService<Endpoint> for Servers {
    type Service = Server;

    fn new_service(&self, endpoint: Endpoint) -> Server {
        self.made.fetch_add(1, SeqCst);
        let all = self.all.lock().unwrap();
        all.iter().find(|server| server.0.endpoint.id() == endpoint.id()).unwrap().clone()
    }
}

/// Discovery that says what a test has it say.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<ToldInner>>);

#[derive(Default)]
struct ToldInner {
    changes: VecDeque<Change>,
    waker: Option<Waker>,
    ended: bool,
    dropped: bool,
}

pub(crate) struct Telling(Told);

impl Told {
    pub(crate) fn source(&self) -> Telling {
        Telling(self.clone())
    }

    pub(crate) fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        let mut inner = self.0.lock().unwrap();
        inner.changes.extend(changes);
        let waker = inner.waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn insert(&self, servers: &[Server]) {
        self.tell(servers.iter().map(|server| Change::Insert(server.endpoint())));
    }

    pub(crate) fn remove(&self, server: &Server) {
        self.tell([Change::Remove(server.endpoint().id())]);
    }

    pub(crate) fn end(&self) {
        self.0.lock().unwrap().ended = true;
        self.tell([]);
    }

    /// Whether the balancer has let go of it.
    pub(crate) fn is_dropped(&self) -> bool {
        self.0.lock().unwrap().dropped
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().dropped = true;
    }
}

impl Discover for Telling {
    fn poll_change(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        let mut inner = self.0.0.lock().unwrap();
        match inner.changes.pop_front() {
            Some(change) => Poll::Ready(Some(change)),
            None if inner.ended => Poll::Ready(None),
            None => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Hands out the events that it observed.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<BalanceEvent>>>);

impl Events {
    pub(crate) fn observer(&self) -> impl Fn(&BalanceEvent) + Clone + use<> {
        let events = self.0.clone();
        move |event| events.lock().unwrap().push(event.clone())
    }

    /// In words, and forgotten.
    pub(crate) fn take(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.0.lock().unwrap());
        events
            .iter()
            .map(|event| match event {
                BalanceEvent::Joined(endpoint) => format!("joined {endpoint}"),
                BalanceEvent::Left(endpoint) => format!("left {endpoint}"),
                BalanceEvent::Settled(counts) => format!("settled {counts}"),
                BalanceEvent::Ejected { endpoint, .. } => format!("ejected {endpoint}"),
                BalanceEvent::EjectionRefused { endpoint, .. } => format!("refused {endpoint}"),
                BalanceEvent::Returned(endpoint) => format!("returned {endpoint}"),
                BalanceEvent::PanicBegan(counts) => format!("panic {counts}"),
                BalanceEvent::PanicEnded(counts) => format!("no panic {counts}"),
                BalanceEvent::NoEndpoint(counts) => format!("none {counts}"),
                BalanceEvent::NoStack(endpoint) => format!("no stack {endpoint}"),
                other => format!("{other:?}"),
            })
            .collect()
    }
}

/// Over these servers, fixed.
pub(crate) fn fixed(
    servers: &[Server],
    config: BalanceConfig,
) -> Balance<Server, Request, towpath_balance::PowerOfTwo, DefaultClassify, FromContext> {
    let endpoints = servers.iter().map(Server::endpoint);
    Balancer::new(config).honour_context().fixed(endpoints, Servers::new(servers))
}

/// Many callers, one after another's answer each, for a time.
pub(crate) async fn load<P, C, I, R>(
    balance: &Balance<Server, Request, P, C, I, R>,
    callers: usize,
    time: Duration,
) -> (u64, u64)
where
    P: Pick,
    C: Classify<Response, BoxError> + Send + Sync + 'static,
    I: CallInfo<Request, Response> + Send + Sync + 'static,
    R: OnReject<Response, BoxError, Error = BoxError> + Send + Sync + 'static,
{
    let end = Instant::now() + time;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let mut balance = balance.clone();
            tokio::spawn(async move {
                let (mut good, mut bad) = (0, 0);
                while Instant::now() < end {
                    match balance.ready().await.unwrap().call(request()).await {
                        Ok(_) => good += 1,
                        Err(_) => {
                            bad += 1;
                            // Who has failed at once would not let time pass.
                            tokio::task::yield_now().await;
                        }
                    }
                }
                (good, bad)
            })
        })
        .collect();
    let (mut good, mut bad) = (0, 0);
    for task in tasks {
        let counts = task.await.unwrap();
        (good, bad) = (good + counts.0, bad + counts.1);
    }
    (good, bad)
}
