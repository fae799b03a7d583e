//! How finding endpoints goes wrong, and that no call suffers from it here: with whole clients, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use towpath::{
    BoxError, CallError, Client, ErrorKind, Register, Router, Server,
    discover::{BoxSource, Directory, DiscoverConfig, Instance, PushSource, Source, Sources, Update},
    registry::{Registry, RegistryConfig},
};

/// Long: only what is broken takes so long.
const LONG: Duration = Duration::from_secs(60);

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Who was called how often.
type Calls = Arc<Mutex<BTreeMap<&'static str, usize>>>;

async fn replica(
    name: &'static str,
    calls: &Calls,
    register: Option<Register>,
) -> (Instance, JoinHandle<()>) {
    let mut builder = Server::builder();
    if let Some(register) = register {
        builder = builder.register(register);
    }
    let server = builder.bind("127.0.0.1:0").await.unwrap();
    let instance = Instance::new(server.address().to_string());
    let calls = calls.clone();
    let router = Router::new().route("A.Who", move || {
        *calls.lock().unwrap().entry(name).or_default() += 1;
        async move { name }
    });
    (instance, tokio::spawn(async move { server.serve(router).await.unwrap() }))
}

async fn who(client: &Client) -> Result<String, CallError> {
    client.request("A.Who").raw("").send().await
}

/// Makes calls, four at a time, of which none fails.
async fn call(client: &Client, times: usize) {
    for _ in 0..times / 4 {
        let (a, b, c, d) = tokio::join!(who(client), who(client), who(client), who(client));
        for answer in [a, b, c, d] {
            answer.unwrap();
        }
    }
}

/// Whether each of these gets calls, and nobody else.
async fn all_of(client: &Client, calls: &Calls, names: &[&'static str]) -> bool {
    calls.lock().unwrap().clear();
    call(client, 80).await;
    calls.lock().unwrap().keys().eq(names)
}

/// A source that answers when it is let.
struct Gated {
    asked: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
    instance: Instance,
}

impl Source for Gated {
    fn about(&self) -> String {
        "gated".into()
    }

    async fn next(&mut self) -> Result<Option<Update>, BoxError> {
        self.asked.fetch_add(1, SeqCst);
        self.gate.acquire().await?.forget();
        Ok(Some(Update::Full(vec![self.instance.clone()])))
    }
}

// ---- 22: discovery awaited under a lock ---------------------------------------------------------------

/// Clients of their own, that share a directory; none waits for another but for the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p22_first_calls_of_64_clients_wait_for_one_slow_look_up() {
    let (instance, _serving) = replica("a", &Calls::default(), None).await;
    let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let sources = {
        let (asked, gate) = (asked.clone(), gate.clone());
        Sources::none().with("gated", move |_| {
            let (asked, gate, instance) = (asked.clone(), gate.clone(), instance.clone());
            Ok(BoxSource::new(Gated { asked, gate, instance }))
        })
    };
    let directory = Directory::builder().sources(sources).build();
    let came = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let (directory, came) = (directory.clone(), came.clone());
        callers.spawn(async move {
            let client =
                Client::builder().directory(directory).timeout(LONG).connect_lazy("gated:a").unwrap();
            came.fetch_add(1, SeqCst);
            who(&client).await.unwrap()
        });
    }
    // While it is being looked up, whoever has other business with the directory does not wait for it.
    until("all have come", async || came.load(SeqCst) == 64 && asked.load(SeqCst) > 0).await;
    let handle = directory.watch("gated:a").unwrap().handle();
    assert!(!handle.status().snapshot.is_settled());
    gate.add_permits(1);
    let answers = timeout(LONG, callers.join_all()).await.expect("one hangs");
    assert!(answers.iter().all(|answer| answer == "a"));
    assert!(asked.load(SeqCst) <= 2, "one look-up, and the wait for news: {asked:?}");
}

// ---- a sudden empty answer ----------------------------------------------------------------------------

