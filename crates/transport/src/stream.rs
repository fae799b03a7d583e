//! The socket under a connection, of whichever kind.

use crate::{tls, unix::UnixStream};
use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What the drivers of both sides read and write. One type for all kinds: a branch beside each system call,
/// where a type parameter would have the whole driver compiled once more for each.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<tls::Stream>),
}

impl Socket {
    /// A frame is written whole; waiting for more to send would only delay it.
    pub(crate) fn no_delay(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.set_nodelay(true),
            // It was said before the handshake.
            Socket::Unix(_) | Socket::Tls(_) => Ok(()),
        }
    }

    /// The same socket, driven by the runtime that is entered.
    pub(crate) fn moved(self) -> io::Result<Self> {
        Ok(match self {
            Socket::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream.into_std()?)?),
            #[cfg(unix)]
            Socket::Unix(stream) => Socket::Unix(UnixStream::from_std(stream.into_std()?)?),
            // Nobody moves one after its handshake.
            socket => socket,
        })
    }

    /// The id of the user at the other end, on this machine.
    pub(crate) fn user(&self) -> Option<u32> {
        match self {
            Socket::Unix(stream) => stream.peer_cred().ok().map(|peer| peer.uid()),
            Socket::Tcp(_) | Socket::Tls(_) => None,
        }
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $do:expr) => {
        match $self.get_mut() {
            Socket::Tcp($stream) => $do,
            Socket::Unix($stream) => $do,
            Socket::Tls($stream) => $do,
        }
    };
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Socket::Tcp(_) => "Tcp",
            Socket::Unix(_) => "Unix",
            Socket::Tls(_) => "Tls",
        })
    }
}
