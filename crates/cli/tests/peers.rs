//! The program against peers that do what they like.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Other processes have no clock to pause.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const ACK: u8 = 3;
const PUSH: u8 = 4;
const PING: u8 = 5;
const PONG: u8 = 6;
const GOAWAY: u8 = 8;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_towpath")).args(args).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) -> String {
    let err = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "stderr: {err}");
    err
}

/// The fault on stderr: one line, nothing in it that steers a terminal.
#[track_caller]
fn fault(output: &Output, code: i32) -> Value {
    let err = assert_exit(output, code);
    assert!(output.stdout.is_empty());
    let line = err.strip_suffix('\n').expect("a line");
    assert!(!line.contains(char::is_control), "{line:?}");
    let value: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
    value["error"].clone()
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    [&b"MC\x01"[..], &[kind], &len.to_be_bytes(), payload].concat()
}

fn goaway(reason: u8, text: &str) -> Vec<u8> {
    frame(GOAWAY, &[&[0; 8][..], &[reason], &[0; 8], text.as_bytes()].concat())
}

fn answer(kind: u8, id: &[u8], status: u8, codec: u8, body: &[u8]) -> Vec<u8> {
    frame(kind, &[id, &[status, codec, 0, 0, 0, 0, 0, 0], body].concat())
}

fn read_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).ok()?;
    let len = u32::from_be_bytes(header[4..].try_into().unwrap());
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((header[3], payload))
}

/// A peer that sends for each frame what `behave` makes of it; with the kinds of what arrived, when it is over.
fn peer(behave: impl Fn(u8, &[u8]) -> Vec<u8> + Send + 'static) -> (String, Receiver<Vec<u8>>) {
    peer_that(move |stream| {
        let mut kinds = Vec::new();
        while let Some((kind, payload)) = read_frame(stream) {
            kinds.push(kind);
            let _ = stream.write_all(&behave(kind, &payload));
        }
        kinds
    })
}

fn peer_that<T: Send + 'static>(
    serve: impl Fn(&mut TcpStream) -> T + Send + 'static,
) -> (String, Receiver<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mcp://{}", listener.local_addr().unwrap());
    let (tell, told) = channel();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = tell.send(serve(&mut stream));
        }
    });
    (url, told)
}

/// A peer that answers each call with a fault.
fn failing(codec: u8, body: impl Into<Vec<u8>>) -> String {
    let body = body.into();
    let answers = move |kind, payload: &[u8]| match kind {
        REQUEST => answer(RESPONSE, &payload[..8], 1, codec, &body),
        _ => Vec::new(),
    };
    peer(answers).0
}

/// Accepts, in the system's backlog, and does nothing.
fn mute() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mcp://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn one_way_is_done_when_it_is_written() {
    let (_mute, url) = mute();
    let begun = Instant::now();
    let output = run(&["call", &url, "A.b", "1", "--one-way"]);
    assert!(assert_exit(&output, 0).is_empty() && output.stdout.is_empty());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn one_way_ends_in_good_order() {
    let (url, told) = peer(|_, _| Vec::new());
    let body = format!("\"{}\"", "x".repeat(100_000));
    assert_exit(&run(&["call", &url, "A.b", &body, "--one-way"]), 0);
    assert_eq!(told.recv().unwrap(), [REQUEST, GOAWAY]);
}

#[test]
fn one_way_that_is_not_written_is_told() {
    // More than the sockets take, and nobody reads.
    let (_mute, url) = mute();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(15 << 20).unwrap();
    let body = format!("@{}", file.path().display());
    let error =
        fault(&run(&["call", &url, "A.b", &body, "--codec", "raw", "--one-way", "--timeout", "300ms"]), 4);
    assert_eq!(error["code"], "MCP-W-101");
}

#[test]
fn a_fault_in_protobuf_is_told_in_json() {
    let url = failing(2, b"\n\tORD-E-102\x12\x02m\x1b\x1a\tUSR-E-001\x22\x01t".to_vec());
    for args in [&["--codec", "json"][..], &["--async"]] {
        let error = fault(&run(&[&["call", &url, "A.b", "1"], args].concat()), 1);
        assert_eq!(
            error,
            json!({"code": "ORD-E-102", "message": "m\u{1b}", "cause": "USR-E-001", "trace_id": "t"})
        );
    }
}

#[test]
fn a_fault_in_json_is_told_as_it_came() {
    let body =
        "{\n \"error\": {\"code\":\"ORD-E-102\", \"message\":\"\u{9b}2J\u{7f}é\",\r\n\t\"future\":[1.50]}}\n";
    let error = fault(&run(&["call", &failing(1, body), "A.b"]), 1);
    assert_eq!(error, json!({"code": "ORD-E-102", "message": "\u{9b}2J\u{7f}é", "future": [1.5]}));
}

