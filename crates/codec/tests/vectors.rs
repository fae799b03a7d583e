//! The test vectors, read by a receiver that is nothing but this crate and the table of violations.

// Helpers of tests may fail as loudly as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};
use tokio_util::codec::Decoder;
use towpath_codec::{
    Frame, FrameCodec, FrameCodecError, HEADER_LEN, Limits, RequestError, ResponseError, decode_goaway,
    decode_request, decode_response, decode_settings, kind, put_goaway, put_request_head, put_response_head,
    put_settings, put_short,
};
use towpath_core::{CodecId, Context, Error, Fault, Metadata, Mode, Request, Response, context::Field};

fn vectors(file: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn text<'a>(vector: &'a Value, member: &str) -> &'a str {
    vector[member].as_str().unwrap_or_else(|| panic!("{member} of {vector}"))
}

/// Groups of hex digits; `61*9` is a group nine times.
fn unhex(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for group in text.split_whitespace() {
        let (digits, times) = group.split_once('*').unwrap_or((group, "1"));
        assert_eq!(digits.len() % 2, 0, "{group}");
        let bytes: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
            .collect();
        out.extend(bytes.repeat(times.parse().unwrap()));
    }
    out
}

/// Text as it is; `hex:00ff` for bytes; `a*9` for nine of them.
fn bytes(text: &str) -> Vec<u8> {
    if let Some(digits) = text.strip_prefix("hex:") {
        return unhex(digits);
    }
    match text.split_once('*').and_then(|(what, times)| Some((what, times.parse().ok()?))) {
        Some((what, times)) => what.repeat(times).into_bytes(),
        None => text.as_bytes().to_vec(),
    }
}

/// One side of a connection, without anything behind it.
struct Receiver {
    callee: bool,
    last_id: u64,
    outstanding: Vec<u64>,
    seen: Seen,
}

/// What it answered, which calls of its own failed, and what the frames said.
#[derive(Default)]
struct Seen {
    answer: Vec<String>,
    fails: Vec<u64>,
    frames: Vec<Got>,
    /// The well-formed frames, written again.
    again: Vec<u8>,
    goaway: bool,
}

#[derive(Debug)]
enum Got {
    Request(u64, u32, Box<Request>),
    Response(&'static str, u64, Box<Response>),
    Other(Value),
}

/// The reason of a GOAWAY that ends the connection.
struct Broken(u8);

const MALFORMED: Broken = Broken(4);

impl Receiver {
    fn frame(&mut self, frame: Frame) -> Result<(), Broken> {
        let name = kind::name(frame.kind);
        let from_caller = matches!(frame.kind, kind::REQUEST | kind::CANCEL);
        let from_callee = matches!(frame.kind, kind::RESPONSE | kind::ACK | kind::PUSH);
        if (from_caller && !self.callee) || (from_callee && self.callee) {
            return Err(MALFORMED);
        }
        let id = frame.id().ok_or(MALFORMED)?;
        if id == 0 && (from_caller || from_callee) {
            return Err(MALFORMED);
        }
        match frame.kind {
            kind::REQUEST => self.request(id, frame.payload)?,
            kind::RESPONSE | kind::PUSH => self.response(name, frame)?,
            kind::ACK | kind::CANCEL | kind::PING | kind::PONG => {
                if frame.kind == kind::PING {
                    self.seen.answer.push(format!("PONG {id}"));
                }
                put_short(&mut self.seen.again, frame.kind, id);
                self.seen.frames.push(Got::Other(json!({"type": name, "id": id})));
            }
            kind::GOAWAY => {
                let goaway = decode_goaway(&frame.payload).map_err(|_| MALFORMED)?;
                put_goaway(&mut self.seen.again, &goaway);
                self.seen.goaway = true;
                let reason = goaway.reason.code();
                let got =
                    json!({"type": name, "reason": reason, "last_id": goaway.last_id, "text": goaway.text});
                self.seen.frames.push(Got::Other(got));
            }
            kind::SETTINGS => {
                let said = decode_settings(&frame.payload).map_err(|_| MALFORMED)?;
                put_settings(&mut self.seen.again, &said);
                let values = [
                    said.max_payload,
                    said.max_outstanding,
                    said.idle_timeout_ms,
                    said.compression,
                    said.features,
                ];
                let values: Map<String, Value> = (1..)
                    .zip(values)
                    .filter_map(|(key, value): (u16, _)| Some((key.to_string(), value?.into())))
                    .collect();
                self.seen.frames.push(Got::Other(json!({"type": name, "settings": values})));
            }
            other => panic!("{other} came through the frame codec"),
        }
        Ok(())
    }

