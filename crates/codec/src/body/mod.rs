//! How values become bodies: [`Json`], [`Protobuf`], [`Raw`], and what an application adds.

mod codec;
mod json;
mod protobuf;
mod raw;
mod scratch;

pub use codec::{BodyCodec, BodyError, Decode, Encode};
pub use json::Json;
pub use protobuf::Protobuf;
pub use raw::Raw;
