//! Codec 1.

use super::codec::{BodyCodec, BodyError, Decode, Encode};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use towpath_core::CodecId;

/// JSON, by serde: codec 1.
///
/// ```
/// use towpath_codec::{Decode, Encode, Json};
/// let body = Json.to_body(&("apples", 3))?;
/// assert_eq!(body, r#"["apples",3]"#);
/// let (what, count): (String, u32) = Json.decode(&body)?;
/// assert_eq!((what.as_str(), count), ("apples", 3));
/// # Ok::<(), towpath_codec::BodyError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

impl BodyCodec for Json {
    const ID: CodecId = CodecId::JSON;
    const NAME: &'static str = "JSON";
}

impl<T: Serialize + ?Sized> Encode<T> for Json {
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), BodyError> {
        serde_json::to_writer(out, value).map_err(BodyError::encode::<Self>)
    }
}

impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(&self, body: &Bytes) -> Result<T, BodyError> {
        serde_json::from_slice(body).map_err(BodyError::decode::<Self>)
    }
}
