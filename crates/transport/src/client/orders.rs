//! Every order in which callers and the driver can do things, on two or three threads.
//!
//! A wake-up that is lost leaves a thread waiting for ever, and the checker says so; so each test ends by
//! waiting for all.
// Tests may fail as loudly as they like, helpers included.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::{
    Connection,
    shared::Shared,
    table::{Entering, Entry},
};
use crate::{
    compression::Packing,
    config::ClientConfig,
    orders::{Line, every},
};
use bytes::Bytes;
use loom::{
    future::block_on,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};
use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Wake, Waker},
    time::Duration,
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_codec::{Frame, FrameHeader, GoAway, GoAwayReason, kind};
use towpath_core::{Error, ErrorKind, Mode, Request, Response};

fn frame(frame: &Frame) -> Vec<u8> {
    let header = FrameHeader { kind: frame.kind, len: frame.payload.len() as u32 };
    [&header.to_bytes()[..], &frame.payload].concat()
}

/// Answers each REQUEST with its own body's id.
fn echo(kind: u8, payload: &[u8]) -> Vec<u8> {
    if kind != kind::REQUEST {
        return Vec::new();
    }
    let request =
        towpath_codec::decode_request(Bytes::copy_from_slice(payload), &Default::default()).unwrap();
    if request.request.mode() == Mode::OneWay {
        return Vec::new();
    }
    let body = request.request.body().clone();
    frame(&Frame::response(kind::RESPONSE, request.id, &Response::new(body)).unwrap())
}

fn silent(_: u8, _: &[u8]) -> Vec<u8> {
    Vec::new()
}

type Driven = thread::JoinHandle<Result<(), Error>>;

/// A connection whose driver is on a thread of its own.
fn connect(line: &Line, limit: u32) -> (Connection, Driven) {
    let config = ClientConfig { keep_alive: None, max_outstanding: limit, ..ClientConfig::default() };
    let (connection, driver) = Connection::new(line.clone(), "loom", &config).unwrap();
    (connection, thread::spawn(move || block_on(driver)))
}

fn request(body: &'static str) -> Request {
    Request::new("A.B", Bytes::from_static(body.as_bytes()))
}

fn call(connection: &Connection, body: &'static str) -> Result<Response, Error> {
    block_on(pin!((&mut &*connection).call(request(body))))
}

/// The caller queues while the driver writes, reads, or is about to sleep. Then the last handle goes.
#[test]
fn a_call_is_sent_and_answered_and_the_last_handle_ends_it() {
    every(3, || {
        let line = Line::new(echo);
        let (connection, driven) = connect(&line, 8);
        assert_eq!(call(&connection, "a").unwrap().body(), "a");
        assert_eq!(connection.outstanding(), 0);
        drop(connection);
        driven.join().unwrap().unwrap();
        let kinds: Vec<u8> = line.frames().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [kind::REQUEST, kind::GOAWAY]);
    });
}

/// Two callers and room for one: the place is handed on, whoever comes first.
#[test]
fn one_place_serves_two_callers() {
    every(1, || {
        let line = Line::new(echo);
        let (connection, driven) = connect(&line, 1);
        let second = connection.clone();
        let other = thread::spawn(move || assert_eq!(call(&second, "b").unwrap().body(), "b"));
        assert_eq!(call(&connection, "a").unwrap().body(), "a");
        drop(connection);
        other.join().unwrap();
        driven.join().unwrap().unwrap();
    });
}

