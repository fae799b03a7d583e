//! Accepts connections.

use super::{connection::ServerConnection, drain::Drain};
use crate::config::ServerConfig;
use std::{
    fmt,
    future::{Future, IntoFuture},
    io,
    net::SocketAddr,
    pin::Pin,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream, ToSocketAddrs},
    task::JoinSet,
};
use tower_service::Service;
use towpath_core::{BoxError, Request, Response};

/// How long accepting pauses when the system has no descriptors left: connections that end free some.
const PAUSE: Duration = Duration::from_millis(50);

/// How many connections above the limit are told so at a time; further ones are just closed.
const REFUSED: usize = 64;

/// A listening socket that is going to serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    config: ServerConfig,
}

impl Server {
    /// Listens on a TCP address; port 0 takes a free one.
    ///
    /// # Errors
    /// If the configuration is not valid, or the system refuses the address.
    pub async fn bind(address: impl ToSocketAddrs, config: ServerConfig) -> io::Result<Self> {
        config.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Server { listener: TcpListener::bind(address).await?, config })
    }

    /// Serves on a socket that listens already.
    ///
    /// # Errors
    /// If the configuration is not valid.
    pub fn from_listener(listener: TcpListener, config: ServerConfig) -> io::Result<Self> {
        config.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Server { listener, config })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the returned future is dropped, or until it is told to drain.
    pub fn serve<S>(self, service: S) -> Serve<S> {
        Serve { server: self, service, shutdown: None, drain: Drain::new() }
    }
}

/// A server that serves once it is awaited. Dropping the future ends it at once: the listener and all
/// connections are closed, all handlers dropped.
#[must_use = "a server does nothing unless awaited"]
pub struct Serve<S> {
    server: Server,
    service: S,
    shutdown: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    drain: Drain,
}

impl<S> Serve<S> {
    /// Drains when `signal` is ready: no new connection, GOAWAY on the open ones, what was accepted is
    /// finished (up to [`drain_timeout`](ServerConfig::drain_timeout)), and then it ends.
    pub fn with_graceful_shutdown(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = Some(Box::pin(signal));
        self
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
        let Serve { server: Server { listener, config }, service, shutdown, drain } = self;
        let mut shutdown = shutdown.unwrap_or_else(|| Box::pin(std::future::pending()));
        // Aborts its tasks when it is dropped: whoever drops the server ends its connections.
        let mut connections = JoinSet::new();
        // Those that are sent away take their leave beside them, and not without end.
        let mut refused = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                Some(_) = refused.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let Some(mut connection) = open_connection(stream, peer, &service, &config, &drain) else {
                            continue;
                        };
                        if connections.len() < config.max_connections {
                            connections.spawn(connection);
                        } else if refused.len() < REFUSED {
                            tracing::warn!(%peer, limit = config.max_connections, "a connection is sent away");
                            connection.refuse("too many connections");
                            refused.spawn(connection);
                        }
                    }
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(%error, "accepting pauses for {} ms", PAUSE.as_millis());
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        drain.start();
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

fn open_connection<S>(
    stream: TcpStream,
    peer: SocketAddr,
    service: &S,
    config: &ServerConfig,
    drain: &Drain,
) -> Option<ServerConnection<TcpStream, S>>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "a connection was gone before it was served");
        return None;
    }
    Some(ServerConnection::new(stream, service.clone(), config, drain.watch()))
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
