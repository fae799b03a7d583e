//! The three claims that this design was made on, each against what a plain program does.

use crate::{
    Failure,
    cases::heavy_request,
    order::{Order, order},
    timing::Work,
};
use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, hint::black_box, io::Read};
use towpath_codec::{
    Decode, Encode, Frame, FrameHeader, HEADER_LEN, Json, Limits, Protobuf, decode_request, put_request_head,
};
use towpath_core::Request;
use towpath_transport::bench::{Incoming, Outgoing};

/// What is claimed.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// In words.
    pub what: &'static str,
    /// How many times as fast.
    pub speed: f64,
    /// How much less memory, in percent.
    pub memory: f64,
}

/// Binary frames against JSON.
pub const BINARY: Claim = Claim { what: "binary, not JSON", speed: 3.2, memory: 60.0 };
/// Buffers used again against a fresh one for each frame.
pub const REUSE: Claim = Claim { what: "buffers reused", speed: 1.8, memory: 45.0 };
/// Slices of what was read against copies of it.
pub const ZERO_COPY: Claim = Claim { what: "decoded without copies", speed: 2.1, memory: 55.0 };

/// The same work done twice.
#[derive(Debug)]
pub struct Duel {
    /// What this is about.
    pub claim: Claim,
    /// Which work.
    pub case: &'static str,
    /// Whether the claim is judged by it; the others show where it ends.
    pub judged: bool,
    /// Done plainly, and done our way.
    pub works: [Work<'static>; 2],
}

/// All of them.
///
/// # Errors
/// If one of the values cannot be written: a defect.
pub fn duels() -> Result<Vec<Duel>, Failure> {
    let mut duels = binary()?;
    duels.extend(reuse()?);
    duels.extend(zero_copy()?);
    Ok(duels)
}

/// An envelope in JSON, all of it: what a program sends that knows serde and nothing else.
#[derive(Serialize, Deserialize)]
struct Envelope<'a, B> {
    id: u64,
    timeout_ms: u32,
    method: Cow<'a, str>,
    metadata: Cow<'a, BTreeMap<String, String>>,
    body: B,
}

/// A call with an order, from the value to the bytes and back.
fn binary() -> Result<Vec<Duel>, Failure> {
    let request = heavy_request(Bytes::new())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entries = request.metadata().iter().map(|(key, value)| (text(key.as_ref()), text(value)));
    let mut metadata: BTreeMap<String, String> = entries.collect();
    // In ours these two are fields of the context.
    metadata.insert("priority".to_owned(), request.context().priority().level().to_string());
    let trace = request.context().trace().map(|trace| text(&trace.traceparent()));
    metadata.insert("traceparent".to_owned(), trace.unwrap_or_default());
    let method = text(request.method().as_bytes());
    let envelope = |order| -> Envelope<'static, Order> {
        let (method, metadata) = (Cow::Owned(method.clone()), Cow::Owned(metadata.clone()));
        Envelope { id: 4711, timeout_ms: 500, method, metadata, body: order }
    };

    let plain_frame = Bytes::from(serde_json::to_vec(&envelope(order()))?);
    let with_body = |body: Bytes| {
        let mut request = request.clone();
        *request.body_mut() = body;
        request
    };
    let protobuf = Frame::request(4711, 500, &with_body(Protobuf.to_body(&order())?))?.payload;
    let json = Frame::request(4711, 500, &with_body(Json.to_body(&order())?))?.payload;
    let plainly_written = || {
        let envelope = envelope(order());
        Work::new("plain", move || serde_json::to_vec(&envelope))
    };
    let plainly_read = || {
        let frame = plain_frame.clone();
        Work::new("plain", move || serde_json::from_slice::<Envelope<'static, Order>>(&frame))
    };
    let both = |case, judged, works| Duel { claim: BINARY, case, judged, works };
    let mut duels = envelopes()?;
    duels.extend([
        both(
            "a typed order in a call with 8 entries, written",
            true,
            [plainly_written(), written(request.clone(), Protobuf)],
        ),
        both("the same, read", true, [plainly_read(), read(protobuf, Protobuf)]),
        both("the same, its body still JSON, written", false, [plainly_written(), written(request, Json)]),
        both("the same, its body still JSON, read", false, [plainly_read(), read(json, Json)]),
    ]);
    Ok(duels)
}