    fn request(&mut self, id: u64, payload: Bytes) -> Result<(), Broken> {
        if id <= self.last_id {
            return Err(MALFORMED);
        }
        self.last_id = id;
        match decode_request(payload, &Limits::default()) {
            Ok(decoded) => {
                assert_eq!(decoded.id, id);
                let request = decoded.request;
                put_request_head(&mut self.seen.again, id, decoded.timeout_ms, &request).unwrap();
                self.seen.again.extend_from_slice(request.body());
                match request.mode() {
                    Mode::OneWay => {}
                    Mode::Async => self.seen.answer.extend([format!("ACK {id}"), format!("PUSH {id}")]),
                    _ => self.seen.answer.push(format!("RESPONSE {id}")),
                }
                self.seen.frames.push(Got::Request(id, decoded.timeout_ms, request.into()));
            }
            Err(error @ RequestError::Malformed { id, .. }) => {
                let code = Fault::from_error(&Error::from(error)).code();
                self.seen.answer.push(format!("RESPONSE {id} {code}"));
            }
            Err(RequestError::NoId) => return Err(MALFORMED),
        }
        Ok(())
    }

    fn response(&mut self, name: &'static str, frame: Frame) -> Result<(), Broken> {
        match decode_response(frame.payload) {
            Ok((id, response)) => {
                put_response_head(&mut self.seen.again, frame.kind, id, &response).unwrap();
                self.seen.again.extend_from_slice(response.body());
                self.seen.frames.push(Got::Response(name, id, response.into()));
            }
            Err(ResponseError::Malformed { id, .. }) if self.outstanding.contains(&id) => {
                self.seen.fails.push(id);
            }
            Err(ResponseError::Malformed { .. }) => {}
            Err(ResponseError::NoId) => return Err(MALFORMED),
        }
        Ok(())
    }
}

/// Feeds the bytes in pieces of a size; says what was seen, and how the connection stands after it.
fn receive(callee: bool, outstanding: &[u64], wire: &[u8], step: usize) -> (Seen, &'static str) {
    let mut receiver =
        Receiver { callee, last_id: 0, outstanding: outstanding.to_vec(), seen: Seen::default() };
    let (mut codec, mut src) = (FrameCodec::new(), BytesMut::new());
    for piece in wire.chunks(step) {
        src.extend_from_slice(piece);
        loop {
            let broken = match codec.decode(&mut src) {
                Ok(None) => break,
                Ok(Some(frame)) => receiver.frame(frame).err(),
                Err(FrameCodecError::Frame(error)) => Some(Broken(error.reason().code())),
                Err(other) => panic!("{other}"),
            };
            if let Some(Broken(reason)) = broken {
                receiver.seen.answer.push(format!("GOAWAY {reason}"));
                return (receiver.seen, "closed");
            }
        }
    }
    let then = match codec.decode_eof(&mut src) {
        Err(FrameCodecError::Io(_)) => "waiting",
        Ok(None) if receiver.seen.goaway => "any",
        Ok(None) => "open",
        other => panic!("{other:?}"),
    };
    (receiver.seen, then)
}

fn check_metadata(got: &Metadata, want: &Value) {
    let want = want.as_array().unwrap();
    assert_eq!(got.iter().count(), want.len());
    for ((key, value), pair) in got.iter().zip(want) {
        assert_eq!((key, value), (pair[0].as_str().unwrap(), &bytes(pair[1].as_str().unwrap())[..]));
    }
}

fn check_context(got: &Context, want: &Map<String, Value>) {
    for (member, want) in want {
        let field = Field::ALL.into_iter().find(|field| field.key() == member);
        match (member.as_str(), field) {
            ("priority", _) => assert_eq!(u64::from(got.priority().level()), *want),
            ("attempt", _) => assert_eq!(u64::from(got.attempt()), *want),
            ("trace_id", _) => assert_eq!(got.trace_id_text().unwrap(), *want),
            (_, Some(field)) => assert_eq!(got.field(field).unwrap(), want.as_str().unwrap()),
            (other, None) => panic!("{other}"),
        }
    }
}

fn check_frame(got: &Got, want: &Value) {
    match got {
        Got::Request(id, timeout_ms, request) => {
            assert_eq!((text(want, "type"), want["id"].as_u64()), ("REQUEST", Some(*id)));
            assert_eq!(want["timeout_ms"], *timeout_ms);
            assert_eq!(want["codec"], request.codec().0);
            let mode = match request.mode() {
                Mode::OneWay => "one-way",
                Mode::Async => "asynchronous",
                _ => "unary",
            };
            assert_eq!(want["mode"], mode);
            assert_eq!(want["idempotent"], request.context().is_idempotent());
            assert_eq!(request.method().as_bytes(), bytes(text(want, "method")));
            assert_eq!(request.body()[..], bytes(text(want, "body")));
            check_metadata(request.metadata(), &want["metadata"]);
            for (key, value) in want["get"].as_object().into_iter().flatten() {
                assert_eq!(request.metadata().get_str(key), value.as_str());
            }
            if let Some(context) = want["context"].as_object() {
                check_context(request.context(), context);
            }
        }
        Got::Response(name, id, response) => {
            assert_eq!((text(want, "type"), want["id"].as_u64()), (*name, Some(*id)));
            assert_eq!(want["status"], if response.is_fault() { "fault" } else { "ok" });
            assert_eq!(want["codec"], response.codec().0);
            assert_eq!(response.body()[..], bytes(text(want, "body")));
            check_metadata(response.metadata(), &want["metadata"]);
        }
        Got::Other(got) => assert_eq!(got, want),
    }
}

fn check(vector: &Value, callee: bool, wire: &[u8], step: usize) {
    let outstanding: Vec<u64> =
        vector["outstanding"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    let (seen, then) = receive(callee, &outstanding, wire, step);
    assert_eq!(json!(seen.answer), vector["answer"]);
    assert_eq!(then, text(vector, "then"));
    let fails = vector["fails"].as_array().cloned().unwrap_or_default();
    assert_eq!(json!(seen.fails), json!(fails));
    let refused = seen.answer.iter().any(|answer| answer.contains("GOAWAY") || answer.contains("MCP-"));
    let valid = !refused && fails.is_empty() && then != "waiting";
    assert_eq!(vector["valid"], valid);
    let frames = vector["frames"].as_array().cloned().unwrap_or_default();
    assert_eq!(seen.frames.len(), frames.len(), "{:?}", seen.frames);
    for (got, want) in seen.frames.iter().zip(&frames) {
        check_frame(got, want);
    }
    if vector["canonical"] == true {
        assert_eq!(seen.again, wire, "written again");
    }
}

#[test]
fn frames() {
    let vectors = vectors(include_str!("../vectors/frames.json"));
    for vector in &vectors {
        let wire = unhex(text(vector, "hex"));
        let sides: &[bool] = match text(vector, "to") {
            "callee" => &[true],
            "caller" => &[false],
            "either" => &[true, false],
            other => panic!("{other}"),
        };
        for callee in sides {
            // Whole, one byte at a time, and in pieces that cut header and payload.
            for step in [wire.len().max(1), 1, 7] {
                if step == 1 && wire.len() > 100_000 {
                    continue;
                }
                println!("{} (callee: {callee}, step {step})", vector["name"]);
                check(vector, *callee, &wire, step);
            }
        }
    }
}

/// So that a row of the table of violations, or a type, cannot go missing unnoticed.
#[test]
fn every_answer_and_every_type_has_a_vector() {
    let vectors = vectors(include_str!("../vectors/frames.json"));
    let answers: Vec<&str> =
        vectors.iter().flat_map(|v| v["answer"].as_array().unwrap()).map(|a| a.as_str().unwrap()).collect();
    for answer in ["GOAWAY 1", "GOAWAY 2", "GOAWAY 3", "GOAWAY 4", "GOAWAY 5", "RESPONSE 1 MCP-E-001"] {
        assert!(answers.contains(&answer), "{answer}");
    }
    let wires: Vec<Vec<u8>> = vectors.iter().map(|v| unhex(text(v, "hex"))).collect();
    for kind in (kind::REQUEST..=kind::SETTINGS).chain([kind::EXTENSIONS, 0xff]) {
        for valid in [true, false] {
            let there =
                vectors.iter().zip(&wires).any(|(v, wire)| v["valid"] == valid && wire.get(3) == Some(&kind));
            assert!(there || (kind == 0xff && !valid), "type {kind:02x}, valid: {valid}");
        }
    }
    let mut names: Vec<&str> = vectors.iter().map(|v| text(v, "name")).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), vectors.len());
}

