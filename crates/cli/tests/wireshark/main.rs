//! Wireshark's dissector (`crates/codec/wireshark/mcp.lua`), run by tshark on connections of our own.
//!
//! Where there is no tshark, the tests say so and pass; `.ci/run` installs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Other processes have no clock to pause.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod capture;

use capture::{Chunk, Relay, join, pcap, split};
use serde_json::{Value, json};
use std::{collections::BTreeMap, process::Command, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, oneshot},
};
use towpath::{
    Algorithm, Client, ClientConfig, CodecId, Compression, Fault, Json, Router, Server, ServerConfig,
};

const DISSECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../codec/wireshark/mcp.lua");

fn tshark_is_there() -> bool {
    let there = Command::new("tshark").arg("--version").output().is_ok();
    if !there {
        eprintln!("tshark is not there (Debian: apt install tshark): the dissector is not tested");
    }
    there
}

/// One MCP frame as tshark shows it.
#[derive(Debug)]
struct Shown {
    /// The number of the packet that it ends in.
    packet: u32,
    by_caller: bool,
    connection: u16,
    /// All values of each field, in order.
    fields: BTreeMap<String, Vec<String>>,
}

impl Shown {
    fn all(&self, field: &str) -> Vec<&str> {
        self.fields.get(field).into_iter().flatten().map(String::as_str).collect()
    }

    /// The value of a field that is there once.
    fn get(&self, field: &str) -> Option<&str> {
        match self.all(field)[..] {
            [] => None,
            [value] => Some(value),
            ref more => panic!("{field}: {more:?}"),
        }
    }

    fn kind(&self) -> &str {
        self.get("mcp.type").unwrap_or("none")
    }

    /// What does not depend on how the bytes are cut.
    fn constant(&self) -> (bool, u16, BTreeMap<String, Vec<String>>) {
        let mut fields = self.fields.clone();
        for moving in ["mcp.time", "mcp.response_in", "mcp.response_to", "mcp.ack_in", "mcp.cancel_in"] {
            if let Some(values) = fields.get_mut(moving) {
                values.clear();
            }
        }
        (self.by_caller, self.connection, fields)
    }
}

fn flatten(value: &Value, name: &str, into: &mut BTreeMap<String, Vec<String>>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| flatten(value, name, into)),
        Value::Array(items) => items.iter().for_each(|item| flatten(item, name, into)),
        Value::String(text) => into.entry(name.to_owned()).or_default().push(text.clone()),
        other => panic!("{name}: {other}"),
    }
}

/// Runs tshark over a capture; all frames of it, in order.
fn dissect(chunks: &[Chunk], options: &[&str]) -> Vec<Shown> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.pcap");
    std::fs::write(&file, pcap(chunks)).unwrap();
    let output = Command::new("tshark")
        .args(["-2", "-r", file.to_str().unwrap(), "-X", &format!("lua_script:{DISSECTOR}")])
        .args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"])
        .args(["-T", "json", "--no-duplicate-keys"])
        .args(options)
        // A user's own plugins and preferences are none of ours.
        .env("HOME", folder.path())
        .env("XDG_CONFIG_HOME", folder.path())
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !err.contains("Lua"), "{err}");
    let packets: Vec<Value> = serde_json::from_slice(&output.stdout).expect(&err);
    let mut shown = Vec::new();
    for packet in packets {
        let layers = &packet["_source"]["layers"];
        let number = |value: &Value| value.as_str().unwrap().parse::<u32>().unwrap();
        assert_eq!(layers["tcp"]["tcp.checksum.status"], "1", "{layers}");
        let (from, to) = (number(&layers["tcp"]["tcp.srcport"]), number(&layers["tcp"]["tcp.dstport"]));
        let frames = match &layers["mcp1"] {
            Value::Null => continue,
            Value::Array(frames) => frames.clone(),
            one => vec![one.clone()],
        };
        for frame in frames {
            let mut fields = BTreeMap::new();
            flatten(&frame, "mcp1", &mut fields);
            shown.push(Shown {
                packet: number(&layers["frame"]["frame.number"]),
                by_caller: from > to,
                connection: u16::try_from(from.max(to) - 40_000).unwrap(),
                fields,
            });
        }
    }
    shown
}

