//! Codec 2.

use super::codec::{BodyCodec, BodyError, Decode, Encode};
use bytes::Bytes;
use prost::Message;
use towpath_core::CodecId;

/// Protocol Buffers, by prost: codec 2. Fields of type `Bytes` share the body's buffer when read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protobuf;

impl BodyCodec for Protobuf {
    const ID: CodecId = CodecId::PROTOBUF;
    const NAME: &'static str = "Protobuf";
}

impl<T: Message> Encode<T> for Protobuf {
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), BodyError> {
        value.encode(out).map_err(BodyError::encode::<Self>)
    }
}

impl<T: Message + Default> Decode<T> for Protobuf {
    fn decode(&self, body: &Bytes) -> Result<T, BodyError> {
        T::decode(body.clone()).map_err(BodyError::decode::<Self>)
    }
}
