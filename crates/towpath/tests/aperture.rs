//! Clients that each know a slice of the servers, over real sockets: what it saves are connections.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use towpath::{
    Client, Router, Server,
    balance::{Aperture, ApertureConfig, ApertureOptions, PowerOfTwo},
    pool::{PoolConfig, PoolOptions},
};
use towpath_core::Live;

const SERVERS: usize = 20;
const CLIENTS: u32 = 4;
const LEAST: u32 = 5;

/// A server, and in front of it who counts its connections.
struct Counted {
    address: String,
    /// Those that there were, and those that there are.
    made: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
    front: JoinHandle<()>,
}

impl Counted {
    async fn start() -> Self {
        let (made, open, calls) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
        let to = server.address().to_string().trim_start_matches("mcp://").to_owned();
        let counts = calls.clone();
        let router = Router::new().route("A.Count", move || {
            counts.fetch_add(1, SeqCst);
            async { "" }
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = server.serve(router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        tokio::spawn(serving.into_future());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (all, now) = (made.clone(), open.clone());
        let front = tokio::spawn(async move {
            // They end with it.
            let mut passing = tokio::task::JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                all.fetch_add(1, SeqCst);
                now.fetch_add(1, SeqCst);
                let (to, now) = (to.clone(), now.clone());
                passing.spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                    now.fetch_sub(1, SeqCst);
                });
            }
        });
        Counted { address, made, open, calls, _stop: stop, front }
    }
}

fn sum(servers: &[Counted], of: impl Fn(&Counted) -> &AtomicUsize) -> usize {
    servers.iter().map(|server| of(server).load(SeqCst)).sum()
}

fn slice(client: u32) -> ApertureConfig {
    let options = ApertureOptions { clients: Some(CLIENTS), client, least: LEAST };
    ApertureConfig::try_new(options).unwrap()
}

async fn calls(client: &Client, calls: usize) {
    for _ in 0..calls {
        client.request("A.Count").raw("").send::<String>().await.unwrap();
    }
}

/// Waits for what will be so before long, however slow the machine is, while the clients go on making calls, of which none
/// fails.
async fn until(clients: &[Client], what: &str, is_so: impl Fn() -> bool) {
    let done = async {
        while !is_so() {
            for client in clients {
                calls(client, 1).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(Duration::from_secs(60), done).await.is_ok(), "{what}");
}

#[tokio::test]
async fn each_client_connects_with_its_slice_only() {
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(Counted::start().await);
    }
    let url = servers.iter().map(|server| server.address.as_str()).collect::<Vec<_>>().join(",");
    let url = format!("mcp://{url}");
    let idle = Some(Duration::from_millis(50));
    let pool = PoolConfig::try_new(PoolOptions { idle_timeout: idle, ..PoolOptions::default() }).unwrap();
    let (mut clients, mut slices) = (Vec::new(), Vec::new());
    for number in 0..CLIENTS {
        let slice = Live::new(slice(number));
        let aperture = Aperture::new(slice.clone(), PowerOfTwo::new());
        let builder = Client::builder().pick_by(aperture).pool(pool.clone());
        clients.push(builder.connect(&url).await.unwrap());
        slices.push(slice);
    }
    let all = (CLIENTS * LEAST) as usize;
    until(&clients, "all are connected", || sum(&servers, |server| &server.open) >= all).await;
    for client in &clients {
        calls(client, 200).await;
    }
    assert_eq!(sum(&servers, |server| &server.made), all, "N * a, and not N * M");
    assert!(servers.iter().all(|server| server.made.load(SeqCst) == 1), "each server has one of them");
    assert!(servers.iter().all(|server| server.calls.load(SeqCst) > 0));
    for client in &clients {
        assert_eq!(client.endpoints().unwrap().counts().ready, LEAST);
    }

    // All clients move on by one place. (To each slice a client goes whose calls are made all the time.)
    for (number, slice) in slices.iter().enumerate() {
        slice.set(self::slice((number as u32 + 1) % CLIENTS));
    }
    let is_over = || {
        let open = |server: &Counted| server.open.load(SeqCst) == 1;
        sum(&servers, |server| &server.made) == 2 * all && servers.iter().all(open)
    };
    until(&clients, "connections that are not used any more are closed", is_over).await;

    // One is lost for good: each client of it connects with another one.
    let lost = servers.remove(3);
    lost.front.abort();
    let made = sum(&servers, |server| &server.made);
    until(&[], "another one stands in", || sum(&servers, |server| &server.made) == made + 1).await;
    for client in &clients {
        calls(client, 20).await;
    }
    assert_eq!(sum(&servers, |server| &server.open), SERVERS);
}