/// Calls of every kind on one connection that the server drains, and a second one that goes wrong.
async fn calls() -> Vec<Chunk> {
    let hangs = Arc::new(Notify::new());
    let hung = hangs.clone();
    let router: Router = Router::new()
        .route("User.Get", async |Json(ask): Json<Value>| Json(json!({"id": ask["id"], "name": "Zoë"})))
        .route("User.Hear", async |Json(_): Json<Value>| ())
        .route("Order.Place", async |_: bytes::Bytes| {
            let inner = Fault::new("USR-E-001".parse::<towpath::ErrorCode>().unwrap(), "no such user");
            let own = Fault::new("ORD-E-102".parse::<towpath::ErrorCode>().unwrap(), "déjà \"vu\"");
            Err::<(), _>(
                own.wrap(&inner).with_trace_id("a1b2").with_retry_after(Some(Duration::from_millis(250))),
            )
        })
        .route("Order.Hang", move |_: bytes::Bytes| {
            let hung = hung.clone();
            async move {
                hung.notify_one();
                std::future::pending::<()>().await;
            }
        });
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let relay = Relay::start(server.local_addr()).await;
    let (drain, drained) = oneshot::channel::<()>();
    let serving = server.serve(router).with_graceful_shutdown(async {
        let _ = drained.await;
    });
    let serving = tokio::spawn(serving.into_future());

    let client = Client::connect(format!("mcp://{}", relay.address)).await.unwrap();
    let got = client.request("User.Get").body(&json!({"id": 7})).meta("tenant", "acme").meta("empty", "");
    got.timeout(Duration::from_secs(60)).idempotent().send::<Value>().await.unwrap();
    client.call::<Value>("Order.Place", &json!({})).await.unwrap_err();
    let place = client.request("Order.Place").encoded(CodecId::PROTOBUF, vec![0x08, 0x01]);
    assert!(place.send_raw().await.unwrap().is_fault());
    let accepted = client.request("User.Get").body(&json!({"id": 8})).send_async::<Value>().await.unwrap();
    accepted.await.unwrap();
    client.request("User.Hear").body(&json!("x")).send_one_way().await.unwrap();
    tokio::select! {
        outcome = client.request("Order.Hang").raw("").send_raw() => panic!("{outcome:?}"),
        () = hangs.notified() => {}
    }
    // The answer to the ping comes after the CANCEL was read.
    client.ping().await.unwrap();

    let mut odd = TcpStream::connect(relay.address).await.unwrap();
    let whole = hex("4d430101 0000001b 0000000000000005 00000000 00 00 0003 00000000 412e42 61626364");
    odd.write_all(&[&whole[..], b"GET / HTTP/1.1\r\n\r\n"].concat()).await.unwrap();
    odd.read_to_end(&mut Vec::new()).await.unwrap();

    drop(drain);
    serving.await.unwrap().unwrap();
    relay.chunks()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// The frames of one side of a connection.
fn side(shown: &[Shown], connection: u16, by_caller: bool) -> Vec<&Shown> {
    shown.iter().filter(|one| (one.connection, one.by_caller) == (connection, by_caller)).collect()
}

#[tokio::test]
async fn calls_are_shown_whole_and_linked_however_they_are_cut() {
    if !tshark_is_there() {
        return;
    }
    let chunks = calls().await;
    let as_sent = dissect(&chunks, &[]);

    let asked = side(&as_sent, 0, true);
    let requests: Vec<_> = asked.iter().filter(|one| one.kind() == "1").collect();
    let methods: Vec<_> = requests.iter().map(|one| one.get("mcp.method").unwrap()).collect();
    assert_eq!(
        methods,
        ["User.Get", "Order.Place", "Order.Place", "User.Get", "User.Hear", "Order.Hang"],
        "{as_sent:#?}"
    );
    let first = requests[0];
    assert_eq!(first.all("mcp.metadata.key"), ["tenant", "empty"]);
    assert_eq!(first.all("mcp.metadata.value"), ["acme", ""]);
    let left: u32 = first.get("mcp.timeout_ms").unwrap().parse().unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
    assert_eq!((first.get("mcp.codec"), first.get("mcp.flags")), (Some("1"), Some("0x04")));
    assert_eq!(first.get("mcp.flags.idempotent"), Some("1"));
    assert_eq!(first.all("json.path_with_value"), ["/id:7"]);
    assert_eq!(requests[2].get("mcp.codec"), Some("2"));
    assert_eq!(requests[3].get("mcp.flags.async"), Some("1"));
    assert_eq!(requests[4].get("mcp.flags.one_way"), Some("1"));
    assert_eq!(asked.iter().filter(|one| one.kind() == "7").count(), 1);
    assert_eq!(asked.iter().filter(|one| one.kind() == "5").count(), 1);

    let answered = side(&as_sent, 0, false);
    let ok = answered[0];
    assert_eq!((ok.get("mcp.status"), ok.get("mcp.codec")), (Some("0"), Some("1")));
    for (place, codec) in [(answered[1], "1"), (answered[2], "2")] {
        assert_eq!((place.get("mcp.status"), place.get("mcp.codec")), (Some("1"), Some(codec)));
        assert_eq!(place.get("mcp.fault.code"), Some("ORD-E-102"));
        assert_eq!(place.get("mcp.fault.message"), Some("déjà \"vu\""));
        assert_eq!(place.get("mcp.fault.cause"), Some("USR-E-001"));
        assert_eq!(place.get("mcp.fault.trace_id"), Some("a1b2"));
        assert_eq!(place.get("mcp.fault.retry_after_ms"), Some("250"));
        assert_eq!(place.all("mcp.fault.chain"), ["ORD-E-102", "USR-E-001"]);
        assert_eq!(place.get("_ws.expert.message"), Some("ORD-E-102: déjà \"vu\""));
    }
    let kinds: Vec<_> = answered.iter().map(|one| one.kind()).collect();
    assert_eq!(kinds, ["2", "2", "2", "3", "4", "6", "8"]);
    let drained = answered[6];
    assert_eq!(drained.get("mcp.goaway.reason"), Some("0"));
    assert_eq!(drained.get("mcp.goaway.last_id"), requests[5].get("mcp.id"));

    let joined = join(&chunks);
    for (cut, chunks) in [
        ("as sent", chunks.clone()),
        ("single bytes", split(&chunks, 1)),
        ("pieces of 5", split(&chunks, 5)),
        ("pieces of 13", split(&joined, 13)),
        ("all in one", joined),
    ] {
        let options: &[&str] = if cut == "single bytes" { &["-d", "tcp.port==9377,mcp1"] } else { &[] };
        let shown = dissect(&chunks, options);
        for by_caller in [true, false] {
            let constant = |all| side(all, 0, by_caller).iter().map(|one| one.constant()).collect::<Vec<_>>();
            assert_eq!(constant(&shown), constant(&as_sent), "{cut}");
        }
        linked(&shown, &chunks);
        let experts = side(&shown, 1, true).last().unwrap().all("_ws.expert.message").join(" ");
        assert!(experts.contains("Bad magic"), "{cut}: {experts}");
    }
}

/// Every answer names its call, its time is right, and the call names its answer.
#[track_caller]
fn linked(shown: &[Shown], chunks: &[Chunk]) {
    let mut seen = BTreeMap::new();
    for one in shown.iter().filter(|one| one.connection == 0) {
        let id = one.get("mcp.id").unwrap();
        if one.kind() == "1" {
            seen.insert(id, one);
        }
        let back = match one.kind() {
            "2" | "4" => "mcp.response_in",
            "3" => "mcp.ack_in",
            "7" => "mcp.cancel_in",
            _ => {
                assert_eq!(one.get("mcp.response_to"), None, "{one:?}");
                continue;
            }
        };
        let call = seen[id];
        assert_eq!(one.get("mcp.response_to").unwrap(), call.packet.to_string());
        assert_eq!(call.get(back).unwrap(), one.packet.to_string());
        // Three packets of handshake stand before the first segment of each connection.
        if one.packet < second(chunks) {
            let at = |packet: u32| chunks[packet as usize - 4].at.as_micros();
            let took = at(one.packet) - at(call.packet);
            let shown: f64 = one.get("mcp.time").unwrap().parse().unwrap();
            assert!((shown * 1e6 - took as f64).abs() < 1.5, "{shown} s, and it took {took} µs");
        }
    }
    assert!(
        seen.len() == 6 && seen.values().filter(|call| call.get("mcp.response_in").is_some()).count() == 4
    );
}

/// The number of the packet with which the second connection begins.
fn second(chunks: &[Chunk]) -> u32 {
    let index = chunks.iter().position(|chunk| chunk.connection == 1).unwrap_or(chunks.len());
    index as u32 + 4
}

#[tokio::test]
async fn what_is_no_mcp_is_said() {
    if !tshark_is_there() {
        return;
    }
    let shown = dissect(&calls().await, &[]);
    let (asked, answered) = (side(&shown, 1, true), side(&shown, 1, false));
    assert_eq!(asked[0].get("mcp.method"), Some("A.B"));
    assert!(asked[1].fields.contains_key("mcp.expert.bad_magic"), "{asked:?}");
    let goaway = answered.last().unwrap();
    assert_eq!(goaway.get("mcp.goaway.reason"), Some("1"));
    assert!(goaway.fields.contains_key("mcp.expert.goaway"), "{goaway:?}");

    let wrong = [
        ("4d430102 00000003 000000", "The payload is too short for its id"),
        ("4d430101 0000000c 0000000000000001 00000000", "A REQUEST is shorter than its head"),
        ("4d430101 00000014 0000000000000001 00000000 00 00 0005 00000000", "Method and metadata are longer"),
        ("4d430101 00000014 0000000000000001 00000000 00 00 0000 00000000", "The method is empty"),
        ("4d430101 00000015 0000000000000001 00000000 00 03 0001 00000000 41", "Flags that are not allowed"),
        (
            "4d430101 00000018 0000000000000001 00000000 00 00 0001 00000003 41 616263",
            "The entries do not add up",
        ),
        ("4d430103 00000008 0000000000000000", "The id is 0"),
        ("4d430102 00000009 0000000000000001 00", "An answer is shorter than its head"),
        ("4d430102 00000012 0000000000000001 01 01 0000 00000000 7b7d", "The fault cannot be read"),
        ("4d430108 00000009 0000000000000000 01", "A GOAWAY is shorter than 17 bytes"),
        ("4d430109 0000000c 0000000000000000 00010000", "The pairs do not add up"),
        ("4d430201 00000000", "Version 2"),
        ("4d430101 01000001", "A payload of 16777217 bytes"),
        ("4d43010a 00000000", "Type 0a"),
        // Only begun: there may be more.
        ("4d430101 00000100 00000000 00000001", ""),
    ];
    let chunk = |(connection, (bytes, _)): (usize, &(&str, &str))| Chunk {
        connection: connection as u16,
        by_caller: true,
        at: Duration::ZERO,
        bytes: hex(bytes),
    };
    let chunks: Vec<_> = wrong.iter().enumerate().map(chunk).collect();
    let shown = dissect(&chunks, &["-o", "mcp1.ports:9377"]);
    for (connection, (bytes, expert)) in wrong.iter().enumerate() {
        let said = side(&shown, connection as u16, true);
        let said = said.iter().flat_map(|one| one.all("_ws.expert.message")).collect::<Vec<_>>().join("; ");
        assert!(said.contains(expert) && said.is_empty() == expert.is_empty(), "{bytes}: {said:?}");
    }
}

#[test]
fn settings_and_extensions() {
    if !tshark_is_there() {
        return;
    }
    let bytes = hex(
        "4d430109 0000001a 0000000000000000 0001 00001000 0002 00000040 004d 00000001 4d430181 00000002 abcd",
    );
    let shown = dissect(&[Chunk { connection: 0, by_caller: false, at: Duration::ZERO, bytes }], &[]);
    assert_eq!(shown[0].all("mcp.settings.key"), ["1", "2", "77"]);
    assert_eq!(shown[0].all("mcp.settings.value"), ["4096", "64", "1"]);
    assert_eq!(shown[0].get("mcp.settings.max_payload"), Some("4096"));
    assert_eq!(shown[0].get("mcp.settings.max_outstanding"), Some("64"));
    assert_eq!((shown[1].get("mcp.type"), shown[1].get("mcp.extension")), (Some("129"), Some("ab:cd")));
}

/// Compressed bodies of a real connection, each way.
#[tokio::test]
async fn compressed_bodies_are_named() {
    if !tshark_is_there() {
        return;
    }
    for (algorithm, number) in [(Algorithm::Lz4, "1"), (Algorithm::Zstd, "2")] {
        let compression = Some(Compression::new(algorithm));
        let config = ServerConfig { compression: compression.clone(), ..ServerConfig::default() };
        let server = Server::builder().config(config).bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::start(server.local_addr()).await;
        let router: Router = Router::new().route("Echo.Echo", async |body: towpath::Raw| body);
        let serving = tokio::spawn(server.serve(router).into_future());
        let client = Client::builder()
            .config(ClientConfig { compression, ..ClientConfig::default() })
            .connect(format!("mcp://{}", relay.address))
            .await
            .unwrap();
        let text = "compressed ".repeat(500);
        // The first one tells when the server's SETTINGS have come.
        for _ in 0..2 {
            let heard: String = client.request("Echo.Echo").raw(text.clone()).send().await.unwrap();
            assert_eq!(heard, text);
        }
        serving.abort();
        let shown = dissect(&relay.chunks(), &[]);
        for by_caller in [true, false] {
            let side = side(&shown, 0, by_caller);
            assert!(side.iter().any(|frame| frame.get("mcp.settings.compression") == Some("0x00000003")));
            let packed: Vec<_> =
                side.iter().filter(|frame| frame.get("mcp.body.plain_length").is_some()).collect();
            let last = packed.last().unwrap();
            assert_eq!(last.get("mcp.body.plain_length"), Some("5500"));
            assert_eq!(last.get("mcp.body.algorithm"), Some(number));
            assert!(last.all("_ws.expert.message").is_empty());
        }
    }
}
