//! Whether somebody listens.

use super::{Probe, place::Place};
use tokio::net::TcpStream;
use towpath_core::{BoxError, Endpoint};

/// Connects to the endpoint's socket, TCP or Unix, and closes the connection without a word. It is a success that somebody
/// listens; whether that one answers is another question, which a [`PingProbe`](crate::PingProbe) asks.
///
/// The address is `mcp://host:port` or any other URL with a host and a port, `host:port`, or `mcp+unix:/path`.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TcpProbe;

impl TcpProbe {
    /// One.
    pub fn new() -> Self {
        TcpProbe
    }
}

impl Probe for TcpProbe {
    async fn probe(&mut self, endpoint: &Endpoint) -> Result<(), BoxError> {
        let connected = match Place::of(endpoint)? {
            Place::Tcp(host, port) => TcpStream::connect((host, port)).await.map(drop),
            #[cfg(unix)]
            Place::Unix(path) => tokio::net::UnixStream::connect(path).await.map(drop),
            #[cfg(not(unix))]
            Place::Unix(_) => return Err("there are no Unix sockets on this system".into()),
        };
        connected.map_err(|error| format!("could not connect to {endpoint}: {error}").into())
    }
}
