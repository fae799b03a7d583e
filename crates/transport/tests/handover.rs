//! One server replaces another, without a connection being refused.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use std::{future::IntoFuture, io, path::Path, time::Duration};
use tokio::{io::AsyncReadExt, net::UnixStream, sync::oneshot, task::JoinHandle, time::timeout};
use tower::{Service, ServiceExt, service_fn};
use towpath_core::{BoxError, Error, Request, Response};
use towpath_transport::{Address, BindOptions, BindTo, ClientConfig, Connection, Server, ServerConfig};

/// Fails a test that hangs.
async fn soon<F: IntoFuture>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

async fn bind(to: impl Into<BindTo>, offer: &Path) -> io::Result<Server> {
    Server::bind_with(to, BindOptions::new().handover(offer), ServerConfig::default()).await
}

/// Serves; every answer says by whom.
fn serve(server: Server, name: &'static str) -> (JoinHandle<io::Result<()>>, oneshot::Sender<()>) {
    let (drain, drained) = oneshot::channel::<()>();
    let service = service_fn(move |request: Request| async move {
        if request.method().as_str() == "Test.Slow" {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok::<_, BoxError>(Response::new(Bytes::from_static(name.as_bytes())))
    });
    let serving = server.serve(service).with_graceful_shutdown(async {
        let _ = drained.await;
    });
    (tokio::spawn(serving.into_future()), drain)
}

async fn who(address: &Address, method: &'static str) -> Result<Bytes, Error> {
    let mut connection = soon(Connection::connect(address, &ClientConfig::default())).await?;
    let request = Request::new(method, Bytes::new());
    Ok(soon(soon(connection.ready()).await?.call(request)).await?.into_body())
}

#[tokio::test]
async fn the_next_one_takes_over_and_the_one_before_ends() {
    let folder = tempfile::tempdir().unwrap();
    let offer = folder.path().join("offer");
    for first in ["mcp://127.0.0.1:0".to_owned(), format!("mcp+unix:{}/s.sock", folder.path().display())] {
        let server = bind(&first, &offer).await.unwrap();
        let address = server.address().clone();
        let (mut old, _old_drain) = serve(server, "0");
        let mut last_drain = None;
        for name in ["1", "2", "3"] {
            let slow = tokio::spawn({
                let address = address.clone();
                async move { who(&address, "Test.Slow").await }
            });
            tokio::time::sleep(Duration::from_millis(50)).await;
            let server = bind(&address, &offer).await.unwrap();
            assert_eq!(server.address(), &address);
            assert!(!old.is_finished(), "until the new one serves, the old one does");
            let (new, drain) = serve(server, name);
            // What it had accepted it has answered.
            soon(old).await.unwrap().unwrap();
            assert!(slow.await.unwrap().unwrap().len() == 1);
            assert_eq!(who(&address, "Test.Who").await.unwrap(), name);
            (old, last_drain) = (new, Some(drain));
        }
        last_drain.unwrap().send(()).unwrap();
        soon(old).await.unwrap().unwrap();
        assert!(!offer.exists(), "the last one takes the offer away");
        assert!(address.path().is_none_or(|path| !path.exists()), "and its own file");
    }
}

#[tokio::test]
async fn a_successor_that_dies_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let offer = folder.path().join("offer");
    let server = bind("127.0.0.1:0", &offer).await.unwrap();
    let address = server.address().clone();
    let (old, _drain) = serve(server, "old");
    // One that takes the socket and ends, one that ends at once, and one that says something else.
    drop(bind(&address, &offer).await.unwrap());
    drop(UnixStream::connect(&offer).await.unwrap());
    let odd = UnixStream::connect(&offer).await.unwrap();
    odd.writable().await.unwrap();
    odd.try_write(b"?").unwrap();
    let _ = soon({
        let mut odd = odd;
        async move { odd.read_to_end(&mut Vec::new()).await }
    })
    .await;
    assert_eq!(who(&address, "Test.Who").await.unwrap(), "old");
    assert!(!old.is_finished());

    let elsewhere = bind("127.0.0.2:0", &offer).await.unwrap_err();
    assert!(elsewhere.to_string().contains(&address.to_string()), "{elsewhere}");
    // What is wrong with the path of the offer is not told of the address.
    let nowhere = folder.path().join("none/offer");
    let error = bind("127.0.0.1:0", &nowhere).await.unwrap_err().to_string();
    assert!(error.contains(&*nowhere.to_string_lossy()) && error.contains("no such folder"), "{error}");
    let (_new, _drain) = serve(bind("127.0.0.1:0", &offer).await.unwrap(), "new");
    soon(old).await.unwrap().unwrap();
    assert_eq!(who(&address, "Test.Who").await.unwrap(), "new");
}

/// Whoever deploys may end the old one too soon: what the new one has been given is not taken away from it.
#[tokio::test]
async fn a_server_that_is_told_to_end_meanwhile_leaves_the_socket_to_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let offer = folder.path().join("offer");
    for first in ["mcp://127.0.0.1:0".to_owned(), format!("mcp+unix:{}/s.sock", folder.path().display())] {
        let server = bind(&first, &offer).await.unwrap();
        let address = server.address().clone();
        let (old, drain) = serve(server, "old");
        let next = bind(&address, &offer).await.unwrap();
        drain.send(()).unwrap();
        soon(old).await.unwrap().unwrap();
        // Who comes now waits for the new one.
        let early = tokio::spawn({
            let address = address.clone();
            async move { who(&address, "Test.Who").await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (new, drain) = serve(next, "new");
        assert_eq!(early.await.unwrap().unwrap(), "new");
        assert_eq!(who(&address, "Test.Who").await.unwrap(), "new");
        assert!(offer.exists(), "it offers the socket in its turn");
        drain.send(()).unwrap();
        soon(new).await.unwrap().unwrap();
        assert!(!offer.exists() && address.path().is_none_or(|path| !path.exists()));
    }
}

#[tokio::test]
async fn the_offer_of_a_dead_server_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let offer = folder.path().join("offer");
    drop(std::os::unix::net::UnixListener::bind(&offer).unwrap());
    let server = bind("127.0.0.1:0", &offer).await.unwrap();
    let address = server.address().clone();
    let (_serving, _drain) = serve(server, "fresh");
    assert_eq!(who(&address, "Test.Who").await.unwrap(), "fresh");
}
