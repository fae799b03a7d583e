//! Accepts connections.

use super::{
    admit::{Gate, Spread},
    bind::{self, BindOptions, BindTo},
    drain::Drain,
    handover::Handover,
    socket::Listener,
};
use crate::{address::Address, config::ServerConfig, tls::ServerTls, traffic::Traffic};
use std::{
    fmt,
    future::{Future, IntoFuture},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{runtime::Handle, sync::oneshot, task::JoinSet, time::Instant};
use tower_service::Service;
use towpath_core::{BoxError, Request, Response};

/// How long accepting pauses when the system has no descriptors left: connections that end free some.
const PAUSE: Duration = Duration::from_millis(50);

/// How many connections above the limit are told so at a time; further ones are just closed.
const REFUSED: usize = 64;

/// A listening socket that is going to serve.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    config: ServerConfig,
    tls: Option<ServerTls>,
    peers: bool,
    traffic: Option<Traffic>,
    handover: Handover,
}

impl Server {
    /// Listens: on a TCP address (`127.0.0.1:8080`, `mcp://[::]:8080`; port 0 takes a free one), or on a Unix
    /// socket (`mcp+unix:/run/orders.sock`), of which the file is made now and removed at the end. A file that a
    /// server which died has left is replaced; a socket on which somebody listens is not.
    ///
    /// # Errors
    /// If the configuration is not valid, or the system refuses the address.
    pub async fn bind(address: impl Into<BindTo>, config: ServerConfig) -> io::Result<Self> {
        Self::bind_with(address, BindOptions::default(), config).await
    }

    /// The same, with other options.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub async fn bind_with(
        address: impl Into<BindTo>,
        options: BindOptions,
        config: ServerConfig,
    ) -> io::Result<Self> {
        config.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let (listener, handover) = bind::listen(address.into(), &options).await?;
        Ok(Self { handover, ..Self::new(listener, config, options.tls) })
    }

    /// Serves on a socket that listens already: one of tokio's, or a [`Listener`].
    ///
    /// # Errors
    /// If the configuration is not valid.
    pub fn from_listener(listener: impl Into<Listener>, config: ServerConfig) -> io::Result<Self> {
        Self::from_listener_with(listener, BindOptions::default(), config)
    }

    /// The same with options, of which only TLS is of use.
    ///
    /// # Errors
    /// If the configuration is not valid, or TLS is asked for on a Unix socket.
    pub fn from_listener_with(
        listener: impl Into<Listener>,
        options: BindOptions,
        config: ServerConfig,
    ) -> io::Result<Self> {
        config.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = listener.into();
        if options.tls.is_some() && listener.address().path().is_some() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no TLS on a Unix socket"));
        }
        Ok(Self::new(listener, config, options.tls))
    }

    fn new(mut listener: Listener, config: ServerConfig, tls: Option<ServerTls>) -> Self {
        if tls.is_some() {
            listener.set_tls();
        }
        Server { listener, config, tls, peers: false, traffic: None, handover: Handover::None }
    }

    /// Whether every request says who is at the other end ([`Peer`](crate::Peer), in its extensions). Over TLS it
    /// always does; elsewhere it does not unless asked, as it costs a reference count for each request.
    pub fn with_peers(mut self, peers: bool) -> Self {
        self.peers = peers;
        self
    }

    /// Counts its connections, and what goes over them.
    pub fn with_traffic(mut self, traffic: &Traffic) -> Self {
        self.traffic = Some(traffic.clone());
        self
    }

    /// Where it listens, of whichever kind: what a client on this machine connects to (if the host is not
    /// `0.0.0.0` or `::`).
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// Where it listens, if that is TCP.
    ///
    /// # Errors
    /// If it is a Unix socket ([`address`](Self::address) tells its path), or the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the returned future is dropped, or until it is told to drain.
    pub fn serve<S>(self, service: S) -> Serve<S> {
        Serve {
            server: self,
            service,
            shutdown: None,
            beside: None,
            drain: Drain::new(),
            runtimes: Vec::new(),
        }
    }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server that serves once it is awaited. Dropping the future ends it at once: the listener and all
/// connections are closed, all handlers dropped.
#[must_use = "a server does nothing unless awaited"]
pub struct Serve<S> {
    server: Server,
    service: S,
    shutdown: Option<Work>,
    beside: Option<(oneshot::Sender<()>, Work)>,
    drain: Drain,
    runtimes: Vec<Handle>,
}

impl<S> Serve<S> {
    /// Drains when `signal` is ready: no new connection, GOAWAY on the open ones, what was accepted is
    /// finished (up to [`drain_timeout`](ServerConfig::drain_timeout)), and then it ends.
    pub fn with_graceful_shutdown(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = Some(Box::pin(signal));
        self
    }

    /// Has something done beside serving, such as to be registered somewhere. `work` is given a future that is ready
    /// when the server is told to drain, or another process has taken over; the drain begins when the work has ended, and
    /// until then the server accepts and serves as ever. So it had better end soon. It begins when the server does,
    /// and is polled by the same task; the last one that is said here counts.
    pub fn beside<F>(mut self, work: impl FnOnce(ToldToDrain) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        self.beside = Some((tell, Box::pin(work(ToldToDrain(told)))));
        self
    }

