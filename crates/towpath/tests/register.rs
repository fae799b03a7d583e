//! A server that is registered while it serves.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};
use towpath::{Client, Register, Router, Server, registry::Registry};

async fn until(registered: usize, registry: &Registry) {
    while registry.list("orders").len() != registered {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn it_is_found_while_it_serves_and_leaves_before_it_drains() {
    let registry = Registry::new();
    let at = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("registry://{}/orders", at.local_addr());
    let registry_server = tokio::spawn(at.serve(registry.router()).into_future());

    let (entered, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let router = Router::new().route("A.Wait", {
        let (entered, go) = (entered.clone(), go.clone());
        move || {
            let (entered, go) = (entered.clone(), go.clone());
            async move {
                entered.notify_one();
                go.notified().await;
                "done"
            }
        }
    });
    let register = Register::at(&url).unwrap().weight(3).zone("north").label("version", "2");
    let server = Server::builder().register(register).bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    assert!(registry.list("orders").is_empty(), "it does not serve yet");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server.serve(router).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving.into_future());
    until(1, &registry).await;
    let found = &registry.list("orders")[0];
    assert_eq!((&**found.address(), found.weight()), (&*address, 3));
    assert_eq!(
        (found.zone().map(|zone| &**zone), found.labels().next()),
        (Some("north"), Some(("version", "2")))
    );

    let client = Client::connect(&address).await.unwrap();
    let call = tokio::spawn(async move { client.request("A.Wait").raw("").send::<String>().await });
    entered.notified().await;
    drop(stop);
    until(0, &registry).await;
    go.notify_one();
    assert_eq!(call.await.unwrap().unwrap(), "done");
    serving.await.unwrap().unwrap();
    registry_server.abort();
}

#[tokio::test]
async fn a_registry_that_is_not_there_holds_up_nothing() {
    // Nobody listens on the port of a listener that is gone.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let register = Register::at(format!("registry://{gone}/orders")).unwrap();
    let server = Server::builder().register(register).bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = Router::new().route("A.B", async || towpath::Json(Value::from(7)));
    let serving = server.serve(router).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving.into_future());
    let client = Client::connect(&address).await.unwrap();
    assert_eq!(client.call::<Value>("A.B", &()).await.unwrap(), Value::from(7));
    let told = Instant::now();
    drop(stop);
    serving.await.unwrap().unwrap();
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
}

#[tokio::test]
async fn what_nobody_can_connect_to_is_refused_at_once() {
    let register = Register::over(Registry::new().router(), "orders");
    let refused = Server::builder().register(register).bind("0.0.0.0:0").await.unwrap_err();
    assert!(refused.to_string().contains("Register::advertise"), "{refused}");
}