#[test]
fn faults() {
    for vector in vectors(include_str!("../vectors/faults.json")) {
        println!("{}", vector["name"]);
        let mut response = Response::new(Bytes::from(bytes(text(&vector, "body"))));
        response.set_status(towpath_core::Status::Fault);
        response.set_codec(CodecId(vector["codec"].as_u64().unwrap() as u8));
        let read = Fault::from_response(&response);
        assert_eq!(vector["valid"], read.is_ok(), "{read:?}");
        let Ok(fault) = read else { continue };
        let got = json!({
            "code": fault.code().as_str(),
            "message": fault.message(),
            "cause": fault.cause().map(|code| code.to_string()),
            "trace_id": fault.trace_id(),
            "retry_after_ms": fault.retry_after().map(|after| after.as_millis() as u64),
            "not_processed": fault.not_processed(),
            "chain": fault.chain().iter().map(|code| code.to_string()).collect::<Vec<_>>(),
        });
        assert_eq!(got, vector["fault"]);
        if vector["canonical"] == true {
            let again = fault.into_response(response.codec());
            assert_eq!((again.codec(), again.body()), (response.codec(), response.body()));
        }
    }
}

/// The worked call of `docs/protocol.md`, so that the page cannot drift from the code.
#[test]
fn the_worked_call() {
    let page = include_str!("../../../docs/protocol.md");
    let (_, section) = page.split_once("## One call, byte by byte").unwrap();
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let frames: Vec<Vec<u8>> = section
        .split("```")
        .skip(1)
        .step_by(2)
        .map(|block| {
            // What stands before two spaces is hex, what stands after them is said about it.
            let hex = block.lines().skip(1).map(|line| line.split("  ").next().unwrap_or_default());
            unhex(&hex.collect::<Vec<_>>().join(" "))
        })
        .collect();
    let [request, response] = &frames[..] else { panic!("{} blocks", frames.len()) };

    let body = Bytes::from_static(br#"{"id":1001}"#);
    let mut call = Request::new("UserService.GetUserInfo", body);
    call.set_codec(CodecId::JSON);
    call.context_mut().set_idempotent(true);
    call.metadata_mut().insert("tenant", "blue").unwrap();
    let written = Frame::request(1, 500, &call).unwrap();
    assert_eq!(written.payload, request[HEADER_LEN..]);

    let mut answer = Response::new(Bytes::from_static(br#"{"id":1001,"name":"Ada"}"#));
    answer.set_codec(CodecId::JSON);
    let written = Frame::response(kind::RESPONSE, 1, &answer).unwrap();
    assert_eq!(written.payload, response[HEADER_LEN..]);

    for (callee, wire) in [(true, request), (false, response)] {
        let (seen, then) = receive(callee, &[1], wire, 1);
        assert_eq!((seen.frames.len(), then, &seen.again), (1, "open", wire));
    }
}
