//! A client of many endpoints, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout},
};
use towpath::{
    CallError, Client, ClientPolicies, ClientState, Error, ErrorKind, Register, Router, Server,
    balance::RoundRobin,
    discover::{Directory, Instance, PushSource},
    registry::Registry,
};

struct Replica {
    address: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Replica {
    async fn start(name: &'static str, register: Option<Register>) -> Self {
        let mut builder = Server::builder();
        if let Some(register) = register {
            builder = builder.register(register);
        }
        let server = builder.bind("127.0.0.1:0").await.unwrap();
        let address = server.address().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().route("A.Who", move || async move { name });
        let serving = server.serve(router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        Replica { address, stop, serving: tokio::spawn(serving.into_future()) }
    }

    fn instance(&self) -> Instance {
        Instance::new(self.address.clone())
    }

    async fn stop(self) {
        drop(self.stop);
        self.serving.await.unwrap().unwrap();
    }
}

async fn who(client: &Client) -> Result<String, CallError> {
    client.request("A.Who").raw("").idempotent().send().await
}

/// Who answers how many of so many calls, made four at a time: two callers of one call each might keep out of each
/// other's way for good.
async fn answers(client: &Client, calls: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..calls / 4 {
        let (a, b, c, d) = tokio::join!(who(client), who(client), who(client), who(client));
        for name in [a, b, c, d] {
            *answers.entry(name.unwrap()).or_default() += 1;
        }
    }
    answers
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.map(|(name, count)| (name.to_owned(), count)).into()
}

/// Calls until the answers are as expected.
async fn until(client: &Client, as_expected: impl Fn(&BTreeMap<String, usize>) -> bool) {
    let done = async {
        while !as_expected(&answers(client, 40).await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(Duration::from_secs(20), done).await.is_err() {
        panic!("{:#?} {:?}", client.endpoints().unwrap().endpoints(), answers(client, 40).await);
    }
}

fn has<const N: usize>(names: [&'static str; N]) -> impl Fn(&BTreeMap<String, usize>) -> bool {
    move |answers| answers.keys().map(String::as_str).eq(names)
}

#[tokio::test]
async fn a_list_is_shared_out() {
    let (a, b) = (Replica::start("a", None).await, Replica::start("b", None).await);
    let url = format!("{},{}", a.address, b.address.trim_start_matches("mcp://"));
    let client = Client::builder().pick_by(RoundRobin::new()).connect(&url).await.unwrap();
    // The first one that is connected is enough to begin with.
    until(&client, |answers| *answers == counts([("a", 20), ("b", 20)])).await;
    let endpoints = client.endpoints().unwrap();
    assert_eq!((endpoints.counts().known, endpoints.counts().ready), (2, 2));
    assert!(endpoints.endpoints().iter().all(|one| one.picks >= 20 && one.in_flight == 0));
    assert!(client.pool().is_none() && matches!(client.state(), ClientState::Connected));
    a.stop().await;
    until(&client, |answers| *answers == counts([("b", 40)])).await;
    client.close();
    let CallError::Failed(refused) = who(&client).await.unwrap_err() else { panic!() };
    assert_eq!(refused.kind(), ErrorKind::Draining, "{refused}");
    // Nobody holds up its drain.
    timeout(Duration::from_secs(10), b.stop()).await.unwrap();
}

/// A way to a replica that passes nothing on from the first message on, and ends with the second.
async fn brittle(to: &Replica) -> (String, oneshot::Sender<()>, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", listener.local_addr().unwrap());
    let to = to.address.trim_start_matches("mcp://").to_owned();
    let ((freeze, frozen), (cut, is_cut)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(to).await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            _ = frozen => {}
        }
        let _ = is_cut.await;
    });
    (url, freeze, cut)
}

async fn all_ready(client: &Client, number: u32) {
    let ready = async {
        while client.endpoints().unwrap().counts().ready < number {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), ready).await.unwrap();
}

#[tokio::test]
async fn a_ping_asks_all_who_take_calls() {
    let (a, b) = (Replica::start("a", None).await, Replica::start("b", None).await);
    let (brittle, freeze, cut) = brittle(&b).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = brittle.trim_start_matches("mcp://").to_owned();
    let client = Client::connect_lazy(format!("{},{address},{gone}", a.address)).unwrap();
    // It waits for the first; who takes no calls is not asked.
    assert!(timeout(Duration::from_secs(10), client.ping()).await.unwrap().unwrap() > Duration::ZERO);
    all_ready(&client, 2).await;
    client.ping().await.unwrap();

    freeze.send(()).unwrap();
    let mut ping = tokio::spawn({
        let client = client.clone();
        async move { client.ping().await }
    });
    assert!(timeout(Duration::from_millis(200), &mut ping).await.is_err(), "the slowest counts");
    drop(cut);
    let failed = timeout(Duration::from_secs(10), ping).await.unwrap().unwrap().unwrap_err();
    let said = failed.to_string();
    assert_eq!(failed.kind(), ErrorKind::ConnectionLost, "{said}");
    assert!(said.contains("1 of 2 endpoints did not answer") && said.contains(&brittle), "{said}");
}

/// Handles are to look, not to hold: with the last clone of the client its connections end.
#[tokio::test]
async fn who_looks_on_keeps_no_connection() {
    let (a, b) = (Replica::start("a", None).await, Replica::start("b", None).await);
    let url = format!("{},{}", a.address, b.address.trim_start_matches("mcp://"));
    let client = Client::connect(url).await.unwrap();
    all_ready(&client, 2).await;
    client.ping().await.unwrap();
    let (endpoints, around) = (client.endpoints().unwrap(), client.endpoint_handles());
    let open = || around.iter().map(|one| one.pool.stats().open).sum::<u32>();
    assert_eq!((around.len(), open()), (2, 2));
    drop(client);
    let closed = async {
        while open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), closed).await.unwrap();
    assert_eq!(endpoints.counts().known, 0);
}

#[tokio::test]
async fn the_state_says_since_when_nobody_takes_calls() {
    let a = Replica::start("a", None).await;
    let made = Instant::now();
    let twice = format!("{},{}", a.address, a.address.trim_start_matches("mcp://"));
    let client = Client::connect_lazy(twice).unwrap();
    let ClientState::Connecting { since, last_error: None } = client.state() else {
        panic!("{:?}", client.state())
    };
    assert!(since >= made && since <= Instant::now());
    client.ready().await.unwrap();
    assert!(matches!(client.state(), ClientState::Connected));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let stopped = Instant::now();
    a.stop().await;
    let lost = async {
        loop {
            if let ClientState::Connecting { since, last_error: Some(_) } = client.state() {
                break since;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let since = timeout(Duration::from_secs(10), lost).await.unwrap();
    assert!(since >= stopped, "it was connected until then");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let ClientState::Connecting { since: later, .. } = client.state() else { panic!("{:?}", client.state()) };
    assert_eq!(since, later, "and has not been since");
}

#[tokio::test]
async fn replicas_come_and_go_in_a_registry_and_no_call_fails() {
    let registry = Registry::new();
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("registry://{}/who", server.local_addr());
    tokio::spawn(server.serve(registry.router()).into_future());
    let register = || Some(Register::at(&url).unwrap());

    let a = Replica::start("a", register()).await;
    let client =
        Client::builder().idempotent("A.*").policies(ClientPolicies::default()).connect(&url).await.unwrap();
    let stop = Arc::new(Mutex::new(false));
    let caller = tokio::spawn({
        let (client, stop) = (client.clone(), stop.clone());
        async move {
            let mut calls = 0;
            while !*stop.lock().unwrap() {
                who(&client).await.unwrap();
                calls += 1;
            }
            calls
        }
    });
    until(&client, has(["a"])).await;
    let b = Replica::start("b", register()).await;
    until(&client, has(["a", "b"])).await;
    a.stop().await;
    until(&client, has(["b"])).await;
    let c = Replica::start("c", register()).await;
    b.stop().await;
    until(&client, has(["c"])).await;
    *stop.lock().unwrap() = true;
    assert!(caller.await.unwrap() > 10);
    c.stop().await;
}

#[tokio::test]
async fn an_own_source_is_followed() {
    let (a, b) = (Replica::start("a", None).await, Replica::start("b", None).await);
    let (pusher, source) = PushSource::new();
    let watch = Directory::new().watch_source("who", source);
    let client = Client::builder().follow("who", watch).unwrap();
    pusher.set([a.instance()]);
    until(&client, has(["a"])).await;
    pusher.set([a.instance(), b.instance()]);
    until(&client, has(["a", "b"])).await;
    pusher.set([b.instance()]);
    until(&client, has(["b"])).await;
    // What stood around the one that left is kept no longer.
    let handles = || client.endpoint_handles().into_iter().map(|one| one.endpoint.address().to_string());
    until(&client, |_| handles().eq([b.address.clone()])).await;
}

/// Accepts and says nothing; how many connections are open.
async fn silent() -> (Instance, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let instance = Instance::new(format!("mcp://{}", listener.local_addr().unwrap()));
    let open = Arc::new(AtomicUsize::new(0));
    let counted = open.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, SeqCst);
            let counted = counted.clone();
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                counted.fetch_sub(1, SeqCst);
            });
        }
    });
    (instance, open)
}

