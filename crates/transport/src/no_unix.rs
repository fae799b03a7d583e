//! In place of Unix sockets, where the system has none: the same names, and nothing that can exist.

use std::{
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug)]
pub(crate) enum UnixStream {}

#[derive(Debug)]
pub(crate) enum UnixListener {}

#[derive(Debug)]
pub(crate) enum SocketFile {}

impl SocketFile {
    pub(crate) fn of(_: &Path) -> io::Result<Self> {
        none()
    }

    pub(crate) fn leave(self) {
        match self {}
    }
}

fn none<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no Unix sockets"))
}

pub(crate) async fn connect(_: &Path) -> io::Result<UnixStream> {
    none()
}

pub(crate) async fn listen(_: &Path, _: u32, _: u32) -> io::Result<(UnixListener, SocketFile)> {
    none()
}

pub(crate) fn reason(_: &Path, error: &io::Error) -> String {
    error.to_string()
}

pub(crate) enum Credentials {}

impl Credentials {
    pub(crate) fn uid(&self) -> u32 {
        match *self {}
    }
}

impl UnixStream {
    pub(crate) fn peer_cred(&self) -> io::Result<Credentials> {
        match *self {}
    }
}

impl UnixListener {
    pub(crate) async fn accept(&self) -> io::Result<(UnixStream, ())> {
        match *self {}
    }
}

impl AsyncRead for UnixStream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsyncWrite for UnixStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}
