//! Client and server over a Unix socket.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use common::{Nap, User, router, serve_at, soon, until};
use serde_json::json;
use towpath::{Address, BindOptions, Client, ClientState, Scheme, Server};

#[tokio::test]
async fn a_call_by_its_url() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("mcp+unix:{}", folder.path().join("users.sock").display());
    let server = Server::builder().options(BindOptions::new().unix_mode(0o660)).bind(&url).await.unwrap();
    assert_eq!((server.address().scheme(), server.address().to_string()), (Scheme::Unix, url.clone()));
    assert_eq!(server.local_addr().port(), 0, "it has none");
    tokio::spawn(server.serve(router()).into_future());
    let client = Client::connect(&url).await.unwrap();
    let user: User = soon(client.call("UserService.GetUserInfo", &json!({"id": 7}))).await.unwrap();
    assert_eq!(user.id, 7);
}

#[tokio::test]
async fn a_client_comes_back_when_its_server_does() {
    let folder = tempfile::tempdir().unwrap();
    let address = Address::unix(folder.path().join("s.sock"));
    let client = Client::connect_lazy(address.to_string()).unwrap();
    for n in 0..3u8 {
        let server = serve_at(&address, router()).await;
        assert_eq!(soon(client.call::<u8>("Echo.Echo", &n)).await.unwrap(), n);
        server.kill().await;
        until("the loss is noticed", || !matches!(client.state(), ClientState::Connected)).await;
    }
    // A drain ends what was accepted first.
    let server = serve_at(&address, router()).await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.call::<u64>("Debug.Sleep", &Nap { ms: 300 }).await }
    });
    soon(client.call::<u8>("Echo.Echo", &1)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    server.drain.send(()).unwrap();
    assert_eq!(soon(slow).await.unwrap().unwrap(), 300);
    soon(server.task).await.unwrap().unwrap();
    assert!(!address.path().unwrap().exists());
}