/// An endpoint that joins while its client is dropped has no connection that stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_while_the_client_goes_is_let_go() {
    let ((a, open_at_a), (b, open_at_b)) = (silent().await, silent().await);
    for round in 0..60 {
        let (pusher, source) = PushSource::new();
        let client = Client::builder().follow("who", Directory::new().watch_source("who", source)).unwrap();
        pusher.set([a.clone()]);
        // Before the connection that it has dies of the silence, and is told of.
        timeout(Duration::from_secs(8), client.ready())
            .await
            .expect("it does not see that it is ready")
            .unwrap();
        pusher.set([a.clone(), b.clone()]);
        // From before it is heard of to when it is connected with.
        let mut looks = 0;
        while looks < round || (round == 59 && open_at_b.load(SeqCst) == 0) {
            tokio::task::yield_now().await;
            looks += 1;
        }
        drop(client);
    }
    let begin = Instant::now();
    while open_at_a.load(SeqCst) + open_at_b.load(SeqCst) > 0 {
        assert!(
            begin.elapsed() < Duration::from_secs(8),
            "connections of clients that are gone: {open_at_a:?} {open_at_b:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A watch waits for long; who asks does not wait as long to hear that nobody is there.
#[tokio::test]
async fn a_registry_that_is_not_there_is_said() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = Client::connect(format!("registry://{gone}/orders")).await.unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("no endpoints are known") && said.contains("connection refused"), "{said}");
}