/// A call whose body is a text that is not looked into: the envelope alone.
fn envelopes() -> Result<Vec<Duel>, Failure> {
    let mut duels = Vec::new();
    for (size, written, read) in [
        (64, "a call with 64 B of text, written", "a call with 64 B of text, read"),
        (1024, "a call with 1 KiB of text, written", "a call with 1 KiB of text, read"),
    ] {
        let body = "lorem ipsum dolor sit amet, ".repeat(40)[..size].to_owned();
        let request = Request::new("OrderService.PlaceOrder", Bytes::from(body.clone().into_bytes()).clone());
        let payload = Frame::request(4711, 500, &request)?.payload;
        let envelope = Envelope {
            id: 4711,
            timeout_ms: 500,
            method: Cow::Borrowed("OrderService.PlaceOrder"),
            metadata: Cow::Owned(BTreeMap::new()),
            body,
        };
        let plain = serde_json::to_vec(&envelope)?;
        let mut out = Vec::with_capacity(64 << 10);
        let write = move || {
            if out.len() > 60 << 10 {
                out.clear();
            }
            put_request_head(&mut out, 4711, 500, &request).map(|()| out.extend_from_slice(request.body()))
        };
        let works = [Work::new("plain", move || serde_json::to_vec(&envelope)), Work::new("ours", write)];
        duels.push(Duel { claim: BINARY, case: written, judged: true, works });
        let works = [
            Work::new("plain", move || serde_json::from_slice::<Envelope<'static, String>>(&plain)),
            Work::new("ours", move || decode_request(payload.clone(), &Limits::default())),
        ];
        duels.push(Duel { claim: BINARY, case: read, judged: true, works });
    }
    Ok(duels)
}

/// As a client does it: the body to the thread's scratch buffer, the frame to the connection's.
fn written<C: Encode<Order> + 'static>(mut request: Request, codec: C) -> Work<'static> {
    let (order, mut out) = (order(), Vec::with_capacity(64 << 10));
    Work::new("ours", move || {
        if out.len() > 60 << 10 {
            out.clear();
        }
        *request.body_mut() = codec.to_body(&order).ok()?;
        put_request_head(&mut out, 4711, 500, &request).ok()?;
        out.extend_from_slice(request.body());
        Some(out.len())
    })
}

/// As a server does it, whose router decodes the body.
fn read<C: Decode<Order> + 'static>(payload: Bytes, codec: C) -> Work<'static> {
    Work::new("ours", move || {
        let decoded = decode_request(payload.clone(), &Limits::default()).ok()?;
        let order = codec.decode(decoded.request.body()).ok()?;
        Some((decoded, order))
    })
}

fn reuse() -> Result<Vec<Duel>, Failure> {
    let mut duels = Vec::new();
    for (size, count, judged, written, read) in [
        (64, 64, true, "64 frames of 64 B, written", "64 frames of 64 B, read"),
        (1024, 64, true, "64 frames of 1 KiB, written", "64 frames of 1 KiB, read"),
        (64 << 10, 4, true, "4 frames of 64 KiB, written", "4 frames of 64 KiB, read"),
    ] {
        let request = Request::new("OrderService.PlaceOrder", Bytes::from(vec![7u8; size]).clone());
        let frames = wire(&request, count)?;
        let duel = |case, works| Duel { claim: REUSE, case, judged, works };
        duels.push(duel(written, [fresh_writing(request.clone(), count), reused_writing(request, count)]));
        duels.push(duel(read, [fresh_reading(frames.clone()), reused_reading(frames)]));
    }
    Ok(duels)
}

/// A batch of frames, as it comes from the socket.
fn wire(request: &Request, count: u64) -> Result<Bytes, Failure> {
    let mut wire = Vec::new();
    for id in 1..=count {
        put_request_head(&mut wire, id, 500, request)?;
        wire.extend_from_slice(request.body());
    }
    Ok(Bytes::from(wire))
}

/// A buffer for each frame, of the right size at once; they wait for the task that writes them.
fn fresh_writing(request: Request, count: u64) -> Work<'static> {
    let mut queue = Vec::new();
    Work::new("plain", move || {
        for id in 1..=count {
            let mut frame = Vec::with_capacity(64 + request.body().len());
            let _ = put_request_head(&mut frame, id, 500, &request);
            frame.extend_from_slice(request.body());
            queue.push(frame);
        }
        queue.drain(..).for_each(|frame| drop(black_box(frame)));
    })
}

/// All into the queue of a connection, which writes them together.
fn reused_writing(request: Request, count: u64) -> Work<'static> {
    let mut out = Outgoing::default();
    Work::new("ours", move || {
        for id in 1..=count {
            let _ = out.push(id, 500, &request);
        }
        out.write(tokio::io::sink())
    })
}

