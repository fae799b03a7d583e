//! Codec 0.

use super::codec::{BodyCodec, BodyError, Decode, Encode};
use bytes::Bytes;
use towpath_core::CodecId;

/// Bytes as they are: codec 0. `Bytes` are shared, never copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raw;

impl BodyCodec for Raw {
    const ID: CodecId = CodecId::RAW;
    const NAME: &'static str = "raw bytes";
}

macro_rules! encode_as_bytes {
    ($($t:ty),*) => {$(
        impl Encode<$t> for Raw {
            fn encode(&self, value: &$t, out: &mut Vec<u8>) -> Result<(), BodyError> {
                let bytes: &[u8] = value.as_ref();
                out.extend_from_slice(bytes);
                Ok(())
            }
        }
    )*};
}

encode_as_bytes!([u8], Vec<u8>, str, String);

impl Encode<Bytes> for Raw {
    fn encode(&self, value: &Bytes, out: &mut Vec<u8>) -> Result<(), BodyError> {
        out.extend_from_slice(value);
        Ok(())
    }

    fn to_body(&self, value: &Bytes) -> Result<Bytes, BodyError> {
        Ok(value.clone())
    }
}

impl Decode<Bytes> for Raw {
    fn decode(&self, body: &Bytes) -> Result<Bytes, BodyError> {
        Ok(body.clone())
    }
}

impl Decode<Vec<u8>> for Raw {
    fn decode(&self, body: &Bytes) -> Result<Vec<u8>, BodyError> {
        Ok(body.to_vec())
    }
}

impl Decode<String> for Raw {
    fn decode(&self, body: &Bytes) -> Result<String, BodyError> {
        std::str::from_utf8(body).map(str::to_owned).map_err(BodyError::decode::<Self>)
    }
}
