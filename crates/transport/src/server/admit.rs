//! From a socket that was accepted to a connection that is served.

use super::{connection::ServerConnection, drain::Drain, socket::Origin};
use crate::{
    config::ServerConfig,
    peer::{Certificates, Peer},
    stream::Socket,
    tls::{ServerTls, Shaken, Told},
};
use std::{io, net::SocketAddr};
use tokio::{net::TcpStream, task::JoinSet};
use tower_service::Service;
use towpath_codec::GoAwayReason;
use towpath_core::{BoxError, Extensions, Request, Response};

/// What all connections of a server have in common.
#[derive(Clone)]
pub(super) struct Gate<S> {
    pub(super) service: S,
    pub(super) config: ServerConfig,
    pub(super) tls: Option<ServerTls>,
    /// Whether requests say who is at the other end.
    pub(super) peers: bool,
    pub(super) drain: Drain,
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
        let peer = match self.prepare(&socket, from) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::debug!(peer = %from, %error, "a connection was gone before it was served");
                return;
            }
        };
        match (&self.tls, from, socket) {
            (Some(tls), Origin::Tcp(address), Socket::Tcp(stream)) => {
                tasks.spawn(shake(tls.clone(), stream, address, refusal, self.clone()))
            }
            (_, _, socket) => {
                let refusal = refusal.map(|why| (GoAwayReason::Draining, why));
                tasks.spawn(self.connection(socket, peer, refusal))
            }
        };
    }

    fn prepare(&self, socket: &Socket, from: Origin) -> io::Result<Option<Peer>> {
        socket.no_delay()?;
        Ok(self.peers.then(|| match from {
            Origin::Tcp(address) => Peer::tcp(address, Certificates::default()),
            Origin::Unix => Peer::unix(socket.user()),
        }))
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
        if let Some((reason, why)) = refusal {
            connection.refuse(reason, why);
        }
        connection
    }
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
    let (socket, peer, refusal) = match tls.accept(stream, address).await {
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
