//! Client and server over TLS.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../transport/tests/pki/mod.rs"]
mod pki;

use common::{router, soon, until};
use pki::{Ca, Identity};
use towpath::{
    Address, CallError, Client, ClientState, ClientTls, Error, ErrorKind, Extension, Json, Peer, Processed,
    Server, ServerTls,
};

struct Serving {
    url: String,
    address: Address,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn serve(to: Address, tls: &ServerTls) -> Serving {
    let server = Server::builder().tls(tls.clone()).bind(to).await.unwrap();
    let (address, port) = (server.address().clone(), server.local_addr().port());
    let who = async |Extension(peer): Extension<Peer>| Json(peer.dns_names().to_vec());
    let serving = server.serve(router().route("Test.Who", who));
    Serving { url: format!("mcps://localhost:{port}"), address, task: tokio::spawn(serving.into_future()) }
}

fn free_port() -> Address {
    Address::tls("127.0.0.1", 0)
}

fn mutual(ca: &Ca) -> ServerTls {
    let Identity { pem, key } = ca.server(&["localhost"]);
    ServerTls::builder().identity_pem(pem, key).client_ca_pem(&ca.pem).build().unwrap()
}

fn me(ca: &Ca, name: &str) -> ClientTls {
    let Identity { pem, key } = ca.client(&[name]);
    ClientTls::builder().ca_pem(&ca.pem).identity_pem(pem, key).build().unwrap()
}

#[tokio::test]
async fn a_handler_knows_its_caller_and_a_client_comes_back() {
    let ca = Ca::new("ca");
    let tls = mutual(&ca);
    let mut server = serve(free_port(), &tls).await;
    let client = Client::builder().tls(me(&ca, "billing")).connect(&server.url).await.unwrap();
    for n in 0..3u8 {
        assert_eq!(soon(client.call::<Vec<String>>("Test.Who", &n)).await.unwrap(), ["billing"]);
        server.task.abort();
        let _ = server.task.await;
        until("the loss is noticed", || !matches!(client.state(), ClientState::Connected)).await;
        server = serve(server.address, &tls).await;
    }
}

#[track_caller]
fn not_let_in(error: &Error, kind: ErrorKind, word: &str) {
    assert_eq!((error.kind(), error.processed()), (kind, Processed::No), "{error}");
    assert!(error.to_string().contains(word) && error.to_string().contains("mcps://localhost:"), "{error}");
}

#[tokio::test]
async fn who_is_not_let_in_is_told_and_does_not_wait() {
    let ca = Ca::new("ca");
    let server = serve(free_port(), &mutual(&ca)).await;
    let nobody = ClientTls::builder().ca_pem(&ca.pem).build().unwrap();
    let error = soon(Client::builder().tls(nobody.clone()).connect(&server.url)).await.unwrap_err();
    not_let_in(&error, ErrorKind::Unauthenticated, "give one, and its key");

    // A call with a deadline and one without.
    for builder in [
        Client::builder().timeout(std::time::Duration::from_millis(300)),
        Client::builder().without_defaults(),
    ] {
        let client = builder.tls(nobody.clone()).connect_lazy(&server.url).unwrap();
        match soon(client.call::<u8>("Echo.Echo", &1)).await.unwrap_err() {
            CallError::Failed(error) => {
                not_let_in(&error, ErrorKind::Unauthenticated, "give one, and its key")
            }
            other => unreachable!("{other}"),
        }
    }
    let stranger =
        soon(Client::builder().tls(me(&Ca::new("other"), "a")).connect(&server.url)).await.unwrap_err();
    not_let_in(&stranger, ErrorKind::ConnectFailed, "signed by no CA that is trusted here");
    let error = soon(Client::connect(&server.url)).await.unwrap_err();
    not_let_in(&error, ErrorKind::ConnectFailed, "whose certificates are trusted");
}
