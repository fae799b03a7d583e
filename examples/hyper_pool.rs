//! A pool of hyper's HTTP/1 connections: one call at a time on each, and no more connections than one likes.
//!
//! HTTP/1 answers one call at a time, and a connection is free again when the body of its answer has been read. This program
//! says so in the three traits that a pool asks for, starts a server on a free loopback port, and shows what the pool makes
//! of it: many callers over few connections, answers whose bodies are read late, a server that hangs up, and
//! connections that nobody uses. It checks what it shows, and ends: `cargo run --example hyper_pool`.

use axum::{Router, routing::get};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{ServiceBuilder, ServiceExt};
use towpath_core::{BoxError, Error, ErrorKind};
use towpath_pool::{
    Call, Connection, Ended, Ending, Exclusive, ExclusivePool, PoolBuilder, PoolConfig, PoolEvent,
    PoolOptions,
};
use towpath_timeout::{TimeoutConfig, TimeoutLayer};

type Request = hyper::Request<Empty<Bytes>>;
type Response = hyper::Response<Incoming>;

/// A connection of hyper's, and how it ended.
struct Http {
    sender: SendRequest<Empty<Bytes>>,
    ended: watch::Receiver<Option<Ended>>,
    used: Arc<AtomicBool>,
}

/// Connects, and has a task read and write until the connection ends.
async fn connect(address: SocketAddr) -> Result<Http, BoxError> {
    let stream = TcpStream::connect(address).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let (end, ended) = watch::channel(None);
    let used = Arc::new(AtomicBool::new(false));
    let was_used = used.clone();
    tokio::spawn(async move {
        // One that the server closes between two calls did not break: the next is made when there is a call. Nor did one
        // that it closes after an answer, as "connection: close" has it.
        let closed = || if was_used.load(Relaxed) { Ending::Spent } else { Ending::Unused };
        let (how, error) = match connection.await {
            Ok(()) => (closed(), Error::new(ErrorKind::ConnectionLost).because("the server closed it")),
            Err(error) => (Ending::Broken, Error::new(ErrorKind::ConnectionLost).with_source(error)),
        };
        end.send_replace(Some(Ended { how, error }));
    });
    Ok(Http { sender, ended, used })
}

impl Connection for Http {
    type Closed = Pin<Box<dyn Future<Output = Ended> + Send>>;

    fn is_closing(&self) -> bool {
        self.sender.is_closed()
    }

    fn closed(&self) -> Self::Closed {
        let mut ended = self.ended.clone();
        Box::pin(async move {
            let seen = ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
            // Without a word if its task is gone, with the whole runtime.
            let gone = || Ended { how: Ending::Unused, error: ErrorKind::ConnectionLost.into() };
            seen.unwrap_or_else(gone)
        })
    }

    // hyper closes a connection whose sender is dropped.
    fn close(&self) {}

    // Pending while the body of the last answer is not read; an error if it will never be.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.sender.poll_ready(cx).map(|ready| ready.is_ok())
    }
}

type Sent = Pin<Box<dyn Future<Output = Result<Response, (hyper::Error, Option<Request>)>> + Send>>;

/// A call under way, and its request if hyper gives it back unsent.
struct Calling {
    sent: Sent,
    unsent: Option<Request>,
}

impl Future for Calling {
    type Output = Result<Response, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.sent.as_mut().poll(cx)).map_err(|(error, unsent)| {
            self.unsent = unsent;
            Error::new(ErrorKind::ConnectionLost).with_source(error).into()
        }))
    }
}

impl Call<Request> for Http {
    type Response = Response;
    type Error = BoxError;
    type Future = Calling;

    // A connection that ends just as it is taken costs no call.
    fn unprocessed(mut call: Pin<&mut Calling>, _error: &BoxError) -> Option<Request> {
        call.unsent.take()
    }
}

