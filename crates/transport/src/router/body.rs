//! Bodies as arguments and as answers, by codec.

use super::{
    extract::FromRequest,
    reject,
    reply::{IntoResponse, ReplyTo},
};
use bytes::Bytes;
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};
use towpath_codec::{BodyCodec, Decode, Encode};
use towpath_core::{CodecId, Fault, Request, Response};

/// A body in JSON. As an argument it takes codec 1 only (MCP-E-005 otherwise); a body that is not a `T` is
/// refused (MCP-E-006). As an answer it is codec 1; a `T` that serde cannot write is MCP-E-009.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// A body in Protocol Buffers. As an argument it takes codec 2 only (MCP-E-005 otherwise); a body that is
/// not a `T` is refused (MCP-E-006). As an answer it is codec 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protobuf<T>(pub T);

/// A body in whichever of the two the caller likes, for a `T` that is both serde's and prost's. As an
/// argument it takes codecs 1 and 2 (MCP-E-005 otherwise). As an answer it is Protobuf if the call was,
/// JSON otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Typed<T>(pub T);

/// A body as it is, with its codec: taken and given back undecoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    /// How the body is encoded.
    pub codec: CodecId,
    /// The body.
    pub body: Bytes,
}

/// A body in a codec of the application's own, `C`. As an argument it takes `C`'s id only (MCP-E-005
/// otherwise); a body that is not a `T` is refused (MCP-E-006). As an answer it is in `C`; a `T` that `C`
/// cannot write is MCP-E-009.
pub struct Encoded<C, T> {
    /// What the body says.
    pub value: T,
    codec: PhantomData<fn() -> C>,
}

impl<C, T> Encoded<C, T> {
    /// A value to be written in `C`.
    pub fn new(value: T) -> Self {
        Encoded { value, codec: PhantomData }
    }
}

impl<C: BodyCodec, T: fmt::Debug> fmt::Debug for Encoded<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("codec", &C::NAME).field("value", &self.value).finish()
    }
}

/// Reads a body, if it is in codec `C`.
fn read<C: Decode<T>, T>(codec: &C, request: &Request) -> Result<T, Fault> {
    if request.codec() == C::ID {
        decode(codec, request)
    } else {
        Err(reject::unsupported_codec(request.method(), C::NAME, request.codec()))
    }
}

fn decode<C: Decode<T>, T>(codec: &C, request: &Request) -> Result<T, Fault> {
    codec.decode(request.body()).map_err(|why| reject::undecodable(request.method(), &why))
}

fn write<C: Encode<T>, T>(codec: &C, value: &T, to: &ReplyTo) -> Response {
    match codec.to_body(value) {
        Ok(body) => encoded(C::ID, body),
        Err(why) => to.fault(reject::unwritable(&why)),
    }
}

fn encoded(codec: CodecId, body: Bytes) -> Response {
    let mut response = Response::new(body);
    response.set_codec(codec);
    response
}

impl<S, T: DeserializeOwned> FromRequest<S> for Json<T> {
    const CODECS: Option<&'static [CodecId]> = Some(&[CodecId::JSON]);

    fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        read(&towpath_codec::Json, &request).map(Json)
    }
}

impl<S, T: Message + Default> FromRequest<S> for Protobuf<T> {
    const CODECS: Option<&'static [CodecId]> = Some(&[CodecId::PROTOBUF]);

    fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        read(&towpath_codec::Protobuf, &request).map(Protobuf)
    }
}

impl<S, T: DeserializeOwned + Message + Default> FromRequest<S> for Typed<T> {
    const CODECS: Option<&'static [CodecId]> = Some(&[CodecId::JSON, CodecId::PROTOBUF]);

    fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        match request.codec() {
            CodecId::JSON => decode(&towpath_codec::Json, &request).map(Typed),
            CodecId::PROTOBUF => decode(&towpath_codec::Protobuf, &request).map(Typed),
            other => Err(reject::unsupported_codec(request.method(), "JSON or Protobuf", other)),
        }
    }
}

impl<S, T, C: Decode<T> + Default> FromRequest<S> for Encoded<C, T> {
    const CODECS: Option<&'static [CodecId]> = Some(&[C::ID]);

    fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        read(&C::default(), &request).map(Encoded::new)
    }
}

impl<S> FromRequest<S> for Raw {
    #[inline]
    fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        Ok(Raw { codec: request.codec(), body: request.into_body() })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self, to: &ReplyTo) -> Response {
        write(&towpath_codec::Json, &self.0, to)
    }
}

impl<T: Message> IntoResponse for Protobuf<T> {
    fn into_response(self, to: &ReplyTo) -> Response {
        write(&towpath_codec::Protobuf, &self.0, to)
    }
}

impl<T: Serialize + Message> IntoResponse for Typed<T> {
    fn into_response(self, to: &ReplyTo) -> Response {
        match to.codec() {
            CodecId::PROTOBUF => write(&towpath_codec::Protobuf, &self.0, to),
            _ => write(&towpath_codec::Json, &self.0, to),
        }
    }
}

impl<T, C: Encode<T> + Default> IntoResponse for Encoded<C, T> {
    fn into_response(self, to: &ReplyTo) -> Response {
        write(&C::default(), &self.value, to)
    }
}

impl IntoResponse for Raw {
    #[inline]
    fn into_response(self, _: &ReplyTo) -> Response {
        encoded(self.codec, self.body)
    }
}

