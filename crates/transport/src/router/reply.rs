//! What becomes an answer.

use bytes::Bytes;
use towpath_core::{
    CodecId, Context, Fault, Metadata, Request, Response,
    context::{Field, TraceId},
};

/// What an answer has to know of its call: the codec that it came in, and its trace.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    codec: CodecId,
    trace: Option<TraceId>,
    /// A trace id that is not W3C's, as it came.
    foreign: Option<Bytes>,
}

impl ReplyTo {
    /// Notes what the answer to a call has to know. Costs no allocation.
    #[inline]
    pub fn new<B>(request: &Request<B>) -> Self {
        let context: &Context = request.context();
        ReplyTo {
            codec: request.codec(),
            trace: context.trace().map(|trace| trace.trace_id),
            foreign: context.field(Field::TraceText).cloned(),
        }
    }

    /// The codec of the call's body.
    pub fn codec(&self) -> CodecId {
        self.codec
    }

    /// A fault as the answer: in Protobuf if the call was, in JSON otherwise. It keeps the trace id that
    /// it has; one without gets the call's.
    pub fn fault(&self, fault: impl Into<Fault>) -> Response {
        let mut fault = fault.into();
        if fault.trace_id().is_none() {
            if let Some(foreign) = &self.foreign {
                fault = fault.with_trace_id(String::from_utf8_lossy(foreign));
            } else if let Some(trace) = self.trace {
                fault = fault.with_trace_id(trace.to_string());
            }
        }
        fault.into_response(self.codec)
    }
}

/// What a handler may return.
///
/// | returned | answer |
/// | --- | --- |
/// | [`Json<T>`](super::Json), [`Protobuf<T>`](super::Protobuf) | `T` in that codec |
/// | [`Encoded<C, T>`](super::Encoded) | `T` in the application's codec `C` |
/// | [`Typed<T>`](super::Typed) | `T` in Protobuf if the call was, in JSON otherwise |
/// | [`Bytes`], `String`, `&'static str` | these bytes, raw |
/// | [`Raw`](super::Raw) | these bytes, in the codec it names |
/// | `()` | nothing, in the call's codec: `null` in JSON, no bytes otherwise |
/// | [`Response`] | itself |
/// | [`Fault`] | the fault |
/// | `Result<T, E>`, `E: Into<Fault>` | one or the other |
/// | `(Metadata, T)` | `T` with these metadata entries; they replace `T`'s own |
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a handler's answer",
    note = "return `Json<T>`, `Protobuf<T>`, `Bytes`, `()`, `Response`, or a `Result` of one of these \
            whose error is `Into<Fault>`"
)]
pub trait IntoResponse {
    /// Makes the answer.
    fn into_response(self, to: &ReplyTo) -> Response;
}

impl IntoResponse for Response {
    #[inline]
    fn into_response(self, _: &ReplyTo) -> Response {
        self
    }
}

impl IntoResponse for Bytes {
    #[inline]
    fn into_response(self, _: &ReplyTo) -> Response {
        Response::new(self)
    }
}

impl IntoResponse for String {
    fn into_response(self, _: &ReplyTo) -> Response {
        Response::new(self.into())
    }
}

impl IntoResponse for &'static str {
    fn into_response(self, _: &ReplyTo) -> Response {
        Response::new(Bytes::from_static(self.as_bytes()))
    }
}

impl IntoResponse for () {
    fn into_response(self, to: &ReplyTo) -> Response {
        let body = if to.codec == CodecId::JSON { Bytes::from_static(b"null") } else { Bytes::new() };
        let mut response = Response::new(body);
        response.set_codec(to.codec);
        response
    }
}

impl IntoResponse for Fault {
    fn into_response(self, to: &ReplyTo) -> Response {
        to.fault(self)
    }
}

impl<T: IntoResponse, E: Into<Fault>> IntoResponse for Result<T, E> {
    #[inline]
    fn into_response(self, to: &ReplyTo) -> Response {
        match self {
            Ok(answer) => answer.into_response(to),
            Err(fault) => to.fault(fault),
        }
    }
}

impl<T: IntoResponse> IntoResponse for (Metadata, T) {
    fn into_response(self, to: &ReplyTo) -> Response {
        let (metadata, answer) = self;
        let mut response = answer.into_response(to);
        *response.metadata_mut() = metadata;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_core::{ErrorCode, context::TraceContext};

    fn to(codec: CodecId) -> ReplyTo {
        let mut request = Request::new("A.B", Bytes::new());
        request.set_codec(codec);
        ReplyTo::new(&request)
    }

    fn fault() -> Fault {
        Fault::new(ErrorCode::from_static("ORD-E-102"), "no")
    }

    #[test]
    fn nothing_is_nothing_in_the_call_s_codec() {
        for (codec, body) in [(CodecId::JSON, "null"), (CodecId::PROTOBUF, ""), (CodecId::RAW, "")] {
            let response = ().into_response(&to(codec));
            assert_eq!((response.codec(), &response.body()[..]), (codec, body.as_bytes()));
        }
    }

    #[test]
    fn a_fault_is_json_unless_the_call_was_protobuf() {
        for (asked, answered) in [
            (CodecId::RAW, CodecId::JSON),
            (CodecId::JSON, CodecId::JSON),
            (CodecId(16), CodecId::JSON),
            (CodecId::PROTOBUF, CodecId::PROTOBUF),
        ] {
            let response = Err::<(), _>(fault()).into_response(&to(asked));
            assert!(response.is_fault());
            assert_eq!(response.codec(), answered, "{asked}");
            assert_eq!(Fault::from_response(&response).unwrap().code(), fault().code());
        }
    }

    #[test]
    fn a_fault_gets_the_call_s_trace_id_and_keeps_its_own() {
        let read = |response: Response| {
            Fault::from_response(&response).unwrap().trace_id().map(ToString::to_string).unwrap()
        };
        let mut request = Request::new("A.B", Bytes::new());
        let trace = TraceContext::random(true);
        request.context_mut().set_trace(Some(trace));
        let w3c = ReplyTo::new(&request);
        assert_eq!(read(w3c.fault(fault())), trace.trace_id.to_string());
        assert_eq!(read(w3c.fault(fault().with_trace_id("from-below"))), "from-below");
        request.context_mut().set_field(Field::TraceText, Some(Bytes::from_static(b"a1b2c3d4")));
        assert_eq!(read(ReplyTo::new(&request).fault(fault())), "a1b2c3d4");
    }

    #[test]
    fn metadata_rides_along() {
        let mut metadata = Metadata::new();
        metadata.insert("degraded", "stale").unwrap();
        let response = (metadata, "x").into_response(&to(CodecId::RAW));
        assert_eq!(response.metadata().get_str("degraded"), Some("stale"));
        assert_eq!(&response.body()[..], b"x");
    }
}
