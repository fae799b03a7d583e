//! What a codec is, and what goes wrong with bodies.

use super::scratch;
use bytes::Bytes;
use std::{fmt, sync::Arc};
use towpath_core::{BoxError, CodecId, Error, ErrorKind};

/// A way to write bodies, known on the wire by its id.
///
/// What it can write and read is said by [`Encode`] and [`Decode`]. An application adds its own with an id
/// from 16 up:
///
/// ```
/// use bytes::Bytes;
/// use towpath_codec::{BodyCodec, BodyError, Decode, Encode};
/// use towpath_core::CodecId;
///
/// /// Numbers, least significant byte first.
/// struct LittleEndian;
///
/// impl BodyCodec for LittleEndian {
///     const ID: CodecId = CodecId(16);
///     const NAME: &'static str = "little-endian";
/// }
///
/// impl Encode<u32> for LittleEndian {
///     fn encode(&self, value: &u32, out: &mut Vec<u8>) -> Result<(), BodyError> {
///         out.extend_from_slice(&value.to_le_bytes());
///         Ok(())
///     }
/// }
///
/// impl Decode<u32> for LittleEndian {
///     fn decode(&self, body: &Bytes) -> Result<u32, BodyError> {
///         let raw = body[..].try_into().map_err(|_| BodyError::decode::<Self>("not 4 bytes"))?;
///         Ok(u32::from_le_bytes(raw))
///     }
/// }
///
/// let body = LittleEndian.to_body(&258)?;
/// assert_eq!(body[..], [2, 1, 0, 0]);
/// assert_eq!(LittleEndian.decode(&body)?, 258);
/// # Ok::<(), BodyError>(())
/// ```
pub trait BodyCodec {
    /// The id on the wire.
    const ID: CodecId;
    /// What people call it.
    const NAME: &'static str;
}

/// A codec that can write values of a type.
pub trait Encode<T: ?Sized>: BodyCodec {
    /// Appends the value to `out`. What was appended before an error is the caller's to remove.
    ///
    /// # Errors
    /// If the value has no form in this codec.
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), BodyError>;

    /// The value as a body of its own. It is written to a buffer that the thread reuses; in the steady
    /// state a small body costs one copy and shares a block with its neighbours.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn to_body(&self, value: &T) -> Result<Bytes, BodyError> {
        scratch::collect(|out| self.encode(value, out))
    }
}

/// A codec that can read values of a type.
pub trait Decode<T>: BodyCodec {
    /// The value of a body. A type that keeps bytes may share the body's buffer.
    ///
    /// # Errors
    /// If the body is not such a value; at a callee that is MCP-E-006.
    fn decode(&self, body: &Bytes) -> Result<T, BodyError>;
}

/// A value that cannot be written, or a body that cannot be read.
#[derive(Clone)]
pub struct BodyError {
    codec: &'static str,
    reading: bool,
    source: Arc<dyn std::error::Error + Send + Sync>,
}

impl BodyError {
    /// The value has no form in codec `C`.
    pub fn encode<C: BodyCodec + ?Sized>(why: impl Into<BoxError>) -> Self {
        BodyError { codec: C::NAME, reading: false, source: why.into().into() }
    }

    /// The body is not what was to be read in codec `C`.
    pub fn decode<C: BodyCodec + ?Sized>(why: impl Into<BoxError>) -> Self {
        BodyError { codec: C::NAME, reading: true, source: why.into().into() }
    }

    /// Whether it was met while reading a body (and not while writing one).
    pub fn is_decode(&self) -> bool {
        self.reading
    }
}

/// One line for people, the reason included.
impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.reading { "cannot be read as" } else { "cannot be written as" };
        write!(f, "the body {what} {}: {}", self.codec, self.source)
    }
}

impl fmt::Debug for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyError").field("codec", &self.codec).field("source", &self.source).finish()
    }
}

impl std::error::Error for BodyError {}

/// MCP-E-006 for a body that cannot be read; a value that cannot be written is MCP-E-001, met before
/// anything was sent.
impl From<BodyError> for Error {
    #[cold]
    fn from(error: BodyError) -> Self {
        let kind = if error.reading { ErrorKind::Undecodable } else { ErrorKind::Malformed };
        Error::new(kind).because(error.to_string())
    }
}
