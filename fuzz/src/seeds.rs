//! Seeds: the protocol's test vectors, in the form of each target's input.

use serde_json::Value;
use towpath_codec::{Algorithm, HEADER_LEN, compress};

/// Vectors above this are about length, which a seed need not show.
const LONGEST: usize = 600;

/// Calls `put` with the target, the name and the bytes of each.
pub fn each(mut put: impl FnMut(&str, &str, &[u8])) {
    for vector in read(include_str!("../../crates/codec/vectors/frames.json")) {
        let name = vector["name"].as_str().expect("a name");
        let wire = unhex(vector["hex"].as_str().expect("bytes"));
        if wire.len() > LONGEST {
            continue;
        }
        put("frames", name, &[&[0x0d, 40], &wire[..]].concat());
        for (at, payload) in payloads(&wire).iter().enumerate() {
            put("envelope", &format!("{name}-{at}"), &[&[2], *payload].concat());
            if let Some(block) = metadata(payload).filter(|block| !block.is_empty()) {
                let len = (block.len() as u16).to_be_bytes();
                put("metadata", &format!("{name}-{at}"), &[&len, block, &[0, 1, b'k', 1, b'v', 3]].concat());
            }
        }
        if vector["to"] != "caller" {
            put("server", name, &[&[0], &raw(&wire, 255)[..], &[12, 11, 4, 0]].concat());
        }
        if vector["to"] != "callee" {
            // Two calls are under way.
            put(
                "client",
                name,
                &[&[0, 0, 0x20, 1, 0x21, 12, 12], &raw(&wire, 63)[..], &[5, 0, 0, 12]].concat(),
            );
        }
    }
    for vector in read(include_str!("../../crates/codec/vectors/faults.json")) {
        let name = vector["name"].as_str().expect("a name");
        let body = vector["body"].as_str().expect("a body");
        let body = match body.strip_prefix("hex:") {
            Some(digits) => unhex(digits),
            None => body.as_bytes().to_vec(),
        };
        let reader = vector["codec"].as_u64().expect("a codec") as u8;
        put("text", name, &[&[reader.wrapping_sub(1)], &body[..]].concat());
    }
    let texts = [
        (2, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (2, "traceparent-later", "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what"),
        (3, "address", "mcp://orders.example:7000"),
        (3, "address-v6", "mcp://[::1]:7000"),
        (3, "address-tls", "mcps://orders.example:7443"),
        (3, "address-unix", "mcp+unix:/run/orders.sock"),
        (4, "code", "ORD-E-102"),
        (5, "method", "shop.v1.OrderService.Place"),
        (6, "json", r#"{"id":1001,"tags":["a",null,1e9]}"#),
    ];
    for algorithm in [Algorithm::Lz4, Algorithm::Zstd] {
        // Not where compression is not built in.
        let Some(body) = compress(algorithm, &[b'a'; 300]) else { continue };
        put("text", &format!("compressed-{algorithm:?}").to_lowercase(), &[&[7], &body[..]].concat());
    }
    for (reader, name, text) in texts {
        put("text", name, &[&[reader], text.as_bytes()].concat());
    }
}

fn read(file: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).expect("JSON");
    file["vectors"].as_array().expect("a list").clone()
}

/// Groups of hex digits; `61*9` is a group nine times.
fn unhex(text: &str) -> Vec<u8> {
    let group = |digits: &str| -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits");
        (0..digits.len()).step_by(2).map(byte).collect()
    };
    text.split_whitespace()
        .flat_map(|word| match word.split_once('*') {
            Some((digits, times)) => group(digits).repeat(times.parse().expect("a number")),
            None => group(word),
        })
        .collect()
}

/// What follows each header, as far as it is there.
fn payloads(mut wire: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    while let Some((head, rest)) = wire.split_first_chunk::<HEADER_LEN>() {
        let len = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (payload, rest) = rest.split_at(len.min(rest.len()));
        payloads.push(payload);
        wire = rest;
    }
    payloads
}

/// Where a REQUEST says that its metadata is.
fn metadata(payload: &[u8]) -> Option<&[u8]> {
    let head = payload.first_chunk::<20>()?;
    let from = 20 + usize::from(u16::from_be_bytes([head[14], head[15]]));
    let len = u32::from_be_bytes([head[16], head[17], head[18], head[19]]) as usize;
    payload.get(from..from.checked_add(len)?)
}

/// The step of a script that sends bytes as they are, as often as it takes.
fn raw(wire: &[u8], most: usize) -> Vec<u8> {
    wire.chunks(most).flat_map(|piece| [&[9, piece.len() as u8], piece].concat()).collect()
}
