//! An encrypted stream, whose errors say what is wrong.

use super::words::{self, Side};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;
use towpath_core::ErrorKind;

#[derive(Debug)]
pub(crate) struct Stream {
    inner: TlsStream<TcpStream>,
    side: Side,
    /// What kind of failure the first one was.
    failed: Arc<OnceLock<ErrorKind>>,
}

impl Stream {
    pub(super) fn new(inner: impl Into<TlsStream<TcpStream>>, side: Side) -> Self {
        Stream { inner: inner.into(), side, failed: Arc::default() }
    }

    /// Tells what kind of failure has ended it: a server looks at a client's certificate only after the client has
    /// connected, as far as that can tell.
    pub(crate) fn failure(&self) -> Arc<OnceLock<ErrorKind>> {
        self.failed.clone()
    }

    fn say<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        polled.map_err(|error| {
            let _ = self.failed.set(words::kind(&error));
            io::Error::new(error.kind(), words::say(&error, self.side))
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        this.say(polled)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
