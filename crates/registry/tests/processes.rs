//! A registry in a process of its own, which is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Follower, ms};
use std::{
    env,
    future::Future,
    io::{BufRead, BufReader},
    pin::Pin,
    process::{Child, Command, Stdio},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tower_service::Service;
use towpath_core::{BoxError, Request, Response};
use towpath_discover::{Directory, Instance, Sources};
use towpath_registry::{Registration, Registry, RegistryClient, RegistryConfig, registry_source};
use towpath_transport::{Address, ClientConfig, Connection, Server, ServerConfig};

const PORT: &str = "TOWPATH_REGISTRY_TEST_PORT";

/// Connects for each call: as plain as can be.
#[derive(Clone)]
struct Dial(Address);

impl Service<Request> for Dial {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let address = self.0.clone();
        Box::pin(async move {
            let mut connection = Connection::connect(&address, &ClientConfig::default()).await?;
            std::future::poll_fn(|cx| connection.poll_ready(cx)).await?;
            Ok(connection.call(request).await?)
        })
    }
}

/// The other process: this test program once more. Killed with the test that needs it.
struct Other {
    child: Child,
    port: u16,
}

impl Other {
    fn start(port: u16) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "the_other_process", "--nocapture", "--quiet"])
            .env(PORT, port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| line.unwrap().split_once("listening on ")?.1.parse().ok()).unwrap();
        Other { child, port }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.kill();
    }
}

/// No test of its own: what the other process does.
#[tokio::test]
async fn the_other_process() {
    let Ok(port) = env::var(PORT) else { return };
    let config = RegistryConfig::default().with_heartbeat(ms(1_000)).unwrap();
    let server = Server::bind(format!("127.0.0.1:{port}"), ServerConfig::default()).await.unwrap();
    println!("listening on {}", server.local_addr().unwrap().port());
    server.serve(Registry::with(config, ()).router()).await.unwrap();
}

async fn until(follower: &mut Follower, wanted: &[&str]) {
    let wait = async {
        while follower.now() != wanted {
            sleep(ms(5)).await;
        }
    };
    timeout(Duration::from_secs(60), wait)
        .await
        .unwrap_or_else(|_| panic!("never {wanted:?}: {:?}", follower.now()));
}

#[tokio::test]
async fn between_processes_and_through_a_kill() {
    let mut other = Other::start(0);
    let address = Address::new("127.0.0.1", other.port);
    let client = || RegistryClient::new(Dial(address.clone()));
    let one = Registration::start(client(), "orders", Instance::new("mcp://a:1")).unwrap();
    let _two = Registration::start(client(), "orders", Instance::new("mcp://b:1").with_zone("z")).unwrap();
    one.registered().await.unwrap();

    let sources = Sources::new().with("registry", registry_source(|at| at.parse().map(Dial)));
    let directory = Directory::builder().sources(sources).build();
    let mut follower =
        Follower::new(directory.watch(format!("registry://127.0.0.1:{}/orders", other.port)).unwrap());
    until(&mut follower, &["mcp://a:1", "mcp://b:1"]).await;
    let id = follower.at("mcp://b:1").id();
    let services = client().services(ms(60_000)).await.unwrap();
    assert_eq!((services.len(), services[0].instances), (1, 2));

    other.kill();
    let handle = follower.watch.handle();
    let failed = async {
        while handle.status().error.is_none() {
            sleep(ms(5)).await;
        }
    };
    timeout(Duration::from_secs(60), failed).await.unwrap();
    assert_eq!(follower.now().len(), 2, "what is known stays");

    other = Other::start(other.port);
    // A third one is heard of; so the new one is followed, and the old ones are the same.
    let third = Registration::start(client(), "orders", Instance::new("mcp://c:1")).unwrap();
    until(&mut follower, &["mcp://a:1", "mcp://b:1", "mcp://c:1"]).await;
    assert_eq!((follower.at("mcp://b:1").id(), follower.fewest), (id, 2));
    // Who takes its leave of a registry that does not know it yet is missed only when that one is complete.
    let all_back = async {
        while client().services(ms(60_000)).await.unwrap()[0].instances < 3 {
            sleep(ms(5)).await;
        }
    };
    timeout(Duration::from_secs(60), all_back).await.unwrap();
    third.deregister().await.unwrap();
    one.deregister().await.unwrap();
    until(&mut follower, &["mcp://b:1"]).await;
    drop(other);
}
