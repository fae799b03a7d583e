//! Readiness follows the server.

#![allow(clippy::unwrap_used)]

use std::time::Duration;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};
use towpath::{
    Client, Router, Server,
    health::{Readiness, ReadyState},
};

fn router() -> Router {
    Router::new().route("A.B", async || "there")
}

async fn until(readiness: &Readiness, state: ReadyState) {
    while readiness.state() != state {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn it_is_ready_while_it_serves_and_serves_on_for_a_while_when_it_is_not() {
    let readiness = Readiness::starting();
    let delay = Duration::from_millis(300);
    let builder = Server::builder().readiness(readiness.clone()).drain_delay(delay);
    let server = builder.bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    assert_eq!(readiness.state(), ReadyState::NotReady, "it does not serve yet");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = server.serve(router()).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving.into_future());
    until(&readiness, ReadyState::Ready).await;

    let told = Instant::now();
    drop(stop);
    until(&readiness, ReadyState::Draining).await;
    // A client that has not heard of it yet is still served.
    let client = Client::connect(&address).await.unwrap();
    let answer: String = client.request("A.B").raw("").send().await.unwrap();
    assert_eq!(answer, "there");
    serving.await.unwrap().unwrap();
    assert!(told.elapsed() >= delay, "{:?}", told.elapsed());
}

#[tokio::test]
async fn a_server_that_is_dropped_is_not_ready_any_more() {
    let readiness = Readiness::starting();
    let server = Server::builder().readiness(readiness.clone()).bind("127.0.0.1:0").await.unwrap();
    let serving = tokio::spawn(server.serve(router()).into_future());
    until(&readiness, ReadyState::Ready).await;
    serving.abort();
    until(&readiness, ReadyState::Draining).await;
}
