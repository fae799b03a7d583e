//! MCP/1 on the wire: frames, envelopes, body codecs.
//!
//! The protocol itself is described in `docs/protocol.md` of the repository, with test vectors in
//! `vectors/` of this crate. Everything here is plain functions over bytes: no I/O, no tasks, no locks.
//!
//! - [`FrameHeader`] is the eight bytes in front of every payload.
//! - [`put_request_head`], [`put_response_head`], [`put_short`], [`put_goaway`] and [`put_settings`] append
//!   frames to a buffer that the connection reuses; bodies are left to the caller, who may send them without
//!   copying them.
//! - [`decode_request`], [`decode_response`], [`decode_goaway`] and [`decode_settings`] read payloads.
//!   Method, metadata and body are slices of the received buffer; structure is checked once, values are
//!   looked at when asked for.
//! - [`FrameCodec`] is the same as a `tokio_util` codec of whole [`Frame`]s.
//! - [`compress()`] and [`decompress`] are for bodies between sides that allow it.
//! - [`Json`], [`Protobuf`] and [`Raw`] turn values into bodies and back; [`BodyCodec`] is how an application
//!   adds its own.
//!
//! ```
//! use bytes::Bytes;
//! use towpath_codec::{FrameHeader, HEADER_LEN, DEFAULT_MAX_PAYLOAD, Limits, kind};
//! use towpath_core::Request;
//!
//! let request = Request::new("Echo.Echo", Bytes::from_static(b"hello"));
//! let mut out = Vec::new();
//! towpath_codec::put_request_head(&mut out, 1, 500, &request)?;
//! out.extend_from_slice(request.body());
//!
//! let (header, payload) = out.split_first_chunk::<HEADER_LEN>().unwrap();
//! let header = FrameHeader::parse(header, DEFAULT_MAX_PAYLOAD)?;
//! assert_eq!((header.kind, header.len as usize), (kind::REQUEST, payload.len()));
//! let back = towpath_codec::decode_request(Bytes::copy_from_slice(payload), &Limits::default())?;
//! assert_eq!((back.id, back.timeout_ms), (1, 500));
//! assert_eq!(back.request.method(), &"Echo.Echo");
//! assert_eq!(back.request.body(), "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod compress;
mod control;
mod error;
mod frame;
mod framed;
mod known;
mod request;
mod reserved;
mod response;

pub use body::{BodyCodec, BodyError, Decode, Encode, Json, Protobuf, Raw};
pub use compress::{Algorithm, DecompressError, compress, declared_len, decompress, readable};
pub use control::{
    GoAway, Settings, decode_goaway, decode_settings, id, put_goaway, put_settings, put_short,
};
pub use error::{ControlError, EncodeError, RequestError, ResponseError};
pub use frame::{
    DEFAULT_MAX_METADATA, DEFAULT_MAX_PAYLOAD, FrameError, FrameHeader, GoAwayReason, HEADER_LEN, VERSION,
    kind,
};
pub use framed::{Frame, FrameCodec, FrameCodecError};
pub use known::KnownMethods;
pub use request::{Compressed, DecodedRequest, Limits, RequestHead, decode_request, put_request_head};
pub use response::{ResponseHead, decode_response, decode_response_with, put_response_head};
