//! The envelope of an answer.

use crate::{Compressed, EncodeError, FrameHeader, HEADER_LEN, ResponseError, compress, control, request};
use bytes::{Buf, Bytes};
use towpath_core::{CodecId, Response, Status};

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
    let mut head = [0; HEADER_LEN + HEAD];
    head[..8].copy_from_slice(&FrameHeader { kind, len }.to_bytes());
    head[8..16].copy_from_slice(&id.to_be_bytes());
    head[16] = u8::from(response.is_fault());
    head[17] = response.codec().0;
    if !response.extensions().is_empty() && response.extensions().get::<Compressed>().is_some() {
        head[18..20].copy_from_slice(&COMPRESSED.to_be_bytes());
    }
    head[20..24].copy_from_slice(&metadata_len.to_be_bytes());
    out.reserve(head.len() + metadata.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(metadata);
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

/// As [`decode_response`], for a receiver that has announced that it reads compressed bodies: up to so many
/// bytes, as they declare it. Such an answer has [`Compressed`] in its extensions, and its body still has to
/// be [decompressed](crate::decompress).
///
/// # Errors
/// See [`ResponseError`] for what follows.
#[inline]
pub fn decode_response_with(
    mut payload: Bytes,
    compressed_up_to: Option<u32>,
) -> Result<(u64, Response), ResponseError> {
    let id = control::id(&payload).filter(|id| *id != 0).ok_or(ResponseError::NoId)?;
    let refuse = |why| ResponseError::Malformed { id, why };
    let Some(head) = payload.first_chunk::<HEAD>() else {
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
    if compressed && compressed_up_to.is_none() {
        return Err(refuse("the body is compressed, which was not announced as readable"));
    }
    if HEAD as u64 + u64::from(metadata_len) > payload.len() as u64 {
        return Err(refuse("the length of the metadata does not add up"));
    }
    payload.advance(HEAD);
    let metadata = match metadata_len {
        0 => None,
        len => Some(request::metadata(payload.split_to(len as usize)).map_err(refuse)?),
    };
    let mut response = Response::new(payload);
    response.set_status(status);
    response.set_codec(CodecId(codec));
    if let Some(metadata) = metadata {
        *response.metadata_mut() = metadata;
    }
    if compressed {
        compress::check(response.body(), compressed_up_to.unwrap_or(0)).map_err(refuse)?;
        response.extensions_mut().insert(Compressed);
    }
    Ok((id, response))
}
