//! A socket that listens, of whichever kind.

use crate::{
    address::Address,
    stream::Socket,
    unix::{SocketFile, UnixListener},
};
use std::{fmt, io, net::SocketAddr};
use tokio::net::TcpListener;

/// A socket that listens: TCP, or a Unix socket.
#[derive(Debug)]
pub struct Listener {
    /// Removed with the listener, and before it: who comes too late finds nothing, instead of what looks like
    /// the leavings of a server that has died.
    file: Option<SocketFile>,
    kind: Kind,
    address: Address,
}

#[derive(Debug)]
pub(super) enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Who has connected.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    Tcp(SocketAddr),
    Unix,
}

impl Listener {
    /// A TCP socket of the standard library that listens already: one that was inherited, or made with options
    /// that are not offered here.
    ///
    /// # Errors
    /// If the system does not let it be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::from)
    }

    /// The same for a Unix socket. Its file stays when the server ends: who has made it may remove it.
    ///
    /// # Errors
    /// If the system does not let it be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[cfg(unix)]
    pub fn from_std_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Self::from)
    }

    pub(super) fn at_path(listener: UnixListener, file: SocketFile, address: Address) -> Self {
        Listener { kind: Kind::Unix(listener), file: Some(file), address }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address of a TCP socket.
    ///
    /// # Errors
    /// If it is none, or the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.kind {
            Kind::Tcp(listener) => listener.local_addr(),
            Kind::Unix(_) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "a Unix socket has a path, and no port"))
            }
        }
    }

    /// A Unix socket from another server, with its file.
    #[cfg(unix)]
    pub(super) fn adopt_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        let mut listener = Self::from_std_unix(listener)?;
        listener.file = match listener.address.path() {
            Some(path) => Some(SocketFile::of(path)?),
            None => None,
        };
        Ok(listener)
    }

    #[cfg(unix)]
    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Another process listens on it from now on: the file stays.
    pub(super) fn hand_over(self) {
        if let Some(file) = self.file {
            file.leave();
        }
    }

    /// It speaks TLS on what it accepts.
    pub(super) fn set_tls(&mut self) {
        if let Some((host, port)) = self.address.host_port() {
            self.address = Address::tls(host, port);
        }
    }

    /// Cancel safety: no connection is lost when it is dropped.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Origin)> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Socket::Tcp(stream), Origin::Tcp(peer)))
            }
            Kind::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Origin::Unix))
            }
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        let unknown = || SocketAddr::from(([0, 0, 0, 0], 0));
        let address = listener.local_addr().unwrap_or_else(|_| unknown()).into();
        Listener { kind: Kind::Tcp(listener), file: None, address }
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        let path = listener.local_addr().ok().and_then(|at| at.as_pathname().map(ToOwned::to_owned));
        let address = Address::unix(path.unwrap_or_else(|| "(unnamed)".into()));
        Listener { kind: Kind::Unix(listener), file: None, address }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Tcp(address) => address.fmt(f),
            Origin::Unix => f.write_str("a process on this machine"),
        }
    }
}
