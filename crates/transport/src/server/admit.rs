//! From a socket that was accepted to a connection that is served.

use super::{
    connection::ServerConnection,
    drain::{Drain, DrainWatch},
    socket::Origin,
};
use crate::{
    config::ServerConfig,
    peer::{Certificates, Peer},
    stream::Socket,
    tls::{ServerTls, Shaken, Told},
    traffic::Traffic,
};
use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};
use tokio::{net::TcpStream, runtime::Handle, task::JoinSet, time::sleep};
use tower_service::Service;
use towpath_codec::GoAwayReason;
use towpath_core::{BoxError, Extensions, Request, Response};

/// How long a drain waits for handshakes, if not less: they take milliseconds where somebody is there, and who
/// only holds a connection open is not to hold up the end.
const LATE: Duration = Duration::from_secs(1);

/// What all connections of a server have in common.
#[derive(Clone)]
pub(super) struct Gate<S> {
    pub(super) service: S,
    pub(super) config: ServerConfig,
    pub(super) tls: Option<ServerTls>,
    /// Whether requests say who is at the other end.
    pub(super) peers: bool,
    pub(super) traffic: Option<Traffic>,
    pub(super) drain: Drain,
    pub(super) spread: Arc<Spread>,
}

/// The runtimes among which connections are spread, in turn; none: that of the server itself.
#[derive(Debug, Default)]
pub(super) struct Spread {
    runtimes: Vec<Handle>,
    next: AtomicUsize,
}

impl Spread {
    pub(super) fn new(runtimes: Vec<Handle>) -> Self {
        Spread { runtimes, next: AtomicUsize::new(0) }
    }

    fn next(&self) -> Option<&Handle> {
        let turn = self.next.fetch_add(1, Relaxed);
        self.runtimes.get(turn.checked_rem(self.runtimes.len())?)
    }
}

impl<S> Gate<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    /// Serves a connection, or sends it away, in a task of its own: a handshake takes its time.
    pub(super) fn admit(
        &self,
        socket: Socket,
        from: Origin,
        refusal: Option<&'static str>,
        tasks: &mut JoinSet<()>,
    ) {
        let home = self.spread.next();
        let (socket, peer) = match self.prepare(socket, from, home) {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::debug!(peer = %from, %error, "a connection was gone before it was served");
                return;
            }
        };
        match (&self.tls, from, socket) {
            (Some(tls), Origin::Tcp(address), Socket::Tcp(stream)) => {
                spawn(tasks, home, shake(tls.clone(), stream, address, refusal, self.clone()));
            }
            (_, _, socket) => {
                let refusal = refusal.map(|why| (GoAwayReason::Draining, why));
                spawn(tasks, home, self.connection(socket, peer, refusal));
            }
        }
    }

    fn prepare(
        &self,
        socket: Socket,
        from: Origin,
        home: Option<&Handle>,
    ) -> io::Result<(Socket, Option<Peer>)> {
        socket.no_delay()?;
        let peer = self.peers.then(|| match from {
            Origin::Tcp(address) => Peer::tcp(address, Certificates::default()),
            Origin::Unix => Peer::unix(socket.user()),
        });
        let Some(home) = home else { return Ok((socket, peer)) };
        let _entered = home.enter();
        Ok((socket.moved()?, peer))
    }

    fn connection(
        &self,
        socket: Socket,
        peer: Option<Peer>,
        refusal: Option<(GoAwayReason, &str)>,
    ) -> ServerConnection<Socket, S> {
        let mut extensions = Extensions::new();
        if let Some(peer) = peer {
            extensions.insert(peer);
        }
        let mut connection =
            ServerConnection::new(socket, self.service.clone(), &self.config, self.drain.watch())
                .with_extensions(extensions);
        if let Some(traffic) = &self.traffic {
            connection = connection.with_traffic(traffic);
        }
        if let Some((reason, why)) = refusal {
            connection.refuse(reason, why);
        }
        connection
    }
}

fn spawn(tasks: &mut JoinSet<()>, home: Option<&Handle>, task: impl Future<Output = ()> + Send + 'static) {
    match home {
        Some(home) => tasks.spawn_on(task, home),
        None => tasks.spawn(task),
    };
}

/// The handshake, and the connection after it.
async fn shake<S>(
    tls: ServerTls,
    stream: TcpStream,
    address: SocketAddr,
    refusal: Option<&'static str>,
    gate: Gate<S>,
) where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    let shaken = tokio::select! {
        shaken = tls.accept(stream, address) => shaken,
        () = too_late(gate.drain.watch(), gate.config.drain_timeout.min(LATE)) => {
            tracing::debug!(peer = %address, "a TLS handshake was not over when the server drained");
            return;
        }
    };
    let (socket, peer, refusal) = match shaken {
        Shaken::In(stream, certificates) => {
            let peer = Peer::tcp(address, certificates);
            (Socket::Tls(stream), Some(peer), refusal.map(|why| (GoAwayReason::Draining, why)))
        }
        Shaken::Tell(Told::Plain(stream), why) => {
            (Socket::Tcp(stream), None, Some((GoAwayReason::Unauthenticated, why)))
        }
        Shaken::Tell(Told::Tls(stream), why) => {
            (Socket::Tls(stream), None, Some((GoAwayReason::BadVersion, why)))
        }
        Shaken::Out => return,
    };
    let connection = gate.connection(socket, peer, refusal);
    // Not kept for as long as the connection lives.
    drop((gate, tls));
    connection.await;
}

/// Resolves so long after the server was told to drain.
async fn too_late(mut drain: DrainWatch, wait: Duration) {
    poll_fn(|cx| if drain.poll(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    sleep(wait).await;
}
