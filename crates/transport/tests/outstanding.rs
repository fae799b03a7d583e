//! As many calls at once as both sides allow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::PIPE;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tower::{ServiceExt, service_fn};
use towpath_core::{BoxError, Request, Response};
use towpath_transport::{ClientConfig, Connection, Drain, ServerConfig, ServerConnection};

/// Above the protocol's default of 65 536.
const CALLS: u32 = 100_000;

fn numbered(number: u32) -> Request {
    Request::new("Numbers.Hold", Bytes::copy_from_slice(&number.to_be_bytes()))
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_calls_are_outstanding_at_once() {
    let (arrived, all_are_here, gate) =
        (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let held = (arrived.clone(), all_are_here.clone(), gate.clone());
    let hold = service_fn(move |request: Request| {
        let (arrived, all_are_here, gate) = held.clone();
        async move {
            if arrived.fetch_add(1, SeqCst) + 1 == CALLS {
                all_are_here.notify_one();
            }
            gate.acquire().await?.forget();
            Ok::<_, BoxError>(Response::new(request.into_body()))
        }
    });
    let (here, there) = tokio::io::duplex(PIPE);
    let config = ServerConfig { max_outstanding: CALLS, ..Default::default() };
    tokio::spawn(ServerConnection::new(there, hold, &config, Drain::new().watch()));
    let config = ClientConfig { max_outstanding: CALLS, ..Default::default() };
    let (connection, driver) = Connection::new(here, "many", &config).unwrap();
    tokio::spawn(driver);

    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let call = connection.clone().oneshot(numbered(number));
        calls.spawn(async move { (number, call.await) });
    }
    timeout(Duration::from_secs(5), all_are_here.notified()).await.expect("all calls reach the handler");
    assert_eq!(connection.outstanding(), CALLS as usize);
    // One more finds no room, and waits here.
    let mut one_more = Box::pin(connection.clone().oneshot(numbered(CALLS)));
    assert!(timeout(Duration::from_secs(1), &mut one_more).await.is_err());
    assert_eq!(arrived.load(SeqCst), CALLS);

    gate.add_permits(CALLS as usize + 1);
    let answers = timeout(Duration::from_secs(5), calls.join_all()).await.expect("all are answered");
    assert_eq!(answers.len(), CALLS as usize);
    for (number, answer) in answers {
        assert_eq!(answer.unwrap().body()[..], number.to_be_bytes());
    }
    assert_eq!(one_more.await.unwrap().body()[..], CALLS.to_be_bytes());
    assert_eq!(connection.outstanding(), 0);
}
