//! What a server says of its load, heard by the balancer of a caller.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use towpath::{Client, Router, Server, limit::ReportLoadLayer};

#[tokio::test]
async fn calls_of_others_are_seen() {
    let gate = Arc::new(Semaphore::new(0));
    let router = {
        let gate = gate.clone();
        Router::new().route("A.Quick", async || "there").route("A.Wait", move || {
            let gate = gate.clone();
            async move {
                let _ = gate.acquire().await;
                "done"
            }
        })
    };
    let load = ReportLoadLayer::new();
    let server = Server::builder().layer(load.clone()).bind("127.0.0.1:0").await.unwrap();
    let url = server.address().to_string();
    tokio::spawn(server.serve(router).into_future());

    let other = Client::connect(&url).await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..7 {
        let other = other.clone();
        waiting.spawn(async move { other.request("A.Wait").raw("").send::<String>().await.unwrap() });
    }
    let seen = async {
        while load.in_flight() < 7 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(60), seen).await.unwrap();
    // A list of one, so that there is a balancer.
    let client = Client::connect(format!("{url},{}", url.trim_start_matches("mcp://"))).await.unwrap();
    let answer: String = client.request("A.Quick").raw("").send().await.unwrap();
    assert_eq!(answer, "there");
    let endpoints = client.endpoints().unwrap().endpoints();
    assert_eq!((endpoints.len(), endpoints[0].reported), (1, Some(8)), "seven of others, and its own");
    gate.add_permits(7);
    assert_eq!(waiting.join_all().await.len(), 7);
    assert_eq!(load.in_flight(), 0);
}
