//! Every vector of the protocol's data file, sent to a real connection of the side that it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use serde::Deserialize;
use std::time::Duration;
use towpath_codec::kind;
use towpath_core::Fault;
use towpath_transport::{ClientConfig, ServerConfig};

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    to: String,
    hex: String,
    answer: Vec<String>,
    then: String,
}

fn vectors() -> Vec<Vector> {
    let file: File = serde_json::from_str(include_str!("../../codec/vectors/frames.json")).unwrap();
    assert!(file.vectors.len() > 100);
    file.vectors
}

/// Groups of hex digits; `61*9` is a group nine times.
fn bytes(hex: &str) -> Vec<u8> {
    let group = |digits: &str| -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    };
    hex.split_whitespace()
        .flat_map(|word| match word.split_once('*') {
            Some((digits, times)) => group(digits).repeat(times.parse().unwrap()),
            None => group(word),
        })
        .collect()
}

/// `RESPONSE 1 MCP-E-001`, `GOAWAY 4`, `PONG 7`: type, then id or reason, then the fault's code.
async fn next(peer: &mut Peer) -> Option<String> {
    let (kind, payload) = peer.next().await?;
    let id = towpath_codec::id(&payload).unwrap();
    Some(match kind {
        kind::GOAWAY => format!("GOAWAY {}", towpath_codec::decode_goaway(&payload).unwrap().reason.code()),
        kind::RESPONSE | kind::PUSH => {
            let (_, response) = towpath_codec::decode_response(payload).unwrap();
            let code = response.is_fault().then(|| Fault::from_response(&response).unwrap().code());
            let code = code.map_or(String::new(), |code| format!(" {code}"));
            format!("{} {id}{code}", kind::name(kind))
        }
        _ => format!("{} {id}", kind::name(kind)),
    })
}

async fn check(vector: &Vector, mut peer: Peer) {
    let name = &vector.name;
    for want in &vector.answer {
        let got = tokio::time::timeout(Duration::from_secs(5), next(&mut peer)).await;
        let got = got.unwrap_or_else(|_| panic!("{name}: {want} does not come"));
        assert_eq!(got.as_ref(), Some(want), "{name}");
    }
    // Signs of life are asked for only later than this.
    let more = tokio::time::timeout(Duration::from_secs(5), next(&mut peer)).await;
    match vector.then.as_str() {
        "open" | "waiting" => assert!(more.is_err(), "{name}: stays open, but {more:?}"),
        "closed" => assert_eq!(more.unwrap_or_else(|_| panic!("{name}: not closed")), None, "{name}"),
        _ => {}
    }
}

#[tokio::test(start_paused = true)]
async fn to_a_server() {
    let config = ServerConfig::default();
    for vector in vectors().iter().filter(|vector| vector.to != "caller") {
        let (mut peer, _drain, _, _) = server(&config);
        peer.send(bytes(&vector.hex)).await;
        check(vector, peer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn to_a_server_one_byte_at_a_time() {
    for vector in vectors().iter().filter(|vector| vector.to != "caller") {
        let (mut peer, _drain, _, _) = server(&ServerConfig::default());
        let bytes = bytes(&vector.hex);
        if bytes.len() > 2000 {
            continue;
        }
        for byte in bytes {
            peer.send([byte]).await;
            tokio::task::yield_now().await;
        }
        check(vector, peer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn to_a_client() {
    let config = ClientConfig { keep_alive: None, ..Default::default() };
    for vector in vectors().iter().filter(|vector| vector.to != "callee") {
        let (_connection, _, mut peer) = client(&config);
        peer.send(bytes(&vector.hex)).await;
        check(vector, peer).await;
    }
}
