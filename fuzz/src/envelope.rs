//! Payloads of all types: what can be read, written and read again, says the same.

use super::{memory, script::Script};
use bytes::Bytes;
use towpath_codec::{
    Compressed, DecodedRequest, Frame, HEADER_LEN, Limits, RequestError, ResponseError, decode_goaway,
    decode_request, decode_response_with, decode_settings, kind, put_goaway, put_settings,
};
use towpath_core::{Request, Response, context::Field};

/// First byte: limits. The rest is a payload, read as every type.
pub fn check(data: &[u8]) {
    let mut script = Script::new(data);
    let options = script.byte();
    let payload = Bytes::copy_from_slice(script.rest());
    let limits = Limits {
        max_metadata: [0, 20, 65_536, u32::MAX][usize::from(options & 3)],
        allow_compressed: options & 4 != 0,
        max_body: if options & 8 != 0 { 100 } else { 1 << 20 },
    };
    let read = || {
        request(&payload, &limits);
        response(&payload, limits.allow_compressed.then_some(limits.max_body));
        control(&payload);
    };
    memory::within(read, |()| (64 << 10) + 16 * payload.len());
}

fn request(payload: &Bytes, limits: &Limits) {
    let id = towpath_codec::id(payload);
    let first = match decode_request(payload.clone(), limits) {
        Ok(first) => first,
        Err(RequestError::NoId) => return assert!(matches!(id, None | Some(0))),
        Err(RequestError::Malformed { id: of, .. }) => return assert_eq!(Some(of), id),
    };
    assert_eq!(Some(first.id), id);
    assert!(first.request.metadata().as_wire().len() <= limits.max_metadata as usize);
    // What the context says is written in the order and the form of this crate: the same in other words, and
    // seldom a little longer.
    let wide = Limits { max_metadata: u32::MAX, ..*limits };
    let written = written(&first);
    let second = decode_request(written.clone(), &wide).expect("what was written can be read");
    assert_eq!((second.id, second.timeout_ms), (first.id, first.timeout_ms));
    same_request(&first.request, &second.request);
    // A second hop changes nothing any more.
    let again = self::written(&second);
    let third = decode_request(again.clone(), &wide).expect("read once more");
    same_request(&second.request, &third.request);
    assert_eq!(self::written(&third), again);
}

fn written(decoded: &DecodedRequest) -> Bytes {
    Frame::request(decoded.id, decoded.timeout_ms, &decoded.request)
        .expect("what was read can be written")
        .payload
}

fn same_request(one: &Request, other: &Request) {
    assert_eq!(one.method(), other.method());
    assert_eq!((one.codec(), one.mode(), one.body()), (other.codec(), other.mode(), other.body()));
    assert_eq!(one.extensions().get::<Compressed>(), other.extensions().get::<Compressed>());
    let (a, b) = (one.context(), other.context());
    assert_eq!((a.trace(), a.priority(), a.attempt()), (b.trace(), b.priority(), b.attempt()));
    assert_eq!((a.is_idempotent(), a.deadline()), (b.is_idempotent(), b.deadline()));
    for field in Field::ALL {
        assert_eq!(a.field(field), b.field(field), "{field:?}");
    }
    // The entries that mean nothing to the stack travel as they are; of the others, the context is the word.
    let reserved = |key: &str| {
        matches!(key, "traceparent" | "span-id" | "priority" | "retry-attempt")
            || Field::ALL.into_iter().any(|field| field.key() == key)
    };
    for (key, _) in one.metadata().iter().filter(|(key, _)| !reserved(key)) {
        assert_eq!(one.metadata().get(key), other.metadata().get(key), "{key}");
    }
}

fn response(payload: &Bytes, compressed: Option<u32>) {
    let id = towpath_codec::id(payload);
    let (of, first) = match decode_response_with(payload.clone(), compressed) {
        Ok(first) => first,
        Err(ResponseError::NoId) => return assert!(matches!(id, None | Some(0))),
        Err(ResponseError::Malformed { id: of, .. }) => return assert_eq!(Some(of), id),
    };
    assert_eq!(Some(of), id);
    let written = Frame::response(kind::PUSH, of, &first).expect("what was read can be written").payload;
    let (again, second) =
        decode_response_with(written.clone(), compressed).expect("what was written can be read");
    assert_eq!(again, of);
    same_response(&first, &second);
    // But for flags that nobody knows, byte by byte.
    assert_eq!((&written[..10], &written[12..]), (&payload[..10], &payload[12..]));
}

fn same_response(one: &Response, other: &Response) {
    assert_eq!((one.status(), one.codec()), (other.status(), other.codec()));
    assert_eq!((one.metadata(), one.body()), (other.metadata(), other.body()));
    assert_eq!(one.extensions().get::<Compressed>(), other.extensions().get::<Compressed>());
}

fn control(payload: &Bytes) {
    let mut out = Vec::new();
    if let Ok(goaway) = decode_goaway(payload) {
        put_goaway(&mut out, &goaway);
        let again = decode_goaway(&out[HEADER_LEN..]).expect("what was written can be read");
        // A text that was no UTF-8 grows when it is shown, and is cut again.
        assert_eq!((again.reason, again.last_id), (goaway.reason, goaway.last_id));
        assert!(goaway.text.starts_with(&again.text));
    } else {
        assert!(payload.len() < 17);
    }
    out.clear();
    if let Ok(settings) = decode_settings(payload) {
        put_settings(&mut out, &settings);
        assert_eq!(decode_settings(&out[HEADER_LEN..]), Ok(settings));
    } else {
        assert!(payload.len() < 8 || !(payload.len() - 8).is_multiple_of(6));
    }
}
