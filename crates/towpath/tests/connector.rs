//! Connections that a client makes in a way of its user's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use towpath::{
    Client, ClientState, Connection, Error, ErrorKind, Raw, Router, ServerConfig,
    transport::{Drain, ServerConnection},
};
use towpath_testing::MemoryIo;

/// A client whose connections are in memory and are served by `router`; each is made after `delay`.
fn in_memory(router: Router, delay: Duration) -> Client {
    Client::builder()
        .connector(move |address, config| {
            let router = router.clone();
            async move {
                sleep(delay).await;
                let (near, far) = MemoryIo::pair("in memory", 64 * 1024);
                let (connection, driver) = Connection::new(near, address.to_string(), &config).unwrap();
                tokio::spawn(driver);
                let watch = Drain::new().watch();
                tokio::spawn(ServerConnection::new(far, router, &ServerConfig::default(), watch));
                Ok(connection)
            }
        })
        .connect_lazy("mcp://in-memory:1")
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn calls_go_over_it() {
    let client = in_memory(Router::new().route("Echo.Echo", async |raw: Raw| raw), Duration::ZERO);
    let echo: String = client.request("Echo.Echo").raw("hello").send().await.unwrap();
    assert_eq!(echo, "hello");
}

#[tokio::test(start_paused = true)]
async fn calls_that_waited_for_it_go_in_the_order_in_which_they_came() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let seen = seen.clone();
        move |body: bytes::Bytes| {
            seen.lock().unwrap().push(str::from_utf8(&body).unwrap().parse::<u32>().unwrap());
            async {}
        }
    };
    let client = in_memory(Router::new().route("Order.Note", handler), Duration::from_secs(1));
    let calls: Vec<_> = (0..64)
        .map(|n| tokio::spawn(client.request("Order.Note").raw(n.to_string()).send::<bytes::Bytes>()))
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), (0..64).collect::<Vec<_>>());
}

/// A peer that closes what nobody uses is not to be called again and again for nothing.
#[tokio::test(start_paused = true)]
async fn a_connection_that_was_closed_idle_is_made_again_by_the_next_call() {
    let made = Arc::new(Mutex::new(0));
    let count = made.clone();
    let client = Client::builder()
        .connector(move |address, config| {
            *count.lock().unwrap() += 1;
            let (near, far) = MemoryIo::pair("in memory", 64 * 1024);
            let (connection, driver) = Connection::new(near, address.to_string(), &config).unwrap();
            tokio::spawn(driver);
            let router = Router::new().route("Echo.Echo", async |raw: Raw| raw);
            let config =
                ServerConfig { idle_timeout: Some(Duration::from_secs(2)), ..ServerConfig::default() };
            tokio::spawn(ServerConnection::new(far, router, &config, Drain::new().watch()));
            async { Ok(connection) }
        })
        .connect_lazy("mcp://in-memory:1")
        .unwrap();
    for connections in 1..=3 {
        let echo: String = client.request("Echo.Echo").raw("hello").send().await.unwrap();
        assert_eq!((&*echo, *made.lock().unwrap()), ("hello", connections));
        sleep(Duration::from_secs(600)).await;
        assert!(matches!(client.state(), ClientState::Idle), "{:?}", client.state());
        assert_eq!(*made.lock().unwrap(), connections);
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_within_the_connect_timeout() {
    let client =
        Client::builder().connector(|_, _| std::future::pending()).connect_timeout(Duration::from_secs(2));
    let start = Instant::now();
    let error = client.connect("mcp://nowhere:1").await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
    assert!(error.to_string().contains("mcp://nowhere:1: no answer within 2000 ms"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn whatever_it_fails_with_is_a_failure_to_connect() {
    let fail = |kind| {
        Client::builder()
            .connector(move |_, _| async move { Err(Error::new(kind).because("the proxy said no")) })
            .connect("mcp://behind-a-proxy:1")
    };
    // Of another kind it would leave those who wait for one connect waiting for ever.
    let error = fail(ErrorKind::Unauthenticated).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("the proxy said no"));
    let error = fail(ErrorKind::ConnectFailed).await.unwrap_err();
    assert_eq!((error.kind(), error.detail()), (ErrorKind::ConnectFailed, "the proxy said no"));
}
