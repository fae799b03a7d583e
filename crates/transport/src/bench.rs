//! A connection's buffers without a connection, for the benches of this workspace. No part of the API: it may
//! change or go at any time.

use crate::{out::OutQueue, reader::FrameReader};
use bytes::Bytes;
use std::{
    io,
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite};
use towpath_codec::EncodeError;
use towpath_core::Request;

/// How a connection reads frames.
#[derive(Debug, Default)]
pub struct Incoming(FrameReader);

impl Incoming {
    /// Reads until there is no more, or nothing yet, and hands out the payloads.
    ///
    /// # Errors
    /// Those of the stream, and of frames that are none.
    pub fn read_all(
        &mut self,
        mut stream: impl AsyncRead + Unpin,
        mut each: impl FnMut(Bytes),
    ) -> io::Result<()> {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(read) = self.0.poll_read(&mut stream, &mut cx)? {
            if read == 0 {
                break;
            }
            let max = towpath_codec::DEFAULT_MAX_PAYLOAD;
            while let Some(header) = self.0.next(max).map_err(io::Error::other)? {
                each(self.0.payload(header));
            }
        }
        Ok(())
    }
}

/// How a connection writes frames.
#[derive(Debug, Default)]
pub struct Outgoing(OutQueue);

impl Outgoing {
    /// Appends a request.
    ///
    /// # Errors
    /// See [`put_request_head`](towpath_codec::put_request_head).
    pub fn push(&mut self, id: u64, timeout_ms: u32, request: &Request) -> Result<(), EncodeError> {
        towpath_codec::put_request_head(&mut self.0.buf, id, timeout_ms, request)?;
        self.0.body(request.body());
        Ok(())
    }

    /// Writes what there is, to a stream that takes it.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn write(&mut self, mut stream: impl AsyncWrite + Unpin) -> io::Result<()> {
        match self.0.poll_write(&mut stream, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(written) => written,
            Poll::Pending => Ok(()),
        }
    }
}