#[tokio::test]
async fn a_sudden_empty_answer_costs_no_call_and_is_believed_in_the_end() {
    let (a, _serving) = replica("a", &Calls::default(), None).await;
    let (directory, (pusher, source)) = (Directory::new(), PushSource::new());
    let watch = directory.watch_source("who", source);
    let handle = watch.handle();
    let client = Client::builder().timeout(Duration::from_secs(5)).follow("who", watch).unwrap();
    pusher.set([a.clone()]);
    call(&client, 40).await;
    pusher.set([]);
    until("it is doubted", async || handle.status().doubted_until.is_some()).await;
    call(&client, 400).await;
    // As if nothing had been.
    pusher.set([a]);
    until("it is withdrawn", async || handle.status().doubted_until.is_none()).await;
    call(&client, 40).await;
    // Whoever means it has to mean it for a while.
    directory.config().set(DiscoverConfig::default().with_empty_hold(Duration::from_millis(50)).unwrap());
    pusher.set([]);
    let endpoints = client.endpoints().unwrap();
    until("it is believed", async || endpoints.counts().known == 0).await;
    let client_says = timeout(LONG, who(&client)).await.unwrap().unwrap_err();
    assert_eq!(client_says.error().unwrap().kind(), ErrorKind::NoEndpoint, "{client_says}");
}

// ---- 23: a stale set --------------------------------------------------------------------------------

/// Whoever is taken out gets no further call, and no further connection; whoever comes back is called again.
#[tokio::test]
async fn p23_who_is_taken_out_gets_no_call_and_who_comes_back_does() {
    let calls = Calls::default();
    let (a, _a) = replica("a", &calls, None).await;
    let (b, _b) = replica("b", &calls, None).await;
    let (pusher, source) = PushSource::new();
    let client = Client::builder().follow("who", Directory::new().watch_source("who", source)).unwrap();
    let endpoints = client.endpoints().unwrap();
    for _ in 0..5 {
        pusher.set([a.clone(), b.clone()]);
        until("both are called", async || all_of(&client, &calls, &["a", "b"]).await).await;
        pusher.set([b.clone()]);
        until("one is gone", async || endpoints.counts().known == 1).await;
        calls.lock().unwrap().clear();
        call(&client, 400).await;
        assert!(calls.lock().unwrap().keys().eq(&["b"]), "{calls:?}");
    }
}

// ---- 16: discovery fails, and is believed ---------------------------------------------------------------

/// The registry is killed under load, and another one, which knows nobody, takes its place: no call fails, nobody
/// is forgotten, and who comes then is found.
#[tokio::test]
async fn p16_a_registry_that_restarts_costs_no_call() {
    let config = || RegistryConfig::default().with_heartbeat(Duration::from_millis(300)).unwrap();
    let start = async |listener: TcpListener| {
        let server = Server::builder().listener(listener).unwrap();
        let registry = Registry::with(config(), ());
        let router = registry.router();
        (registry, tokio::spawn(async move { server.serve(router).await }))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (first, serving) = start(listener).await;
    let url = format!("registry://{at}/who");
    let register = || Some(Register::at(&url).unwrap());

    let calls = Calls::default();
    let (_, _a) = replica("a", &calls, register()).await;
    let (_, _b) = replica("b", &calls, register()).await;
    until("both are registered", async || first.list("who").len() == 2).await;
    let client = Client::connect(&url).await.unwrap();
    until("both are called", async || all_of(&client, &calls, &["a", "b"]).await).await;
    let endpoints = client.endpoints().unwrap();
    let mut before: Vec<_> = endpoints.endpoints().iter().map(|one| one.endpoint.id()).collect();

    // Its connections end with it.
    serving.abort();
    let _ = serving.await;
    call(&client, 400).await;
    assert_eq!(endpoints.counts().known, 2, "what is known stays");
    let listener = TcpListener::bind(at).await.unwrap();
    let (second, _serving) = start(listener).await;
    until("both are registered again", async || {
        call(&client, 8).await;
        assert_eq!(endpoints.counts().known, 2);
        second.list("who").len() == 2
    })
    .await;
    let (_, _c) = replica("c", &calls, register()).await;
    until("the third is called too", async || all_of(&client, &calls, &["a", "b", "c"]).await).await;
    let after: Vec<_> = endpoints.endpoints().iter().map(|one| one.endpoint.id()).collect();
    before.retain(|id| !after.contains(id));
    assert!(before.is_empty(), "they are the same ones, with their connections");
}