/// A call is given up while it is sent, answered, or waits in line: its place is free, its answer reaches
/// nobody else.
#[test]
fn a_call_that_is_given_up_is_in_nobody_s_way() {
    every(3, || {
        let line = Line::new(echo);
        let (connection, driven) = connect(&line, 1);
        {
            let mut first = Box::pin((&mut &connection).call(request("a")));
            let _ = first.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        assert_eq!(call(&connection, "b").unwrap().body(), "b");
        assert_eq!(connection.outstanding(), 0);
        drop(connection);
        driven.join().unwrap().unwrap();
        let cancels = line.frames().iter().filter(|(kind, _)| *kind == kind::CANCEL).count();
        assert!(cancels <= 1);
    });
}

/// A call is first polled by one task, and by another one while its answer arrives.
#[test]
fn a_call_that_changes_its_task_is_woken_there() {
    every(3, || {
        let line = Line::new(echo);
        let (connection, driven) = connect(&line, 8);
        let mut moved = Box::pin((&mut &connection).call(request("a")));
        assert!(moved.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(block_on(moved).unwrap().body(), "a");
        drop(connection);
        driven.join().unwrap().unwrap();
    });
}

/// The peer goes while a call is made: it ends, one way or the other.
#[test]
fn nobody_waits_on_a_connection_that_has_ended() {
    every(3, || {
        let line = Line::new(silent);
        let (connection, driven) = connect(&line, 8);
        let peer = line.clone();
        let cut = thread::spawn(move || peer.cut());
        let error = call(&connection, "a").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionLost);
        assert!(connection.is_closed());
        cut.join().unwrap();
        let _ = driven.join().unwrap();
    });
}

/// A GOAWAY arrives while a call is made: it is refused, or sent and told that it was not begun.
#[test]
fn a_goaway_reaches_a_call_that_is_just_made() {
    every(3, || {
        let line = Line::new(silent);
        let (connection, driven) = connect(&line, 8);
        let peer = line.clone();
        let goaway = thread::spawn(move || {
            let goaway = GoAway { reason: GoAwayReason::Draining, last_id: 0, text: String::new() };
            peer.feed(&frame(&Frame::goaway(&goaway)));
        });
        assert_eq!(call(&connection, "a").unwrap_err().kind(), ErrorKind::Draining);
        goaway.join().unwrap();
        // Nobody closed it here, and the handle is held: it ends by itself.
        driven.join().unwrap().unwrap();
        drop(connection);
    });
}

/// `close` on one thread, the last answer on another: the driver learns that nothing is left.
#[test]
fn closing_beside_the_last_answer_ends_the_connection() {
    every(3, || {
        let line = Line::new(echo);
        let (connection, driven) = connect(&line, 8);
        let closer = connection.clone();
        let close = thread::spawn(move || closer.close());
        match call(&connection, "a") {
            Ok(answer) => assert_eq!(answer.body(), "a"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Draining),
        }
        driven.join().unwrap().unwrap();
        close.join().unwrap();
        drop(connection);
    });
}

/// The driver is dropped while a call is made.
#[test]
fn a_dropped_driver_tells_a_call_that_is_just_made() {
    every(3, || {
        let config = ClientConfig { keep_alive: None, ..ClientConfig::default() };
        let (connection, driver) = Connection::new(Line::new(silent), "loom", &config).unwrap();
        let dropped = thread::spawn(move || drop(driver));
        assert_eq!(call(&connection, "a").unwrap_err().kind(), ErrorKind::ConnectionLost);
        dropped.join().unwrap();
    });
}

/// A one-way call is over when it is written.
#[test]
fn a_one_way_call_hears_that_it_is_written() {
    every(3, || {
        let line = Line::new(echo);
        let (connection, driven) = connect(&line, 8);
        let mut one_way = request("a");
        one_way.set_mode(Mode::OneWay);
        assert!(block_on(pin!((&mut &connection).call(one_way))).unwrap().body().is_empty());
        drop(connection);
        driven.join().unwrap().unwrap();
    });
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Answer, deadline and drop at the same time, on the table itself: one outcome at most, one wake-up at
/// most, and the place is free afterwards.
#[test]
fn answer_deadline_and_drop_agree_on_one_outcome() {
    every(3, || {
        let shared = Arc::new(Shared::new(8, "loom".into(), 1 << 20, Packing::new(None)));
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let due = Instant::now() + Duration::from_secs(1);
        let entering = Entering { bytes: 1, is_async: false, deadline: Some(due) };
        let waker = Waker::from(woken.clone());
        let Some(Entry::Granted(id)) = shared.lock().table.enter(true, entering, &waker) else { panic!() };
        drop(waker);
        let (answering, expiring) = (shared.clone(), shared.clone());
        let answer = thread::spawn(move || {
            let waker = answering.lock().table.complete(id, Ok(Response::new(Bytes::from_static(b"x"))));
            waker.into_iter().for_each(Waker::wake);
        });
        let deadline = thread::spawn(move || {
            let mut wakers = Vec::new();
            let late = |_: &_| Err(Error::new(ErrorKind::DeadlineExceeded));
            let sent = expiring.lock().table.expire(due, &mut wakers, late).len();
            wakers.into_iter().for_each(Waker::wake);
            sent
        });
        let fetched = shared.lock().table.fetch(id);
        if fetched.is_none() {
            shared.leave(id);
        }
        answer.join().unwrap();
        let late = deadline.join().unwrap();
        let state = shared.lock();
        assert!(state.table.is_idle());
        assert!(woken.0.load(Relaxed) <= 1, "woken once");
        assert!(late == 0 || !matches!(fetched, Some(Ok(_))), "late and answered");
    });
}
