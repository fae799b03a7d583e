//! Pickers under a client, over real sockets: what a picker is told, it is told through the facade too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use towpath::{
    Client, Router, Server,
    balance::{
        AffinityToken, ConsistentHash, HashConfig, Labels, Pinned, PowerOfTwo, Priorities, PriorityConfig,
        Route, Routes, RoutesConfig, RoutesOptions, Target,
    },
    discover::{Directory, Instance, PushSource, Pusher, Watch},
};
use towpath_core::Live;

struct Replica {
    name: &'static str,
    address: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Replica {
    async fn start(name: &'static str) -> Self {
        let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
        let address = server.address().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().route("A.Who", move || async move { name });
        let serving = server.serve(router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        Replica { name, address, stop, serving: tokio::spawn(serving.into_future()) }
    }

    fn instance(&self) -> Instance {
        Instance::new(self.address.clone()).with_label("name", self.name)
    }

    async fn stop(self) {
        drop(self.stop);
        self.serving.await.unwrap().unwrap();
    }
}

async fn replicas<const COUNT: usize>(names: [&'static str; COUNT]) -> Vec<Replica> {
    let mut replicas = Vec::new();
    for name in names {
        replicas.push(Replica::start(name).await);
    }
    replicas
}

fn fleet(instances: impl IntoIterator<Item = Instance>) -> (Watch, Pusher) {
    let (pusher, source) = PushSource::new();
    pusher.set(instances);
    (Directory::new().watch_source("fleet", source), pusher)
}

/// When so many are there.
async fn connected(client: &Client, count: usize) {
    client.ready().await.unwrap();
    let ready = || client.endpoints().unwrap().counts().ready as usize == count;
    let wait = async {
        while !ready() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(30), wait).await.unwrap();
}

async fn with_key(client: &Client, key: impl Into<bytes::Bytes>) -> String {
    client.request("A.Who").affinity(key).raw("").idempotent().send().await.unwrap()
}

async fn answers(client: &Client, calls: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..calls {
        let name: String = client.request("A.Who").raw("").idempotent().send().await.unwrap();
        *answers.entry(name).or_default() += 1;
    }
    answers
}

#[tokio::test]
async fn a_key_has_its_endpoint_and_a_token_keeps_a_session_there() {
    let replicas = replicas(["a", "b", "c"]).await;
    let (fleet, _pusher) = fleet(replicas.iter().map(Replica::instance));
    let picker = || Pinned::or(ConsistentHash::new(HashConfig::default()));
    let client = || Client::builder().pick_by(picker()).follow("fleet", fleet.clone()).unwrap();
    let (client, another) = (client(), client());
    connected(&client, 3).await;
    connected(&another, 3).await;
    let mut homes = BTreeMap::new();
    for number in 0..60 {
        let key = format!("user-{number}");
        let home = with_key(&client, key.clone()).await;
        assert_eq!(with_key(&another, key.clone()).await, home, "both clients agree");
        *homes.entry(home).or_insert(0) += 1;
    }
    assert_eq!(homes.len(), 3, "{homes:?}");
    for view in client.endpoints().unwrap().endpoints() {
        let token = AffinityToken::new(&view.endpoint, b"user-1");
        assert_eq!(with_key(&client, token).await, view.endpoint.label("name").unwrap());
    }
}

#[tokio::test]
async fn a_canary_grows_while_the_client_calls() {
    let replicas = replicas(["new", "old"]).await;
    let (fleet, _pusher) = fleet(replicas.iter().map(Replica::instance));
    let routes = |share| {
        let target = |name, weight| Target::new(Labels::from([("name", name)]), weight);
        let to = vec![target("new", share), target("old", 100 - share)];
        let routes = vec![Route { to, ..Route::default() }];
        RoutesConfig::try_new(RoutesOptions { routes, ..RoutesOptions::default() }).unwrap()
    };
    let share = Live::new(routes(5));
    let picker = Routes::new(share.clone(), PowerOfTwo::new());
    let client = Client::builder().pick_by(picker).follow("fleet", fleet).unwrap();
    connected(&client, 2).await;
    for asked in [5, 50, 100] {
        share.set(routes(asked));
        // The first call has the tables computed anew.
        let went = answers(&client, 1_000).await;
        let new = went.get("new").copied().unwrap_or(0);
        assert!(new.abs_diff(10 * asked as usize) <= 10, "{went:?} for {asked} %");
    }
}

#[tokio::test]
async fn the_next_priority_has_calls_once_the_first_is_lost() {
    let mut replicas = replicas(["first", "second"]).await;
    let instances: Vec<_> = replicas.iter().map(Replica::instance).collect();
    let (fleet, _pusher) = fleet([instances[0].clone(), instances[1].clone().with_priority(1)]);
    let picker = Priorities::new(PriorityConfig::default(), PowerOfTwo::new());
    let client = Client::builder().pick_by(picker).follow("fleet", fleet).unwrap();
    connected(&client, 2).await;
    assert_eq!(answers(&client, 100).await, BTreeMap::from([("first".into(), 100)]));
    replicas.remove(0).stop().await;
    assert_eq!(answers(&client, 100).await.get("second"), Some(&100));
}