#[test]
fn a_fault_that_cannot_be_read_is_told_in_json() {
    for (codec, body, shown) in [
        (1, &b""[..], ""),
        (1, b"{}", "{}"),
        (1, b"not\x1b[2J json", "not\u{1b}[2J json"),
        (1, b"{\"error\":{\"code\":\"nope\"}}", "{\"error\":{\"code\":\"nope\"}}"),
        (1, b"\xff\xfe", "\u{fffd}\u{fffd}"),
        (2, b"\x0a\xff", "\n\u{fffd}"),
        (0, b"MCP-W-101", "MCP-W-101"),
    ] {
        let error = fault(&run(&["call", &failing(codec, body), "A.b"]), 1);
        assert_eq!((&error["code"], &error["body"]), (&json!("MCP-E-006"), &json!(shown)), "{error}");
        assert!(error["message"].as_str().unwrap().contains("a fault that cannot be read: "), "{error}");
        // Refused before it was accepted.
        let error = fault(&run(&["call", &failing(codec, body), "A.b", "--async"]), 1);
        assert!(error["message"].as_str().unwrap().contains("a fault that cannot be read: "), "{error}");
    }
    let long = fault(&run(&["call", &failing(1, vec![b'x'; 1 << 20]), "A.b"]), 1);
    assert_eq!(long["body"].as_str().unwrap().len(), 4096);
}

#[test]
fn a_fault_of_the_stack_is_told_as_it_came() {
    for code in ["MCP-E-001", "MCP-E-004", "MCP-E-009", "MCP-E-010", "MCP-E-011", "MCP-E-777", "MCP-W-103"] {
        for more in [
            json!({}),
            json!({"not_processed": true, "retry_after_ms": 5}),
            json!({"retry_after_ms": 0, "cause": "USR-E-001", "chain": [code, "USR-E-001"]}),
        ] {
            let mut came = more;
            came["code"] = json!(code);
            came["message"] = json!("m\u{1b}");
            came["trace_id"] = json!("t");
            let url = failing(1, json!({"error": came}).to_string());
            for args in [&[][..], &["--async"]] {
                assert_eq!(fault(&run(&[&["call", &url, "A.b"], args].concat()), 1), came);
            }
        }
    }
}

#[test]
fn a_deadline_at_the_service_is_its_fault_and_exit_4() {
    let came = json!({"code": "MCP-W-101", "message": "m", "trace_id": "t"});
    let body = json!({"error": came}).to_string();
    for (codec, body) in [
        (1, body.clone().into_bytes()),
        (1, body.replace("MCP", "\\u004dCP").into_bytes()),
        (2, b"\n\tMCP-W-101\x12\x01m\x22\x01t".to_vec()),
    ] {
        assert_eq!(fault(&run(&["call", &failing(codec, body), "A.b"]), 4), came);
    }
}

#[test]
fn a_deadline_here_is_told_in_the_same_form() {
    let (_mute, silent) = mute();
    let error = fault(&run(&["call", &silent, "A.b", "--timeout", "200ms"]), 4);
    assert_eq!(error["code"], "MCP-W-101");
    let text = error["message"].as_str().unwrap();
    assert!(text.contains(&silent) && text.contains("check that an MCP service is there"), "{text}");

    let (slow, _) = peer(|kind, payload| if kind == PING { frame(PONG, payload) } else { Vec::new() });
    let error = fault(&run(&["call", &slow, "A.b", "--timeout", "200ms"]), 4);
    let text = error["message"].as_str().unwrap();
    assert!(!text.contains("PING") && text.contains("find what is slow"), "{text}");
}

#[test]
fn an_asynchronous_call_that_is_answered_at_once_has_its_result() {
    for (before, kind) in [(false, RESPONSE), (false, PUSH), (true, PUSH)] {
        let (url, _) = peer(move |got, payload| {
            let id = &payload[..8];
            let ack = if before { frame(ACK, id) } else { Vec::new() };
            if got == REQUEST { [ack, answer(kind, id, 0, 1, b"\"x\"")].concat() } else { Vec::new() }
        });
        let output = run(&["call", &url, "A.b", "--async", "--timeout", "5s"]);
        assert_exit(&output, 0);
        assert_eq!(output.stdout, b"\"x\"\n");
    }
}

#[test]
fn who_does_not_answer_a_ping_is_exit_4() {
    let (_mute, silent) = mute();
    let (wrong, _) = peer(|kind, payload| match kind {
        PING => frame(PONG, &payload.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()),
        _ => Vec::new(),
    });
    for url in [&silent, &wrong] {
        let output = run(&["ping", url, "--count", "1", "--timeout", "200ms"]);
        let text = assert_exit(&output, 4);
        assert!(
            text.contains(url.as_str()) && text.contains("check that") && output.stdout.is_empty(),
            "{text}"
        );
    }
    let (gone, _) = peer_that(|_| ());
    assert_exit(&run(&["ping", &gone, "--count", "1", "--timeout", "5s"]), 3);
}

#[test]
fn the_words_of_a_peer_do_not_steer_the_terminal() {
    let (url, _) = peer(|kind, _| match kind {
        REQUEST | PING => goaway(0, "bye\x1b[2J\u{9b}\r\nroot# \u{202e}"),
        _ => Vec::new(),
    });
    for args in [&["call", &url, "A.b"][..], &["ping", &url, "--count", "1"]] {
        let text = assert_exit(&run(args), 3);
        assert!(text.contains(r"bye\u{1b}[2J\u{9b}\r\nroot# \u{202e}"), "{text:?}");
        assert!(!text.trim_end_matches('\n').contains(char::is_control), "{text:?}");
    }
}

#[test]
fn who_is_no_service_is_told_with_what_to_do() {
    let (web, _) = peer_that(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let text = assert_exit(&run(&["call", &web, "A.b"]), 3);
    assert!(text.contains("HTTP") && text.contains("check that the address is an MCP service"), "{text}");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = assert_exit(&run(&["call", &format!("mcp://{free}"), "A.b"]), 3);
    assert!(text.contains("nobody listens there") && text.contains("check that the service runs"), "{text}");
}
