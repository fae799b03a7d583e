//! One process replaces another under load: no connection is refused, no call fails.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]
// Other processes have no clock to pause.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{task::JoinSet, time::timeout};
use towpath::{Client, transport::Connector};

/// How often the process is replaced.
const TIMES: usize = 5;

/// `towpath serve`, killed when dropped.
struct Server(Child, String);

impl Server {
    fn start(listen: &str, offer: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_towpath"))
            .args(["serve", "--listen", listen, "--handover", offer.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on ").expect("the first line").trim_end().to_owned();
        Server(child, address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Default)]
struct Count {
    stop: AtomicBool,
    connects: AtomicUsize,
    calls: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

impl Count {
    fn fail(&self, what: &str, why: impl std::fmt::Display) {
        self.failed.lock().unwrap().push(format!("{what}: {why}"));
    }
}

/// A new connection for every call.
async fn connecting(url: String, count: Arc<Count>) {
    let address = url.parse().unwrap();
    while !count.stop.load(Relaxed) {
        // The bare transport: nothing tries again.
        match Connector::default().connect(&address).await {
            Ok(_) => drop(count.connects.fetch_add(1, Relaxed)),
            Err(error) => count.fail("connect", error),
        }
        match Client::connect(&url).await {
            Ok(client) => {
                count.connects.fetch_add(1, Relaxed);
                match client.call::<u32>("Echo.Echo", &7).await {
                    Ok(_) => drop(count.calls.fetch_add(1, Relaxed)),
                    Err(error) => count.fail("first call", error),
                }
            }
            Err(error) => count.fail("connect", error),
        }
    }
}

/// One client all the time, with calls that take a while.
async fn calling(url: String, count: Arc<Count>, nap: u64) {
    let client = Client::connect(&url).await.unwrap();
    while !count.stop.load(Relaxed) {
        let body = serde_json::json!({"ms": nap});
        match client.call::<serde_json::Value>("Debug.Sleep", &body).await {
            Ok(_) => drop(count.calls.fetch_add(1, Relaxed)),
            Err(error) => count.fail("call", error),
        }
    }
}

async fn replace_under_load(listen: &str, url: impl Fn(&str) -> String) {
    let folder = tempfile::tempdir().unwrap();
    let offer = folder.path().join("offer");
    let mut server = Server::start(listen, &offer);
    let (listen, url) = (server.1.clone(), url(&server.1));
    let count = Arc::new(Count::default());
    let mut load = JoinSet::new();
    for n in 0..4 {
        load.spawn(connecting(url.clone(), count.clone()));
        load.spawn(calling(url.clone(), count.clone(), n * 10));
    }
    for _ in 0..TIMES {
        let before = count.connects.load(Relaxed);
        while count.connects.load(Relaxed) < before + 50 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(count.failed.lock().unwrap().is_empty(), "{:?}", count.failed);
        }
        let (place, path) = (listen.clone(), offer.clone());
        let next = tokio::task::spawn_blocking(move || Server::start(&place, &path)).await.unwrap();
        let mut old = std::mem::replace(&mut server, next);
        let ended = tokio::task::spawn_blocking(move || old.0.wait().unwrap());
        let code = timeout(Duration::from_secs(60), ended).await.expect("the old one ends").unwrap().code();
        assert_eq!(code, Some(0));
    }
    count.stop.store(true, Relaxed);
    while load.join_next().await.is_some() {}
    let failed = count.failed.lock().unwrap();
    assert!(failed.is_empty(), "{} failed, such as {:?}", failed.len(), &failed[..failed.len().min(5)]);
    let (connects, calls) = (count.connects.load(Relaxed), count.calls.load(Relaxed));
    println!("{TIMES} handovers: {connects} connections and {calls} calls, none refused, none failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_server_is_replaced_under_load() {
    timeout(Duration::from_secs(150), replace_under_load("127.0.0.1:0", |at| format!("mcp://{at}")))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_server_is_replaced_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("mcp+unix:{}", folder.path().join("s.sock").display());
    timeout(Duration::from_secs(150), replace_under_load(&url, ToOwned::to_owned)).await.unwrap();
}
