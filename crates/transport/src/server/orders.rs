//! Every order in which a handler on another thread and the driver of its connection can do things.
// Tests may fail as loudly as they like, helpers included.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::{Drain, ServerConnection};
use crate::{
    config::ServerConfig,
    orders::{Line, every},
};
use bytes::Bytes;
use loom::{future::block_on, thread};
use std::{
    convert::Infallible,
    future::{Pending, pending},
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_codec::{Frame, FrameHeader, GoAway, GoAwayReason, kind};
use towpath_core::{Mode, Request, Response};

/// Its handlers never end by themselves: the tests end them, from another thread.
#[derive(Clone)]
struct Slow;

impl Service<Request> for Slow {
    type Response = Response;
    type Error = Infallible;
    type Future = Pending<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        pending()
    }
}

fn silent(_: u8, _: &[u8]) -> Vec<u8> {
    Vec::new()
}

fn frame(frame: &Frame) -> Vec<u8> {
    let header = FrameHeader { kind: frame.kind, len: frame.payload.len() as u32 };
    [&header.to_bytes()[..], &frame.payload].concat()
}

fn request(id: u64, mode: Mode) -> Vec<u8> {
    let mut request = Request::new("A.B", Bytes::new());
    request.set_mode(mode);
    frame(&Frame::request(id, 0, &request).unwrap())
}

fn goaway() -> Vec<u8> {
    let goaway = GoAway { reason: GoAwayReason::Draining, last_id: 0, text: String::new() };
    frame(&Frame::goaway(&goaway))
}

fn config() -> ServerConfig {
    ServerConfig { keep_alive: None, ..ServerConfig::default() }
}

/// A handler accepts and ends while the driver reads, writes, or is about to sleep: ACK, PUSH, and the end
/// of a caller that has finished.
#[test]
fn an_answer_from_another_thread_is_written() {
    every(3, || {
        let line = Line::new(silent);
        line.feed(&request(1, Mode::Async));
        line.feed(&goaway());
        let drain = Drain::new();
        let mut serving = ServerConnection::new(line.clone(), Slow, &config(), drain.watch());
        // The call begins; its handler is on another thread from now on.
        let shared = serving.shared.clone();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::Pin::new(&mut serving).poll(&mut cx).is_pending());
        let handler = thread::spawn(move || {
            shared.accept(1);
            shared.finish(1, Ok(Response::new(Bytes::from_static(b"done"))));
        });
        block_on(serving);
        handler.join().unwrap();
        assert_eq!(line.frames(), [(kind::ACK, 1), (kind::PUSH, 1)]);
    });
}

/// A handler ends while its call is cancelled: an answer or none, never two; and the connection goes on to
/// its end.
#[test]
fn an_answer_beside_its_cancellation() {
    every(3, || {
        let line = Line::new(silent);
        line.feed(&request(1, Mode::Unary));
        let drain = Drain::new();
        let mut serving = ServerConnection::new(line.clone(), Slow, &config(), drain.watch());
        let shared = serving.shared.clone();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::Pin::new(&mut serving).poll(&mut cx).is_pending());
        let handler = thread::spawn(move || shared.finish(1, Ok(Response::new(Bytes::new()))));
        let caller = line.clone();
        let cancel = thread::spawn(move || {
            caller.feed(&frame(&Frame::short(kind::CANCEL, 1)));
            caller.feed(&goaway());
        });
        block_on(serving);
        handler.join().unwrap();
        cancel.join().unwrap();
        let frames = line.frames();
        assert!(frames.is_empty() || frames == [(kind::RESPONSE, 1)], "{frames:?}");
    });
}
