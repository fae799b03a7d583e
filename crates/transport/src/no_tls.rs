//! In place of TLS, where the feature `tls` is off: the same names, and nothing that can exist.

use crate::peer::Certificates;
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use towpath_core::ErrorKind;

pub(crate) const NO_CLIENT: &str = "TLS (mcps) is not built in: turn on the feature `tls`";
pub(crate) const NO_SERVER: &str = NO_CLIENT;

// Structs, not empty enums: elsewhere the compiler is not to see that what follows cannot happen.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls(Infallible);

#[derive(Clone, Debug)]
pub(crate) struct ServerTls(Infallible);

#[derive(Debug)]
pub(crate) struct Stream(Infallible);

// The arms of what cannot exist are written all the same.
#[allow(dead_code)]
pub(crate) enum Shaken {
    In(Box<Stream>, Certificates),
    Tell(Told, &'static str),
    Out,
}

#[allow(dead_code)]
pub(crate) enum Told {
    Tls(Box<Stream>),
    Plain(TcpStream),
}

impl ClientTls {
    pub(crate) async fn connect(&self, _: TcpStream, _: &str) -> Result<Stream, (ErrorKind, String)> {
        match self.0 {}
    }
}

impl ServerTls {
    pub(crate) async fn accept(&self, _: TcpStream, _: SocketAddr) -> Shaken {
        match self.0 {}
    }
}

impl Stream {
    pub(crate) fn failure(&self) -> Arc<OnceLock<ErrorKind>> {
        match self.0 {}
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}
