//! The envelope of an answer.

use crate::{Compressed, EncodeError, FrameHeader, HEADER_LEN, ResponseError, compress, control, request};
use bytes::{Buf, Bytes};
use towpath_core::{CodecId, Metadata, Response, Status};

/// Fixed fields of a RESPONSE or PUSH, its id included.
const HEAD: usize = 16;

const COMPRESSED: u16 = 1;

/// Appends a RESPONSE or a PUSH frame (`kind` says which), all but its body: the frame's length counts the
/// body, and the caller of this function appends it, or sends it right behind.
///
/// # Errors
/// If the whole is longer than a frame can be (4 GiB); `out` is then as before. Whether the peer takes a
/// frame of this length is for the connection to check: it knows the peer's settings.
#[inline]
pub fn put_response_head(
    out: &mut Vec<u8>,
    kind: u8,
    id: u64,
    response: &Response,
) -> Result<(), EncodeError> {
    let metadata = response.metadata().as_wire();
    let (len, metadata_len) = request::lengths(HEAD, metadata.len(), response.body().len())?;
    // By words, as the head of a request.
    let compressed = !response.extensions().is_empty() && request::is_compressed(response.extensions());
    let answer = u64::from(response.is_fault()) << 56
        | u64::from(response.codec().0) << 48
        | u64::from(if compressed { COMPRESSED } else { 0 }) << 32
        | u64::from(metadata_len);
    out.reserve(HEADER_LEN + HEAD + metadata.len());
    out.extend_from_slice(&FrameHeader { kind, len }.to_bytes());
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&answer.to_be_bytes());
    out.extend_from_slice(metadata);
    Ok(())
}

/// The fixed fields of a RESPONSE or a PUSH whose structure has been checked: what has to be known before
/// anything is made of it. [`into_response`](Self::into_response) makes the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The call; not 0.
    pub id: u64,
    /// A result, or a fault.
    pub status: Status,
    /// How the body is encoded.
    pub codec: CodecId,
    metadata_len: u32,
    compressed: bool,
}

impl ResponseHead {
    /// Reads and checks. A receiver that has announced that it reads compressed bodies says up to how many
    /// bytes, as they declare it; with `None` such a body is refused.
    ///
    /// # Errors
    /// See [`ResponseError`] for what follows.
    #[inline]
    pub fn read(payload: &[u8], compressed_up_to: Option<u32>) -> Result<Self, ResponseError> {
        let id = control::id(payload).filter(|id| *id != 0).ok_or(ResponseError::NoId)?;
        let refuse = |why| ResponseError::Malformed { id, why };
        let Some((head, rest)) = payload.split_first_chunk::<HEAD>() else {
            return Err(refuse("it is shorter than its fixed fields"));
        };
        let [.., status, codec, f0, f1, m0, m1, m2, m3] = *head;
        let metadata_len = u32::from_be_bytes([m0, m1, m2, m3]);
        let status = match status {
            0 => Status::Ok,
            1 => Status::Fault,
            _ => return Err(refuse("its status is neither ok nor fault")),
        };
        let compressed = u16::from_be_bytes([f0, f1]) & COMPRESSED != 0;
        if metadata_len > 0 || compressed {
            check_rest(rest, metadata_len, compressed, compressed_up_to).map_err(refuse)?;
        }
        Ok(ResponseHead { id, status, codec: CodecId(codec), metadata_len, compressed })
    }

    /// The answer. `payload` is what the head was read from; metadata and body are slices of it. One with a
    /// compressed body has [`Compressed`] in its extensions, and the body still has to be
    /// [decompressed](crate::decompress).
    #[inline]
    pub fn into_response(self, mut payload: Bytes) -> Response {
        payload.advance(HEAD);
        if self.metadata_len > 0 || self.compressed {
            return self.with_rest(payload);
        }
        let mut response = Response::new(payload);
        response.set_status(self.status);
        response.set_codec(self.codec);
        response
    }

    #[cold]
    fn with_rest(self, mut payload: Bytes) -> Response {
        let metadata = Metadata::from_checked(payload.split_to(self.metadata_len as usize));
        let mut response = Response::new(payload);
        response.set_status(self.status);
        response.set_codec(self.codec);
        *response.metadata_mut() = metadata;
        if self.compressed {
            response.extensions_mut().insert(Compressed);
        }
        response
    }
}

/// What few answers have.
#[cold]
fn check_rest(
    rest: &[u8],
    metadata_len: u32,
    compressed: bool,
    compressed_up_to: Option<u32>,
) -> Result<(), &'static str> {
    let split = rest.split_at_checked(metadata_len as usize);
    let (metadata, body) = split.ok_or("the length of the metadata does not add up")?;
    request::check_metadata(metadata)?;
    if compressed {
        let unread = "the body is compressed, which was not announced as readable";
        compress::check(body, compressed_up_to.ok_or(unread)?)?;
    }
    Ok(())
}

/// Reads the payload of a RESPONSE or a PUSH: its id and what it says. Its structure is checked here, once;
/// nothing is copied, and an answer without metadata costs no reference count beyond the payload's own.
///
/// # Errors
/// See [`ResponseError`] for what follows. A compressed body is refused too: see [`decode_response_with`].
#[inline]
pub fn decode_response(payload: Bytes) -> Result<(u64, Response), ResponseError> {
    decode_response_with(payload, None)
}

/// As [`decode_response`], for a receiver that has announced that it reads compressed bodies: see
/// [`ResponseHead::read`].
///
/// # Errors
/// See [`ResponseError`] for what follows.
#[inline]
pub fn decode_response_with(
    payload: Bytes,
    compressed_up_to: Option<u32>,
) -> Result<(u64, Response), ResponseError> {
    let head = ResponseHead::read(&payload, compressed_up_to)?;
    Ok((head.id, head.into_response(payload)))
}