/// The header, then a buffer of the length that it says, filled. (Of a socket with a read buffer in front of it, or
/// each of these would be a system call.)
fn fresh_reading(frames: Bytes) -> Work<'static> {
    Work::new("plain", move || {
        let mut socket = std::io::BufReader::with_capacity(64 << 10, &frames[..]);
        let mut header = [0; HEADER_LEN];
        while socket.read_exact(&mut header).is_ok() {
            let Ok(header) = FrameHeader::parse(&header, 1 << 20) else { break };
            let mut payload = vec![0; header.len as usize];
            if socket.read_exact(&mut payload).is_err() {
                break;
            }
            drop(black_box(payload));
        }
    })
}

/// As a connection reads.
fn reused_reading(frames: Bytes) -> Work<'static> {
    let mut incoming = Incoming::default();
    Work::new("ours", move || incoming.read_all(&frames[..], |payload| drop(black_box(payload))))
}

/// What a program keeps that keeps nothing of the buffer.
struct Copied {
    _id: u64,
    _timeout_ms: u32,
    _method: String,
    _metadata: Vec<(String, Vec<u8>)>,
    _body: Vec<u8>,
}

fn zero_copy() -> Result<Vec<Duel>, Failure> {
    let plain = |size| Request::new("OrderService.PlaceOrder", Bytes::from(vec![7u8; size]));
    let order = Protobuf.to_body(&order())?;
    let mut duels = Vec::new();
    for (case, request, judged) in [
        ("a request of 64 B", plain(64), true),
        ("a request of 4 KiB", plain(4 << 10), true),
        ("a request of 64 KiB", plain(64 << 10), true),
        ("an order with trace, priority and 6 entries", heavy_request(order)?, true),
    ] {
        let payload = Frame::request(1, 500, &request)?.payload;
        let same = payload.clone();
        let works = [
            Work::new("plain", move || copy(&payload)),
            Work::new("ours", move || decode_request(same.clone(), &Limits::default())),
        ];
        duels.push(Duel { claim: ZERO_COPY, case, judged, works });
    }
    Ok(duels)
}

/// The same layout, read field by field into values of their own.
fn copy(mut payload: &[u8]) -> Option<Copied> {
    let id = payload.try_get_u64().ok()?;
    let timeout_ms = payload.try_get_u32().ok()?;
    let (_codec, _flags) = (payload.try_get_u8().ok()?, payload.try_get_u8().ok()?);
    let method_len = usize::from(payload.try_get_u16().ok()?);
    let metadata_len = payload.try_get_u32().ok()? as usize;
    let (method, rest) = payload.split_at_checked(method_len)?;
    let (mut entries, body) = rest.split_at_checked(metadata_len)?;
    let mut metadata = Vec::new();
    while !entries.is_empty() {
        let key_len = usize::from(entries.try_get_u16().ok()?);
        let value_len = entries.try_get_u32().ok()? as usize;
        let (key, rest) = entries.split_at_checked(key_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        metadata.push((String::from_utf8(key.to_vec()).ok()?, value.to_vec()));
        entries = rest;
    }
    Some(Copied {
        _id: id,
        _timeout_ms: timeout_ms,
        _method: String::from_utf8(method.to_vec()).ok()?,
        _metadata: metadata,
        _body: body.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_a_duel_do_their_work() {
        for mut duel in duels().unwrap() {
            duel.works.iter_mut().for_each(|work| work.repeat(3));
        }
        let request = heavy_request(Bytes::from_static(b"body")).unwrap();
        let payload = Frame::request(7, 500, &request).unwrap().payload;
        let copied = copy(&payload).unwrap();
        let ours = decode_request(payload.clone(), &Limits::default()).unwrap();
        assert_eq!((copied._id, copied._timeout_ms), (ours.id, ours.timeout_ms));
        assert_eq!(copied._metadata.len(), ours.request.metadata().iter().count());
        assert_eq!(
            (copied._method.as_bytes(), &copied._body[..]),
            (&b"OrderService.PlaceOrder"[..], &b"body"[..])
        );
        assert!(copy(&payload[..payload.len() - 8]).is_none());
    }

    #[test]
    fn what_is_written_can_be_read() {
        let request = heavy_request(Protobuf.to_body(&order()).unwrap()).unwrap();
        let payload = Frame::request(7, 500, &request).unwrap().payload;
        let back = decode_request(payload, &Limits::default()).unwrap();
        assert_eq!(Decode::<Order>::decode(&Protobuf, back.request.body()).unwrap(), order());
        assert_eq!(Decode::<Order>::decode(&Json, &Json.to_body(&order()).unwrap()).unwrap(), order());
    }
}
