//! A server that drains loses nothing that it has accepted.
#![allow(clippy::unwrap_used)]

mod common;

use common::{serve, soon, until};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use towpath::{Client, Json, Processed, Router, State};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_answered() {
    const CALLS: u32 = 100;
    let begun = Arc::new(AtomicU32::new(0));
    let work = async |State(begun): State<Arc<AtomicU32>>, Json(n): Json<u32>| {
        begun.fetch_add(1, SeqCst);
        tokio::time::sleep(Duration::from_millis(200 + u64::from(n % 7) * 20)).await;
        Json(n)
    };
    let server = serve(Router::new().route("Work.Do", work).with_state(begun.clone())).await;
    let clients = [0; 3].map(|_| Client::connect_lazy(server.url()).unwrap());
    let calls: Vec<_> = (0..CALLS)
        .map(|n| {
            let call = clients[n as usize % clients.len()].request("Work.Do").body(&n);
            tokio::spawn(async move {
                if n % 2 == 0 { call.send::<u32>().await } else { call.send_async::<u32>().await?.await }
            })
        })
        .collect();
    until("all have begun", || begun.load(SeqCst) == CALLS).await;
    server.drain.send(()).unwrap();
    for (n, call) in (0..).zip(calls) {
        assert_eq!(soon(call).await.unwrap().unwrap(), n);
    }
    soon(server.task).await.unwrap().unwrap();

    // What comes after is refused without having been begun.
    let late = clients[0].request("Work.Do").body(&0).timeout(Duration::from_millis(50));
    assert_eq!(late.send::<u32>().await.unwrap_err().processed(), Processed::No);
    assert_eq!(begun.load(SeqCst), CALLS);
}
