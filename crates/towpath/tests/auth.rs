//! Credentials over real sockets, from the client's layer to the handler.
#![allow(clippy::unwrap_used)]

mod common;

use common::soon;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use towpath::{
    BoxError, CallError, Client, ErrorKind, Extension, Identity, Peer, Processed, Router, Server,
    auth::{
        AttachLayer, Issued, Renewing, StaticTokens, Token, TokensConfig, VerifyAsync, VerifyConfig,
        VerifyLayer,
    },
};

const SHOP: &str = "the-token-of-the-shop";
const OPS: &str = "the-token-of-operations";

fn token(text: &str) -> Token {
    text.parse().unwrap()
}

fn tokens() -> StaticTokens {
    let list = TokensConfig::new()
        .with(&token(SHOP), Identity::new("shop").with_scopes(["orders"]))
        .and_then(|list| list.with(&token(OPS), Identity::new("ops")))
        .unwrap();
    StaticTokens::new(list)
}

fn config() -> VerifyConfig {
    VerifyConfig::default()
        .with_exempt(["Health.*"].into_iter().collect())
        .with_required(["Orders.*"].into_iter().collect(), "orders")
}

fn router() -> Router {
    Router::new()
        .route("Who.AmI", async |Extension(caller): Extension<Identity>| caller.subject().to_owned())
        .route("Orders.Place", async || "placed")
        .route("Health.Check", async || "fine")
}

macro_rules! serve {
    ($layer:expr) => {{
        let server = Server::builder().peers(true).layer($layer).bind("127.0.0.1:0").await.unwrap();
        let url = format!("mcp://{}", server.local_addr());
        tokio::spawn(server.serve(router()).into_future());
        url
    }};
}

async fn client(url: &str, token: Token) -> Client {
    Client::builder().layer(AttachLayer::new(token)).connect(url).await.unwrap()
}

async fn ask(client: &Client, method: &'static str) -> Result<String, CallError> {
    soon(client.request(method).raw("").send()).await
}

#[track_caller]
fn refused(outcome: Result<String, CallError>) -> ErrorKind {
    let error = outcome.unwrap_err();
    let error = error.error().unwrap().clone();
    assert!(error.is_remote() && error.processed() == Processed::No, "{error:?}");
    assert!(!format!("{error} {error:?}").contains("the-token"));
    error.kind()
}

#[tokio::test]
async fn the_handler_knows_who_calls() {
    let layer = VerifyLayer::with_config(tokens(), config());
    let handle = layer.handle();
    let url = serve!(layer);
    let (shop, ops) = (client(&url, token(SHOP)).await, client(&url, token(OPS)).await);
    for _ in 0..3 {
        assert_eq!(ask(&shop, "Who.AmI").await.unwrap(), "shop");
        assert_eq!(ask(&ops, "Who.AmI").await.unwrap(), "ops");
        assert_eq!(ask(&shop, "Orders.Place").await.unwrap(), "placed");
        assert_eq!(refused(ask(&ops, "Orders.Place").await), ErrorKind::PermissionDenied);
    }
    let (nobody, other) =
        (Client::connect(&url).await.unwrap(), client(&url, token("another-token-of-nobody")).await);
    assert_eq!(ask(&nobody, "Health.Check").await.unwrap(), "fine");
    assert_eq!(refused(ask(&nobody, "Who.AmI").await), ErrorKind::Unauthenticated);
    assert_eq!(refused(ask(&other, "Who.AmI").await), ErrorKind::Unauthenticated);
    // A call's own credential goes before that of the layer.
    let own = other.request("Who.AmI").authorization(format!("Bearer {SHOP}")).raw("");
    assert_eq!(soon(own.send::<String>()).await.unwrap(), "shop");
    let counts = handle.counts();
    assert_eq!((counts.verified, counts.refused, counts.exempt), (2, 5, 1), "{counts:?}");
}

#[tokio::test]
async fn a_token_that_is_taken_off_the_list_is_refused_on_connections_that_had_it() {
    let tokens = tokens();
    let list = tokens.config().clone();
    let url = serve!(VerifyLayer::new(tokens));
    let shop = client(&url, token(SHOP)).await;
    assert_eq!(ask(&shop, "Who.AmI").await.unwrap(), "shop");
    assert_eq!(ask(&shop, "Who.AmI").await.unwrap(), "shop");
    list.set(TokensConfig::new().with(&token(OPS), Identity::new("ops")).unwrap());
    assert_eq!(refused(ask(&shop, "Who.AmI").await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn many_connections_are_verified_as_one_and_each_keeps_its_peer() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let layer = VerifyLayer::new(VerifyAsync(move |token: Token| {
        count.fetch_add(1, SeqCst);
        async move {
            tokio::task::yield_now().await;
            Ok(Identity::new(String::from_utf8_lossy(token.secret())).valid_for(Duration::from_secs(60)))
        }
    }));
    let server = Server::builder().peers(true).layer(layer).bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", server.local_addr());
    let who = async |Extension(caller): Extension<Identity>, Extension(peer): Extension<Peer>| {
        format!("{caller} at {}", peer.address().unwrap().port())
    };
    tokio::spawn(server.serve(Router::new().route("Who.AmI", who)).into_future());
    let mut seen = Vec::new();
    for _ in 0..4 {
        let client = client(&url, token("shop")).await;
        let first = ask(&client, "Who.AmI").await.unwrap();
        for _ in 0..3 {
            assert_eq!(ask(&client, "Who.AmI").await.unwrap(), first);
        }
        seen.push(first);
    }
    seen.dedup();
    assert_eq!((seen.len(), asked.load(SeqCst)), (4, 1), "{seen:?}");
}

#[tokio::test]
async fn tokens_that_run_out_are_renewed_under_calls() {
    let layer = VerifyLayer::new(|token: &Token, _: &towpath::Request| {
        Ok(Identity::new(String::from_utf8_lossy(token.secret())))
    });
    let url = serve!(layer);
    let issued = Arc::new(AtomicU32::new(0));
    let count = issued.clone();
    let source = Renewing::new(move || {
        let n = count.fetch_add(1, SeqCst);
        async move { Ok::<_, BoxError>(Issued { token: format!("t{n}").parse()?, lifetime: None }) }
    });
    let client = Client::builder().layer(AttachLayer::new(source.clone())).connect(&url).await.unwrap();
    let calls: Vec<_> = (0..16).map(|_| client.clone()).collect();
    for client in calls {
        assert_eq!(ask(&client, "Who.AmI").await.unwrap(), "t0");
    }
    source.discard();
    assert_eq!(ask(&client, "Who.AmI").await.unwrap(), "t1");
    assert_eq!(issued.load(SeqCst), 2);
}

#[tokio::test]
async fn a_credential_goes_no_further_than_it_was_sent() {
    let inner = serve!(VerifyLayer::new(tokens()));
    let behind = Client::connect(&inner).await.unwrap();
    let ask_behind = move || {
        let behind = behind.clone();
        async move {
            match behind.request("Who.AmI").raw("").send::<String>().await {
                Ok(who) => who,
                Err(error) => error.error().unwrap().kind().code().to_owned(),
            }
        }
    };
    let server = Server::builder().layer(VerifyLayer::new(tokens())).bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", server.local_addr());
    tokio::spawn(server.serve(Router::new().route("Front.Ask", ask_behind)).into_future());
    let shop = client(&url, token(SHOP)).await;
    assert_eq!(ask(&shop, "Front.Ask").await.unwrap(), "MCP-E-007");
}
