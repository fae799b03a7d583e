//! The vectors of `docs/protocol.md`, "Affinity": made by another implementation than this one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Server, Servers, call_with, config, keyed};
use serde::Deserialize;
use towpath_balance::{AffinityToken, Balancer, ConsistentHash, HashConfig, HashOptions, affinity_hash};
use towpath_core::Endpoint;

#[derive(Deserialize)]
struct Vectors {
    hashes: Vec<Hash>,
    tokens: Vec<Token>,
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct Hash {
    key: String,
    hash: String,
}

#[derive(Deserialize)]
struct Token {
    name: String,
    key: String,
    token: String,
}

#[derive(Deserialize)]
struct Table {
    meaning: String,
    slots: u32,
    endpoints: Vec<Described>,
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Described {
    address: String,
    weight: u32,
    hash_key: Option<String>,
}

#[derive(Deserialize)]
struct Key {
    key: String,
    /// In the order in which they take the key.
    endpoints: Vec<usize>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/affinity.json")).unwrap()
}

#[test]
fn hashes_and_tokens_are_those_of_the_vectors() {
    let vectors = vectors();
    for Hash { key, hash } in vectors.hashes {
        assert_eq!(format!("{:016x}", affinity_hash(key.as_bytes())), hash, "{key}");
    }
    for Token { name, key, token } in vectors.tokens {
        let named = Endpoint::new("mcp://127.0.0.1:1").with_label("hash-key", name.as_str());
        assert_eq!(AffinityToken::new(&named, key.as_bytes()).to_string(), token);
        assert_eq!(AffinityToken::new(&Endpoint::new(name), key.as_bytes()).to_string(), token);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_go_where_the_vectors_say() {
    for Table { meaning, slots, endpoints, keys } in vectors().tables {
        let servers: Vec<_> =
            endpoints.iter().zip(0..).map(|(e, number)| Server::at(number, &e.address)).collect();
        let described = endpoints.iter().zip(&servers).map(|(described, server)| {
            let endpoint = server.endpoint().with_weight(described.weight);
            match &described.hash_key {
                Some(name) => endpoint.with_label("hash-key", name.as_str()),
                None => endpoint,
            }
        });
        let picker = HashConfig::try_new(HashOptions { slots, ..HashOptions::default() }).unwrap();
        let balance = Balancer::new(config(|options| options.panic_below = 0.0))
            .pick_by(ConsistentHash::new(picker))
            .honour_context()
            .fixed(described, Servers::new(&servers));
        for Key { key, endpoints } in keys {
            for (number, endpoint) in endpoints.iter().enumerate() {
                let went = call_with(&balance, keyed(&key)).await.unwrap();
                assert_eq!(went, *endpoint, "{meaning}: {key:?}, {number} are out");
                servers[*endpoint].endpoint().state().set_draining(true);
            }
            servers.iter().for_each(|server| server.endpoint().state().set_draining(false));
        }
    }
}
