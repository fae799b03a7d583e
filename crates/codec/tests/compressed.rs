//! The test vectors of compressed bodies, on both sides: in a request, and in an answer.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use towpath_codec::{
    Compressed, Frame, Limits, decode_request, decode_response, decode_response_with, decompress, kind,
    put_response_head,
};
use towpath_core::{Request, Response};

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// `a*9` is a letter nine times.
fn plain(text: &str) -> String {
    match text.split_once('*') {
        Some((what, times)) => what.repeat(times.parse().unwrap()),
        None => text.to_owned(),
    }
}

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../vectors/compressed.json")).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

#[test]
fn in_a_request_and_in_an_answer() {
    let vectors = vectors();
    let valid = vectors.iter().filter(|vector| vector["plain"].is_string()).count();
    assert!(valid >= 6 && vectors.len() >= 20);
    for vector in vectors {
        let (name, body) = (&vector["name"], unhex(vector["hex"].as_str().unwrap()));
        let want = vector["plain"].as_str().map(plain);

        let mut request = Request::new("A.B", body.clone().into());
        request.extensions_mut().insert(Compressed);
        let payload = Frame::request(1, 0, &request).unwrap().payload;
        assert!(decode_request(payload.clone(), &Limits::default()).is_err(), "{name}: not announced");
        let allowed = Limits { allow_compressed: true, ..Limits::default() };
        let got = decode_request(payload, &allowed).ok().and_then(|decoded| {
            assert!(decoded.request.extensions().get::<Compressed>().is_some());
            decompress(decoded.request.body(), allowed.max_body).ok()
        });
        assert_eq!(got.as_deref(), want.as_ref().map(String::as_bytes), "{name}");

        let mut response = Response::new(body.clone().into());
        response.extensions_mut().insert(Compressed);
        let mut frame = Vec::new();
        put_response_head(&mut frame, kind::RESPONSE, 1, &response).unwrap();
        frame.extend_from_slice(&body);
        let payload = bytes::Bytes::from(frame.split_off(8));
        assert!(decode_response(payload.clone()).is_err(), "{name}: not announced");
        let got = decode_response_with(payload, Some(16 << 20)).ok().and_then(|(_, response)| {
            assert!(response.extensions().get::<Compressed>().is_some());
            decompress(response.body(), 16 << 20).ok()
        });
        assert_eq!(got.as_deref(), want.as_ref().map(String::as_bytes), "{name}");
    }
}
