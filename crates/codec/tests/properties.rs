//! Things that hold for any bytes and any message.

// Helpers of tests may fail as loudly as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, option, prelude::*};
use std::ops::Range;
use tokio_util::codec::{Decoder, Encoder};
use towpath_codec::{
    Compressed, Decode, Encode, EncodeError, Frame, FrameCodec, FrameCodecError, FrameHeader, GoAway,
    GoAwayReason, HEADER_LEN, Json, Limits, Protobuf, Raw, RequestError, ResponseError, Settings,
    decode_goaway, decode_request, decode_response, decode_settings, id, kind, put_request_head,
    put_response_head,
};
use towpath_core::{
    CodecId, Context, ErrorKind, InvalidMethod, Mode, Priority, Processed, Request, Response, Status,
    context::{Field, SpanId, TraceContext, TraceId},
};

fn metadata() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    vec(("x-[a-z0-9_.-]{0,12}", vec(any::<u8>(), 0..40)), 0..4)
}

fn context() -> impl Strategy<Value = Context> {
    let trace = option::of((1u128.., 1u64.., any::<u8>()));
    let fields = vec(option::weighted(0.2, vec(any::<u8>(), 0..30)), Field::ALL.len());
    (trace, any::<bool>(), 0u8..8, option::of(any::<u16>()), fields).prop_map(
        |(trace, idempotent, priority, attempt, fields)| {
            let mut context = Context::new();
            context.set_trace(trace.map(|(trace_id, span_id, flags)| TraceContext {
                trace_id: TraceId(trace_id),
                span_id: SpanId(span_id),
                flags,
            }));
            context.set_idempotent(idempotent);
            context.set_priority(Priority::new(priority));
            context.set_attempt(attempt.unwrap_or(0));
            for (field, value) in Field::ALL.into_iter().zip(fields) {
                let value = match (field, value) {
                    // One or the other: a foreign trace id is what a call has instead of W3C's. And it is
                    // printable, or it counts as none.
                    (Field::TraceText, Some(text)) if context.trace().is_none() && !text.is_empty() => {
                        Some(text.iter().map(|byte| b'!' + byte % 94).collect())
                    }
                    (Field::TraceText, _) => None,
                    (_, value) => value,
                };
                context.set_field(field, value.map(Bytes::from));
            }
            context
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let mode = prop_oneof![Just(Mode::Unary), Just(Mode::OneWay), Just(Mode::Async)];
    ("\\PC{1,40}", context(), metadata(), any::<u8>(), mode, vec(any::<u8>(), 0..200)).prop_map(
        |(method, context, metadata, codec, mode, body)| {
            let mut request = Request::with_context(method, context, Bytes::from(body));
            for (key, value) in metadata {
                request.metadata_mut().insert(&key, value).unwrap();
            }
            request.set_codec(CodecId(codec));
            request.set_mode(mode);
            request
        },
    )
}

fn response() -> impl Strategy<Value = Response> {
    (any::<bool>(), metadata(), any::<u8>(), vec(any::<u8>(), 0..200)).prop_map(
        |(fault, metadata, codec, body)| {
            let mut response = Response::new(Bytes::from(body));
            for (key, value) in metadata {
                response.metadata_mut().insert(&key, value).unwrap();
            }
            response.set_status(if fault { Status::Fault } else { Status::Ok });
            response.set_codec(CodecId(codec));
            response
        },
    )
}

/// Frames of all types, and extensions.
fn frame() -> impl Strategy<Value = Frame> {
    let short = prop_oneof![Just(kind::ACK), Just(kind::PING), Just(kind::PONG), Just(kind::CANCEL)];
    let goaway = (any::<u8>(), any::<u64>(), "\\PC{0,40}");
    let settings = (option::of(any::<u32>()), option::of(any::<u32>()), option::of(any::<u32>()));
    prop_oneof![
        (1u64.., any::<u32>(), request()).prop_map(|(id, ms, r)| Frame::request(id, ms, &r).unwrap()),
        (1u64.., response()).prop_map(|(id, r)| Frame::response(kind::RESPONSE, id, &r).unwrap()),
        (1u64.., response()).prop_map(|(id, r)| Frame::response(kind::PUSH, id, &r).unwrap()),
        (short, any::<u64>()).prop_map(|(kind, id)| Frame::short(kind, id)),
        goaway.prop_map(|(code, last_id, text)| {
            Frame::goaway(&GoAway { reason: GoAwayReason::from_code(code), last_id, text })
        }),
        settings.prop_map(|(max_payload, idle_timeout_ms, features)| {
            Frame::settings(&Settings { max_payload, idle_timeout_ms, features, ..Settings::default() })
        }),
        (kind::EXTENSIONS.., vec(any::<u8>(), 0..300))
            .prop_map(|(kind, payload)| Frame { kind, payload: payload.into() }),
    ]
}

fn written(frames: &[Frame]) -> BytesMut {
    let (mut codec, mut wire) = (FrameCodec::new(), BytesMut::new());
    for frame in frames {
        codec.encode(frame.clone(), &mut wire).unwrap();
    }
    wire
}

/// Everything that reads, on the same bytes.
fn read_all(payload: &Bytes) {
    let _ = id(payload);
    let _ = decode_goaway(payload);
    let _ = decode_settings(payload);
    for allow_compressed in [false, true] {
        let _ = decode_request(payload.clone(), &Limits { allow_compressed, ..Limits::default() });
    }
    let _ = decode_response(payload.clone());
    let _: Result<serde_json::Value, _> = Json.decode(payload);
    let _: Result<String, _> = Raw.decode(payload);
    let _: Result<Item, _> = Protobuf.decode(payload);
}

fn inside(whole: &Bytes, part: &[u8]) -> bool {
    let range = |bytes: &[u8]| -> Range<usize> {
        let at = bytes.as_ptr() as usize;
        at..at + bytes.len()
    };
    let (whole, part) = (range(whole), range(part));
    part.is_empty() || (whole.start <= part.start && part.end <= whole.end)
}

proptest! {
    #[test]
    fn a_request_comes_back(sent in request(), call in 1u64.., timeout_ms: u32) {
        let frame = Frame::request(call, timeout_ms, &sent).unwrap();
        let payload = frame.payload.clone();
        let back = decode_request(frame.payload, &Limits::default()).unwrap();
        prop_assert_eq!((back.id, back.timeout_ms), (call, timeout_ms));
        let got = back.request;
        prop_assert_eq!(got.method(), sent.method());
        prop_assert_eq!((got.codec(), got.mode(), got.body()), (sent.codec(), sent.mode(), sent.body()));
        for (key, value) in sent.metadata() {
            prop_assert_eq!(got.metadata().get(key), Some(value));
        }
        let (got_context, context) = (got.context(), sent.context());
        prop_assert_eq!(got_context.trace(), context.trace());
        prop_assert_eq!(got_context.priority(), context.priority());
        prop_assert_eq!(got_context.attempt(), context.attempt());
        prop_assert_eq!(got_context.is_idempotent(), context.is_idempotent());
        prop_assert_eq!(got_context.deadline(), None);
        for field in Field::ALL {
            prop_assert_eq!(got_context.field(field), context.field(field));
        }
        // Nothing was copied.
        prop_assert!(inside(&payload, got.method().as_bytes()));
        prop_assert!(inside(&payload, got.metadata().as_wire()));
        prop_assert!(inside(&payload, got.body()));
        // Who passes it on as it is sends the same, however often.
        prop_assert_eq!(Frame::request(call, timeout_ms, &got).unwrap().payload, payload);
    }

    #[test]
    fn an_answer_comes_back(sent in response(), call in 1u64..) {
        let payload = Frame::response(kind::RESPONSE, call, &sent).unwrap().payload;
        let (id, got) = decode_response(payload.clone()).unwrap();
        prop_assert_eq!(id, call);
        prop_assert_eq!((got.status(), got.codec(), got.body()), (sent.status(), sent.codec(), sent.body()));
        prop_assert_eq!(got.metadata(), sent.metadata());
        prop_assert!(inside(&payload, got.metadata().as_wire()) && inside(&payload, got.body()));
    }

    #[test]
    fn frames_come_back_however_they_are_cut(frames in vec(frame(), 1..6), cuts in vec(1usize..40, 1..20)) {
        let mut wire = written(&frames);
        let mut codec = FrameCodec::new().with_extensions();
        let (mut src, mut got, mut cuts) = (BytesMut::new(), Vec::new(), cuts.into_iter().cycle());
        while !wire.is_empty() {
            let cut = cuts.next().unwrap().min(wire.len());
            src.extend_from_slice(&wire.split_to(cut));
            while let Some(frame) = codec.decode(&mut src).unwrap() {
                got.push(frame);
            }
        }
        prop_assert_eq!(&got, &frames);
        prop_assert!(codec.decode_eof(&mut src).unwrap().is_none());
    }

    #[test]
    fn extensions_are_skipped_and_never_held(frames in vec(frame(), 1..6)) {
        let wire = written(&frames);
        let (mut codec, mut src, mut got) = (FrameCodec::new(), BytesMut::new(), Vec::new());
        for byte in wire {
            src.extend_from_slice(&[byte]);
            while let Some(frame) = codec.decode(&mut src).unwrap() {
                got.push(frame);
            }
        }
        let known: Vec<_> = frames.into_iter().filter(|frame| frame.kind < kind::EXTENSIONS).collect();
        prop_assert_eq!(got, known);
    }

    #[test]
    fn an_end_within_a_frame_is_no_clean_end(frame in frame(), left_out in 1usize..400) {
        let mut wire = written(&[frame]);
        let keep = wire.len().saturating_sub(left_out).max(1);
        wire.truncate(keep);
        let mut codec = FrameCodec::new();
        let end = codec.decode(&mut wire).and_then(|none| {
            assert!(none.is_none());
            codec.decode_eof(&mut wire)
        });
        prop_assert!(matches!(end, Err(FrameCodecError::Io(_))), "{end:?}");
    }

    #[test]
    fn any_bytes_are_read_or_refused(raw in vec(any::<u8>(), 0..300)) {
        read_all(&Bytes::from(raw.clone()));
        let (mut codec, mut src) = (FrameCodec::new(), BytesMut::from(&raw[..]));
        while let Ok(Some(frame)) = codec.decode(&mut src) {
            read_all(&frame.payload);
        }
    }

    /// Closer to home than bytes at random: good frames with some bytes changed.
    #[test]
    fn damaged_frames_are_read_or_refused(
        frames in vec(frame(), 1..3),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut wire = written(&frames);
        for (at, byte) in damage {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        let mut codec = FrameCodec::new();
        while let Ok(Some(frame)) = codec.decode(&mut wire) {
            read_all(&frame.payload);
        }
    }

    #[test]
    fn a_declared_length_allocates_nothing(kind in 1u8..=9, len in 1u32 << 20.., there in 0usize..64) {
        let mut src = BytesMut::new();
        src.extend_from_slice(&FrameHeader { kind, len }.to_bytes());
        src.extend_from_slice(&vec![0; there]);
        let mut codec = FrameCodec::with_max_payload(u32::MAX);
        prop_assert!(codec.decode(&mut src).unwrap().is_none());
        prop_assert!(src.capacity() <= 128 << 10, "{} bytes", src.capacity());
    }

    #[test]
    fn any_header_is_read_or_refused(raw: [u8; HEADER_LEN], max: u32) {
        if let Ok(header) = FrameHeader::parse(&raw, max) {
            prop_assert!(header.len <= max);
            prop_assert_eq!(header.to_bytes(), raw);
        }
    }

    #[test]
    fn bodies_come_back(text in "\\PC{0,3000}", number: i64, blob in vec(any::<u8>(), 0..3000)) {
        let value = serde_json::json!({"text": text, "number": number});
        let json: serde_json::Value = Json.decode(&Json.to_body(&value).unwrap()).unwrap();
        prop_assert_eq!(json, value);
        let item = Item { name: text.clone(), blob: blob.clone().into() };
        let body = Protobuf.to_body(&item).unwrap();
        let back: Item = Protobuf.decode(&body).unwrap();
        prop_assert!(inside(&body, &back.blob), "bytes share the body");
        prop_assert_eq!(back, item);
        let raw: Bytes = Raw.decode(&Raw.to_body(&blob).unwrap()).unwrap();
        prop_assert_eq!(raw, blob);
        let raw: String = Raw.decode(&Raw.to_body(&text).unwrap()).unwrap();
        prop_assert_eq!(raw, text);
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Item {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    blob: Bytes,
}

#[test]
fn what_cannot_be_sent_leaves_the_buffer_as_it_was() {
    let mut out = b"before".to_vec();
    for (name, why) in [("", InvalidMethod::Empty), (&*"m".repeat(65_536), InvalidMethod::TooLong)] {
        let request = Request::new(name.to_owned(), Bytes::new());
        let error = put_request_head(&mut out, 1, 0, &request).unwrap_err();
        assert_eq!(error, EncodeError::BadMethod(why));
        assert_eq!(towpath_core::Error::from(error).kind(), ErrorKind::Malformed);
        assert_eq!(out, b"before");
    }
    let mut out = BytesMut::from("before");
    let frame = Frame { kind: kind::PING, payload: Bytes::from(vec![0; 101]) };
    let error = FrameCodec::with_max_payload(100).encode(frame, &mut out).unwrap_err();
    assert!(matches!(error, FrameCodecError::Encode(EncodeError::TooLarge { len: 101, max: 100 })));
    assert_eq!(out, "before");
}

#[test]
fn a_call_without_an_id_is_no_call() {
    for len in [0, 7, 8, 20, 40] {
        let payload = Bytes::from(vec![0; len]);
        assert_eq!(decode_request(payload.clone(), &Limits::default()).unwrap_err(), RequestError::NoId);
        assert_eq!(decode_response(payload).unwrap_err(), ResponseError::NoId);
    }
    let error = towpath_core::Error::from(ResponseError::Malformed { id: 1, why: "x" });
    assert_eq!(error.processed(), Processed::Unknown);
}

#[test]
fn heads_are_appended_and_count_the_body() {
    let mut out = b"before".to_vec();
    let body = Bytes::from_static(b"body");
    let mut request = Request::new("A.B", body.clone());
    request.context_mut().set_priority(Priority::HIGHEST);
    put_request_head(&mut out, 1, 0, &request).unwrap();
    let header = FrameHeader::parse(out[6..14].try_into().unwrap(), 1000).unwrap();
    assert_eq!((header.kind, header.len as usize), (kind::REQUEST, out.len() - 14 + body.len()));
    let before = out.len();
    put_response_head(&mut out, kind::PUSH, 1, &Response::new(body)).unwrap();
    assert_eq!(out[before..before + 8], FrameHeader { kind: kind::PUSH, len: 20 }.to_bytes());
}

#[test]
fn compression_needs_permission_and_is_passed_on() {
    let mut request = Request::new("A.B", Bytes::from_static(b"\x01\0\0\0\0"));
    request.extensions_mut().insert(Compressed);
    let payload = Frame::request(1, 0, &request).unwrap().payload;
    assert!(decode_request(payload.clone(), &Limits::default()).is_err());
    let allowed = Limits { allow_compressed: true, ..Limits::default() };
    let back = decode_request(payload.clone(), &allowed).unwrap().request;
    assert_eq!(back.extensions().get::<Compressed>(), Some(&Compressed));
    assert_eq!(Frame::request(1, 0, &back).unwrap().payload, payload);
}

#[test]
fn a_body_that_cannot_be_read_says_why() {
    let error = Decode::<u32>::decode(&Json, &Bytes::from_static(b"\"x\"")).unwrap_err();
    let text = error.to_string();
    assert!(error.is_decode() && text.contains("JSON") && text.contains("expected u32"), "{text}");
    assert_eq!(towpath_core::Error::from(error).kind(), ErrorKind::Undecodable);
    let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = Json.to_body(&keys).unwrap_err();
    assert!(!error.is_decode(), "{error}");
    assert_eq!(towpath_core::Error::from(error).kind(), ErrorKind::Malformed);
    let deep = Bytes::from("[".repeat(100_000));
    assert!(Decode::<serde_json::Value>::decode(&Json, &deep).is_err());
}