impl Exclusive<Request> for Http {
    fn call(&mut self, request: Request) -> Calling {
        self.used.store(true, Relaxed);
        let sent = self.sender.try_send_request(request);
        let sent = async {
            sent.await.map_err(|mut failed| {
                let unsent = failed.take_message();
                (failed.into_error(), unsent)
            })
        };
        Calling { sent: Box::pin(sent), unsent: None }
    }
}

/// The server's pages.
fn pages() -> Router {
    let slow = async || {
        sleep(Duration::from_millis(10)).await;
        "2.55"
    };
    Router::new()
        .route("/price", get(slow))
        .route("/list", get(async || "a long list ".repeat(200_000)))
        .route("/bye", get(async || ([("connection", "close")], "2.55")))
}

fn page(path: &str) -> Result<Request, BoxError> {
    Ok(hyper::Request::get(path).header("host", "the shop").body(Empty::new())?)
}

/// One call, to the last byte.
async fn fetch(pool: &ExclusivePool<Http>, path: &str) -> Result<usize, BoxError> {
    // Above a pool stand layers, as above any service.
    let limit = TimeoutLayer::new(TimeoutConfig::try_new(Duration::from_secs(5))?);
    let answer = ServiceBuilder::new().layer(limit).service(pool.clone()).oneshot(page(path)?).await?;
    Ok(answer.into_body().collect().await?.to_bytes().len())
}

fn check(holds: bool, what: &str) -> Result<(), BoxError> {
    if holds { Ok(()) } else { Err(format!("this was to be shown: {what}").into()) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, pages()).into_future());

    let options = PoolOptions {
        max: 4,
        acquire_timeout: Duration::from_millis(300),
        idle_timeout: Some(Duration::from_secs(30)),
        ..PoolConfig::exclusive().options()
    };
    let pool = PoolBuilder::new(move || connect(address))
        .name("the shop")
        .config(PoolConfig::try_new(options.clone())?)
        .observe(|event: &PoolEvent| {
            if let PoolEvent::Retired { why, open, .. } = event {
                println!("  one was closed ({}), {open} are left", why.as_str());
            }
        })
        .exclusive();
    let handle = pool.handle();

    println!("40 calls at a time, over 4 connections at most");
    let (mut calls, begun) = (JoinSet::new(), Instant::now());
    for _ in 0..40 {
        let pool = pool.clone();
        calls.spawn(async move { fetch(&pool, "/price").await });
    }
    while let Some(call) = calls.join_next().await {
        call??;
    }
    let stats = handle.stats();
    println!("  all answered within {:?}, over {} connections", begun.elapsed(), stats.connects);
    check(
        stats.connects <= 4 && stats.idle == stats.open,
        "no more than four are made, and all are free again",
    )?;

    println!("answers whose bodies nobody has read yet");
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(pool.clone().oneshot(page("/list")?).await?);
    }
    let refused = fetch(&pool, "/price").await.err().ok_or("there is no connection for it")?;
    println!("  a fifth call: {refused}");
    let kind = Error::find(&*refused).map(Error::kind);
    check(kind == Some(ErrorKind::NoConnection), "a connection is not lent before its answer is read")?;
    let mut bytes = 0;
    for answer in answers {
        bytes += answer.into_body().collect().await?.to_bytes().len();
    }
    println!("  {bytes} bytes are read; and then: {} bytes", fetch(&pool, "/price").await?);

    println!("a server that hangs up after each answer");
    let before = handle.stats().connects;
    for _ in 0..20 {
        fetch(&pool, "/bye").await?;
    }
    let made = handle.stats().connects - before;
    println!("  20 calls, {made} more connections, and no call has failed");
    check((16..=20).contains(&made), "a connection is made when it is needed, and not before")?;

    println!("connections that nobody uses");
    fetch(&pool, "/price").await?;
    handle
        .config()
        .set(PoolConfig::try_new(PoolOptions { idle_timeout: Some(Duration::from_millis(100)), ..options })?);
    for _ in 0..100 {
        if handle.stats().open == 0 {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    check(handle.stats().open == 0, "they are closed")?;
    println!("  none is open any more: {:?}", handle.state());
    Ok(io::Write::flush(&mut io::stdout())?)
}
