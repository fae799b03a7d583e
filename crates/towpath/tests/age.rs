//! Connections that reach their age, and servers that drain, under load: no call is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use towpath::{Backoff, Client, ClientState, Jitter, Server, ServerConfig};

/// As many callers as there are, without a pause, until they are told to stop: how many calls were answered.
async fn load(client: &Client, callers: usize, whole: impl Future<Output = ()>) -> usize {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let (client, stop, done) = (client.clone(), stop.clone(), done.clone());
        tasks.push(tokio::spawn(async move {
            for round in 0.. {
                if stop.load(Relaxed) {
                    return;
                }
                // Some are slow, so that there is always one that was begun before the connection is left.
                if (caller + round) % 16 == 0 {
                    let ms: u64 = client.call("Debug.Sleep", &Nap { ms: 20 }).await.unwrap();
                    assert_eq!(ms, 20);
                } else {
                    let said = format!("{caller} {round}");
                    let heard: String = client.request("Echo.Echo").raw(said.clone()).send().await.unwrap();
                    assert_eq!(heard, said);
                }
                done.fetch_add(1, Relaxed);
            }
        }));
    }
    whole.await;
    stop.store(true, Relaxed);
    for task in tasks {
        soon(task).await.unwrap();
    }
    done.load(Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continuous_load_over_several_ages_fails_no_call() {
    let config = ServerConfig { max_connection_age: Some(Duration::from_millis(200)), ..Default::default() };
    let opened = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().config(config).listener(listener).unwrap();
    let serving = tokio::spawn(server.serve(router()).into_future());
    // Connections that live so short make the waits between them grow; not beyond this.
    let backoff =
        Backoff::try_new(Duration::from_millis(10), Duration::from_millis(50), 2.0, Jitter::Full).unwrap();
    let client = Client::builder().reconnect(backoff).connect(format!("mcp://{address}")).await.unwrap();
    let watched = {
        let (client, opened) = (client.clone(), opened.clone());
        async move {
            let (until, mut connected) = (Instant::now() + Duration::from_secs(20), true);
            // Until it was seen without a connection often enough, and has one again.
            while opened.load(Relaxed) < 8 && Instant::now() < until {
                let now = matches!(client.state(), ClientState::Connected);
                if now && !connected {
                    opened.fetch_add(1, Relaxed);
                }
                connected = now;
                sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let done = load(&client, 32, watched).await;
    assert!(opened.load(Relaxed) >= 8, "{opened:?} new connections");
    assert!(done > 1000, "{done} calls");
    serving.abort();
}