    /// Has its connections, with their handlers, served by these runtimes in turn, instead of by the one that it
    /// accepts on. With runtimes of one thread each, a connection never changes its thread: see
    /// `towpath::Cores`.
    pub fn across(mut self, runtimes: impl IntoIterator<Item = Handle>) -> Self {
        self.runtimes = runtimes.into_iter().collect();
        self
    }
}

/// Ready when a server is told to drain: see [`Serve::beside`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ToldToDrain(oneshot::Receiver<()>);

impl Future for ToldToDrain {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Who tells it is the server, which drops it together with this.
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

/// What is done beside serving.
struct Beside {
    tell: Option<oneshot::Sender<()>>,
    /// `None`: it has ended, or there is nothing.
    work: Option<Work>,
}

impl Beside {
    /// Goes on with it; ends when it has ended after being told to.
    async fn go_on(&mut self, told: bool) {
        if told && let Some(tell) = self.tell.take() {
            // If it has ended nobody has to be told.
            let _ = tell.send(());
        }
        if let Some(work) = &mut self.work {
            work.await;
            self.work = None;
        }
        if !told {
            std::future::pending().await
        }
    }
}

impl<S> fmt::Debug for Serve<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("server", &self.server).finish_non_exhaustive()
    }
}

impl<S> IntoFuture for Serve<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<S> Serve<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    async fn run(self) -> io::Result<()> {
        let Serve { server, service, shutdown, beside, drain, runtimes } = self;
        let Server { listener, config, tls, peers, traffic, handover } = server;
        let max_connections = config.max_connections;
        let spread = Arc::new(Spread::new(runtimes));
        let gate = Gate { service, config, tls, peers, traffic, drain, spread };
        let mut shutdown = shutdown.unwrap_or_else(|| Box::pin(std::future::pending()));
        let (tell, work) = beside.unzip();
        let mut beside = Beside { tell, work };
        let mut told = false;
        // Aborts its tasks when it is dropped: whoever drops the server ends its connections.
        let mut connections = JoinSet::new();
        // Those that are sent away take their leave beside them, and not without end.
        let mut refused = JoinSet::new();
        let mut sent_away = Seldom::default();
        let offer = match handover {
            Handover::None => None,
            Handover::Offered(offer) => Some(offer),
            Handover::Taken(old) => old.replace().await,
        };
        let successor = {
            let mut taken = pin!(async {
                match &offer {
                    Some(offer) => offer.taken(&listener).await,
                    None => std::future::pending().await,
                }
            });
            loop {
                tokio::select! {
                    () = &mut shutdown, if !told => told = true,
                    successor = &mut taken => break Some(successor),
                    () = beside.go_on(told) => break None,
                    Some(_) = connections.join_next() => {}
                    Some(_) = refused.join_next() => {}
                    accepted = listener.accept() => match accepted {
                        Ok((socket, peer)) if open(&mut connections) < max_connections => {
                            gate.admit(socket, peer, None, &mut connections);
                        }
                        Ok((socket, peer)) => if refused.len() < REFUSED {
                            if let Some(count) = sent_away.count(Instant::now()) {
                                tracing::warn!(%peer, count, limit = max_connections, "connections are sent away");
                            }
                            gate.admit(socket, peer, Some("too many connections"), &mut refused);
                        }
                        Err(error) if is_of_one_connection(&error) => {}
                        Err(error) => {
                            tracing::warn!(%error, "accepting pauses for {} ms", PAUSE.as_millis());
                            tokio::time::sleep(PAUSE).await;
                        }
                    },
                }
            }
        };
        match (successor, offer) {
            (Some(successor), Some(offer)) => {
                tracing::info!("another process has taken over: this one drains");
                listener.hand_over();
                offer.close(successor).go_ahead().await;
            }
            (_, Some(offer)) if offer.is_out() => {
                tracing::info!("another process has the socket and will serve: this one drains");
                listener.hand_over();
            }
            (_, offer) => {
                drop(offer);
                // Closing the socket would reset them; so they hear that they are late.
                while open(&mut connections) < max_connections
                    && let Some(Ok((socket, peer))) = now(listener.accept())
                {
                    gate.admit(socket, peer, None, &mut connections);
                }
                drop(listener);
            }
        }
        // Of one whose socket was taken over: the other process accepts meanwhile.
        beside.go_on(true).await;
        gate.drain.start();
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

/// What is told once a second, however often it happens: a storm of connections makes no storm of lines.
#[derive(Default)]
struct Seldom {
    count: u64,
    last: Option<Instant>,
}

impl Seldom {
    /// It has happened. If it is to be told: how often since that was told last.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < Duration::from_secs(1)) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// How many there are, those that have ended and were not looked at yet not counted.
fn open(connections: &mut JoinSet<()>) -> usize {
    while connections.try_join_next().is_some() {}
    connections.len()
}

/// What is there without waiting.
fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Errors of accept that concern the one connection that was about to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Ready at SIGTERM or SIGINT (elsewhere than on Unix: at Ctrl-C): for
/// [`with_graceful_shutdown`](Serve::with_graceful_shutdown).
pub async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "no signal can be received: this server will not drain by signal");
                std::future::pending::<()>().await;
            }
        }
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_told_once_a_second() {
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        let told: Vec<_> =
            (0..2_500).filter_map(|ms| seldom.count(start + Duration::from_millis(ms))).collect();
        assert_eq!(told, [1, 1_000, 1_000]);
    }
}