/// A registry that answers, and knows nobody of that name.
#[tokio::test]
async fn a_name_that_nobody_has_is_said() {
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("registry://{}/orders", server.local_addr());
    tokio::spawn(server.serve(Registry::new().router()).into_future());
    let client = Client::builder().connect_timeout(Duration::from_millis(300));
    let said = client.connect(url).await.unwrap_err().to_string();
    assert!(said.contains("service orders: there are no endpoints there"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn who_is_not_found_is_said() {
    // Of a listener that is gone.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = Client::connect(format!("mcp://{gone},{gone}")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoEndpoint, "{refused}");
    let said = refused.to_string();
    assert!(said.contains("1 endpoint: 0 ready, 1 connecting") && said.contains(&gone.to_string()), "{said}");

    let refused = Client::connect("file:/nowhere/at/all.toml").await.unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("no endpoints are known") && said.contains("No such file"), "{said}");

    let client = Client::connect_lazy("file:/nowhere/at/all.toml").unwrap();
    let CallError::Failed(refused) = who(&client).await.unwrap_err() else { panic!() };
    assert_eq!(refused.kind(), ErrorKind::NoEndpoint, "{refused}");
    let said = refused.to_string();
    assert!(said.contains("/nowhere/at/all.toml") && said.contains("No such file"), "{said}");
    let refused: Error = client.ping().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoEndpoint, "{refused}");
}
