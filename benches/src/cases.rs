//! What the program `codec` measures: writing and reading, one frame or one body at a time.

use crate::{
    Failure,
    order::{Order, order},
    timing::Work,
};
use bytes::Bytes;
use towpath_codec::{
    Decode, Encode, Frame, Json, Limits, Protobuf, Raw, decode_request, decode_response, kind,
    put_request_head, put_response_head,
};
use towpath_core::{CodecId, Context, Priority, Request, Response, context::TraceContext};

const METHOD: &str = "OrderService.PlaceOrder";

/// What a call carries that is traced, prioritised, authorised and told apart by tenant.
pub(crate) fn heavy_request(body: Bytes) -> Result<Request, Failure> {
    let mut context = Context::new();
    context.set_trace(TraceContext::parse_traceparent(
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ));
    context.set_priority(Priority::HIGHEST);
    let mut request = Request::with_context(METHOD, context, body);
    for (key, value) in [
        ("authorization", "Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxMDAxIn0.c2lnbmF0dXJl"),
        ("tenant", "north-4"),
        ("client-version", "storefront/4.12.0"),
        ("locale", "en-GB"),
        ("request-source", "checkout"),
        ("experiment", "b-17"),
    ] {
        request.metadata_mut().insert(key, value)?;
    }
    Ok(request)
}

/// All of them, ready to run.
///
/// # Errors
/// If one of the values cannot be written: a defect.
pub fn cases() -> Result<Vec<Work<'static>>, Failure> {
    let body = Bytes::from(vec![7u8; 64]).clone();
    let plain = Request::new(METHOD, body.clone());
    let heavy = heavy_request(body.clone())?;
    let mut answer = Response::new(body);
    answer.set_codec(CodecId::PROTOBUF);
    let (plain_frame, heavy_frame) = (Frame::request(1, 500, &plain)?, Frame::request(1, 500, &heavy)?);
    let answer_frame = Frame::response(kind::RESPONSE, 1, &answer)?;
    let order = order();
    let (json, protobuf) = (Json.to_body(&order)?, Protobuf.to_body(&order)?);
    let (order_2, protobuf_2) = (order.clone(), protobuf.clone());

    let mut works = vec![
        writing("request of 64 B, written", move |out| {
            put_request_head(out, 1, 500, &plain).map(|()| out.extend_from_slice(plain.body()))
        }),
        Work::new("request of 64 B, read", move || {
            decode_request(plain_frame.payload.clone(), &Limits::default())
        }),
        writing("the same with trace, priority and 6 entries, written", move |out| {
            put_request_head(out, 1, 500, &heavy).map(|()| out.extend_from_slice(heavy.body()))
        }),
        Work::new("the same with trace, priority and 6 entries, read", move || {
            decode_request(heavy_frame.payload.clone(), &Limits::default())
        }),
        writing("response of 64 B, written", move |out| {
            put_response_head(out, kind::RESPONSE, 1, &answer).map(|()| out.extend_from_slice(answer.body()))
        }),
        Work::new("response of 64 B, read", move || decode_response(answer_frame.payload.clone())),
    ];
    works.extend([
        Work::new("order as JSON, written", move || Json.to_body(&order)),
        Work::new("order as JSON, read", move || Decode::<Order>::decode(&Json, &json)),
        Work::new("order as Protobuf, written", move || Protobuf.to_body(&order_2)),
        Work::new("order as Protobuf, read", move || Decode::<Order>::decode(&Protobuf, &protobuf)),
        Work::new("order as bytes, passed on", move || Raw.to_body(&protobuf_2)),
    ]);
    Ok(works)
}

/// Into a buffer that is used over and over, as a connection's is.
fn writing<E: 'static>(
    name: &'static str,
    mut write: impl FnMut(&mut Vec<u8>) -> Result<(), E> + 'static,
) -> Work<'static> {
    let mut out = Vec::with_capacity(64 << 10);
    Work::new(name, move || {
        if out.len() > 60 << 10 {
            out.clear();
        }
        write(&mut out)
    })
}
