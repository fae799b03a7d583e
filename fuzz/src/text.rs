//! Everything else that reads what strangers wrote: faults, traces, addresses, codes, names, values.

use super::{memory, script::Script};
use bytes::Bytes;
use std::{str, time::Duration};
use towpath_codec::{Decode, Json, Protobuf, Raw, declared_len, decompress};
use towpath_core::{Brief, CodecId, ErrorCode, Fault, Method, Response, Status, context::TraceContext};
use towpath_transport::Address;

/// First byte: which reader. The rest is for it.
pub fn check(data: &[u8]) {
    let mut script = Script::new(data);
    let reader = script.byte();
    let rest = script.rest();
    let read = || match reader % 8 {
        0 => fault(CodecId::JSON, rest),
        1 => fault(CodecId::PROTOBUF, rest),
        2 => traceparent(rest),
        3 => address(rest),
        4 => code(rest),
        5 => method(rest),
        6 => bodies(rest),
        _ => compressed(rest),
    };
    // A small text can be many small values.
    memory::within(read, |()| (256 << 10) + 256 * rest.len());
}

fn fault_response(codec: CodecId, body: Bytes) -> Response {
    let mut response = Response::new(body);
    response.set_status(Status::Fault);
    response.set_codec(codec);
    response
}

fn fault(codec: CodecId, body: &[u8]) {
    let response = fault_response(codec, Bytes::copy_from_slice(body));
    let brief = Brief::from_response(&response);
    let Ok(first) = Fault::from_response(&response) else { return };
    // Who decides by the short reading decides as by the long one.
    let brief = brief.expect("what can be read whole can be read in short");
    assert_eq!((brief.code, brief.not_processed), (first.code(), first.not_processed()));
    assert_eq!(brief.retry_after, first.retry_after());
    for codec in [CodecId::JSON, CodecId::PROTOBUF] {
        let written = first.clone().into_response(codec);
        assert_eq!(written.codec(), codec);
        let again = Fault::from_response(&written).expect("what was written can be read");
        assert_eq!(
            (again.code(), again.cause(), again.chain()),
            (first.code(), first.cause(), first.chain())
        );
        assert_eq!(again.not_processed(), first.not_processed());
        // Longer than what is worth passing on is cut.
        assert!(first.message().starts_with(again.message()));
        assert!(first.message().len() > 60_000 || again.message() == first.message());
        if let Some(trace_id) = first.trace_id().filter(|id| !id.is_empty()) {
            assert!(trace_id.starts_with(again.trace_id().expect("a trace id")));
        }
        // On the wire it is whole milliseconds in 32 bits; and in Protobuf, 0 is not there.
        let (least, most) = (u64::from(codec == CodecId::PROTOBUF), u64::from(u32::MAX));
        let wire = |after: Duration| after.clamp(Duration::from_millis(least), Duration::from_millis(most));
        assert_eq!(again.retry_after(), first.retry_after().map(wire));
        let twice = again.clone().into_response(codec);
        assert_eq!(twice.body(), written.body(), "a second hop changes nothing");
    }
    if let Ok(error) = first.clone().into_error() {
        assert!(first.code().is_mcp());
        let on = Fault::from_error(&error);
        assert!(on.code().is_mcp());
        let _ = (error.to_string(), format!("{error:?}"));
    } else {
        assert!(!first.code().is_mcp());
    }
}

fn traceparent(text: &[u8]) {
    let Some(trace) = TraceContext::parse_traceparent(text) else { return };
    assert!(trace.trace_id.0 != 0 && trace.span_id.0 != 0);
    let written = trace.traceparent();
    assert_eq!(TraceContext::parse_traceparent(&written), Some(trace));
    // A later version may say more; what is understood of it is the same.
    assert_eq!(written[2..], text[2..55]);
    assert!(text.starts_with(b"00-") == (written[..] == *text) || text.len() > 55);
}

fn address(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    match text.parse::<Address>() {
        Ok(address) => {
            let shown = address.to_string();
            assert_eq!(shown.parse::<Address>().as_ref(), Ok(&address), "{text:?} is shown as {shown:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn code(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    let Ok(code) = text.parse::<ErrorCode>() else { return };
    assert_eq!(code.as_str(), text);
    let (domain, rest) = text.split_once('-').expect("a dash");
    let (level, number) = rest.split_once('-').expect("two");
    assert_eq!(
        (code.domain(), code.number().to_string()),
        (domain, number.parse::<u16>().expect("digits").to_string())
    );
    assert!((2..=8).contains(&domain.len()) && ["E", "W"].contains(&level) && number.len() == 3);
}

fn method(name: &[u8]) {
    let Ok(method) = Method::try_from_bytes(Bytes::copy_from_slice(name)) else {
        return assert!(name.is_empty() || name.len() > Method::MAX_LEN || str::from_utf8(name).is_err());
    };
    assert_eq!((method.as_bytes(), Ok(method.as_str())), (name, str::from_utf8(name)));
    match method.as_str().rfind('.') {
        Some(dot) => assert_eq!(format!("{}.{}", method.service(), method.name()).len(), name.len(), "{dot}"),
        None => assert_eq!((method.service(), method.name()), ("", method.as_str())),
    }
}

fn bodies(body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    let json: Result<serde_json::Value, _> = Json.decode(&body);
    if let Err(error) = json {
        let _ = error.to_string();
    }
    let text: Result<String, _> = Raw.decode(&body);
    assert_eq!(text.is_ok(), str::from_utf8(&body).is_ok());
    let bytes: Result<Bytes, _> = Raw.decode(&body);
    assert_eq!(bytes.ok(), Some(body.clone()));
    let number: Result<u64, _> = Protobuf.decode(&body);
    let _ = number.map_err(|error| error.to_string());
}

/// Whatever it declares: no more than is allowed, and exactly that.
fn compressed(body: &[u8]) {
    for max in [0, 100, 1 << 16] {
        if let Ok(plain) = decompress(body, max) {
            assert!(plain.len() <= max as usize);
            assert_eq!(declared_len(body).map(|len| len as usize).ok(), Some(plain.len()));
        }
    }
}