macro_rules! transparent {
    ($($wrapper:ident)*) => {$(
        impl<T> Deref for $wrapper<T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.0
            }
        }

        impl<T> DerefMut for $wrapper<T> {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.0
            }
        }

        impl<T> From<T> for $wrapper<T> {
            fn from(value: T) -> Self {
                $wrapper(value)
            }
        }
    )*};
}

transparent!(Json Protobuf Typed);

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use towpath_codec::BodyError;

    #[derive(Clone, PartialEq, Serialize, Deserialize, Message)]
    struct User {
        #[prost(uint64, tag = "1")]
        id: u64,
        #[prost(bytes = "bytes", tag = "2")]
        #[serde(skip)]
        photo: Bytes,
    }

    fn user(id: u64) -> User {
        User { id, photo: Bytes::from_static(b"photo") }
    }

    fn request(codec: CodecId, body: impl Into<Bytes>) -> Request {
        let mut request = Request::new("UserService.Get", body.into());
        request.set_codec(codec);
        request
    }

    fn refusal<T: FromRequest<()>>(codec: CodecId, body: &'static str) -> Fault {
        match T::from_request(request(codec, body), &()) {
            Ok(_) => panic!("taken"),
            Err(fault) => fault,
        }
    }

    #[test]
    fn each_takes_its_codec_only() {
        for (fault, takes) in [
            (refusal::<Json<User>>(CodecId::RAW, "{}"), "JSON"),
            (refusal::<Protobuf<User>>(CodecId::JSON, "{}"), "Protobuf"),
            (refusal::<Typed<User>>(CodecId(16), "{}"), "JSON or Protobuf"),
        ] {
            assert_eq!(fault.code(), "MCP-E-005");
            let says = format!("UserService.Get takes {takes}, and the body is ");
            assert!(fault.message().starts_with(&says), "{fault}");
        }
    }

    #[test]
    fn a_body_that_is_something_else_is_refused() {
        for fault in [
            refusal::<Json<User>>(CodecId::JSON, "{}"),
            refusal::<Json<User>>(CodecId::JSON, r#"{"id":1} and more"#),
            refusal::<Typed<User>>(CodecId::JSON, ""),
            refusal::<Protobuf<User>>(CodecId::PROTOBUF, "\u{8}"),
            refusal::<Typed<User>>(CodecId::PROTOBUF, "\u{8}"),
        ] {
            assert_eq!(fault.code(), "MCP-E-006");
            assert!(fault.message().starts_with("UserService.Get: the body cannot be read as "), "{fault}");
        }
        let fault = refusal::<Json<User>>(CodecId::JSON, "{}");
        assert!(fault.message().contains("missing field `id`"), "{fault}");
    }

    #[test]
    fn typed_answers_as_it_was_asked() {
        for (asked, answered) in [
            (CodecId::JSON, CodecId::JSON),
            (CodecId::PROTOBUF, CodecId::PROTOBUF),
            (CodecId::RAW, CodecId::JSON),
        ] {
            let response = Typed(user(7)).into_response(&ReplyTo::new(&request(asked, "")));
            assert_eq!(response.codec(), answered);
            let again = Typed::<User>::from_request(request(answered, response.into_body()), &()).unwrap();
            assert_eq!(again.id, 7);
        }
    }

    #[test]
    fn an_application_has_codecs_of_its_own() {
        #[derive(Default)]
        struct LittleEndian;
        impl BodyCodec for LittleEndian {
            const ID: CodecId = CodecId(16);
            const NAME: &'static str = "little-endian";
        }
        impl Encode<u16> for LittleEndian {
            fn encode(&self, value: &u16, out: &mut Vec<u8>) -> Result<(), BodyError> {
                out.extend_from_slice(&value.to_le_bytes());
                Ok(())
            }
        }
        impl Decode<u16> for LittleEndian {
            fn decode(&self, body: &Bytes) -> Result<u16, BodyError> {
                let raw = body[..].try_into().map_err(|_| BodyError::decode::<Self>("not 2 bytes"))?;
                Ok(u16::from_le_bytes(raw))
            }
        }
        type Short = Encoded<LittleEndian, u16>;
        assert_eq!(Short::from_request(request(CodecId(16), "ab"), &()).unwrap().value, 0x6261);
        assert_eq!(refusal::<Short>(CodecId(17), "ab").code(), "MCP-E-005");
        assert_eq!(refusal::<Short>(CodecId(16), "a").code(), "MCP-E-006");
        let response = Short::new(0x6261).into_response(&ReplyTo::new(&request(CodecId::JSON, "")));
        assert_eq!((response.codec(), &response.body()[..]), (CodecId(16), &b"ab"[..]));
    }

    #[test]
    fn bytes_of_a_message_are_slices_of_the_body() {
        let body = Bytes::from(user(1).encode_to_vec());
        let Protobuf(read) =
            Protobuf::<User>::from_request(request(CodecId::PROTOBUF, body.clone()), &()).unwrap();
        assert!(body.as_ptr_range().contains(&read.photo.as_ptr()));
    }

    #[test]
    fn an_answer_that_cannot_be_written_is_a_failed_handler() {
        let map = std::collections::BTreeMap::from([((1, 2), 3)]);
        let response = Json(map).into_response(&ReplyTo::new(&request(CodecId::JSON, "")));
        let fault = Fault::from_response(&response).unwrap();
        assert_eq!(fault.code(), "MCP-E-009");
        assert!(!fault.not_processed() && fault.message().contains("written as JSON"), "{fault}");
    }
}
