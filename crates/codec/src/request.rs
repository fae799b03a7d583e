//! The envelope of a call.

use crate::{
    DEFAULT_MAX_METADATA, DEFAULT_MAX_PAYLOAD, EncodeError, FrameHeader, HEADER_LEN, KnownMethods,
    RequestError, compress, control, kind, reserved,
};
use bytes::{Buf, Bytes};
use std::str;
use towpath_core::{CodecId, Context, Extensions, InvalidMethod, Metadata, Method, Mode, Request};

/// Fixed fields of a REQUEST, its id included.
const HEAD: usize = 20;

const ONE_WAY: u8 = 1;
const ASYNC: u8 = 1 << 1;
const IDEMPOTENT: u8 = 1 << 2;
const COMPRESSED: u8 = 1 << 3;

/// In the extensions of a request or an answer: its body is [compressed](crate::compress()). It is there on
/// what a receiver that [allows](Limits::allow_compressed) it has read, and makes what is sent say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compressed;

/// Appends a REQUEST frame, all but its body: the frame's length counts the body, and the caller of this
/// function appends it, or sends it right behind.
///
/// The context's entries come first in the metadata, then the request's own but for keys that the context
/// has written. `timeout_ms` is what is left of the deadline, rounded up, at least 1; 0: none.
///
/// # Errors
/// If the method is empty or too long, or the whole is longer than a frame can be (4 GiB); `out` is then as
/// before. Whether the peer takes a frame of this length is for the connection to check: it knows the
/// peer's settings.
#[inline]
pub fn put_request_head(
    out: &mut Vec<u8>,
    id: u64,
    timeout_ms: u32,
    request: &Request,
) -> Result<(), EncodeError> {
    put(out, id, timeout_ms, request, request.body().len())
}

#[inline]
fn put(
    out: &mut Vec<u8>,
    id: u64,
    timeout_ms: u32,
    request: &Request,
    body_len: usize,
) -> Result<(), EncodeError> {
    let (own, context) = (request.metadata().as_wire(), request.context());
    let plain = reserved::is_plain(context);
    let trace = if plain || !own.is_empty() { None } else { reserved::lone_trace(context) };
    let metadata_len = if trace.is_some() { reserved::TRACE_LEN } else { own.len() };
    let start = out.len();
    put_head(out, id, timeout_ms, request, metadata_len, body_len)?;
    if plain {
        out.extend_from_slice(own);
        return Ok(());
    }
    match trace {
        Some(trace) => reserved::put_trace(out, trace),
        None => put_context(out, start, request, body_len).inspect_err(|_| out.truncate(start))?,
    }
    Ok(())
}

/// Header, fixed fields and method; nothing is written on an error.
#[inline]
fn put_head(
    out: &mut Vec<u8>,
    id: u64,
    timeout_ms: u32,
    request: &Request,
    metadata_len: usize,
    body_len: usize,
) -> Result<(), EncodeError> {
    let method = request.method().as_bytes();
    let method_len = match u16::try_from(method.len()) {
        Ok(0) => return Err(EncodeError::BadMethod(InvalidMethod::Empty)),
        Ok(len) => len,
        Err(_) => return Err(EncodeError::BadMethod(InvalidMethod::TooLong)),
    };
    let (len, metadata_len) = lengths(HEAD + method.len(), metadata_len, body_len)?;
    // By words, and straight to their place: gathered first, they would have to be read again in larger
    // pieces than they were written in, for which a processor waits.
    let call = u64::from(timeout_ms) << 32
        | u64::from(request.codec().0) << 24
        | u64::from(flags(request)) << 16
        | u64::from(method_len);
    out.reserve(HEADER_LEN + HEAD + method.len() + metadata_len as usize);
    out.extend_from_slice(&FrameHeader { kind: kind::REQUEST, len }.to_bytes());
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&call.to_be_bytes());
    out.extend_from_slice(&metadata_len.to_be_bytes());
    out.extend_from_slice(method);
    Ok(())
}

/// The context's entries and the request's own, and then the lengths that are known only now.
fn put_context(
    out: &mut Vec<u8>,
    start: usize,
    request: &Request,
    body_len: usize,
) -> Result<(), EncodeError> {
    let metadata = out.len();
    let too_large = |_| EncodeError::TooLarge { len: u64::MAX, max: u32::MAX.into() };
    reserved::put_metadata(out, request.context(), request.metadata()).map_err(too_large)?;
    let fixed = metadata - start - HEADER_LEN;
    let (len, metadata_len) = lengths(fixed, out.len() - metadata, body_len)?;
    out[start + 4..start + 8].copy_from_slice(&len.to_be_bytes());
    out[start + 24..start + 28].copy_from_slice(&metadata_len.to_be_bytes());
    Ok(())
}

/// The lengths of the payload and of the metadata, if a frame can carry them.
#[inline]
pub(crate) fn lengths(fixed: usize, metadata: usize, body: usize) -> Result<(u32, u32), EncodeError> {
    let len = fixed as u64 + metadata as u64 + body as u64;
    match u32::try_from(len) {
        // Then the metadata, a part of it, fits as well.
        Ok(len) => Ok((len, metadata as u32)),
        Err(_) => Err(EncodeError::TooLarge { len, max: u32::MAX.into() }),
    }
}

#[inline]
fn flags(request: &Request) -> u8 {
    let mode = match request.mode() {
        Mode::OneWay => ONE_WAY,
        Mode::Async => ASYNC,
        _ => 0,
    };
    let idempotent = if request.context().is_idempotent() { IDEMPOTENT } else { 0 };
    let extensions = request.extensions();
    let compressed = !extensions.is_empty() && is_compressed(extensions);
    mode | idempotent | if compressed { COMPRESSED } else { 0 }
}

#[cold]
pub(crate) fn is_compressed(extensions: &Extensions) -> bool {
    extensions.get::<Compressed>().is_some()
}

/// What a receiver of requests takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest block of metadata, in bytes. Default 64 KiB.
    pub max_metadata: u32,
    /// Whether compressed bodies were announced as readable. Default no.
    pub allow_compressed: bool,
    /// Largest body after decompression, in bytes, by what it declares. Default 16 MiB.
    pub max_body: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_metadata: DEFAULT_MAX_METADATA, allow_compressed: false, max_body: DEFAULT_MAX_PAYLOAD }
    }
}

/// A REQUEST that arrived.
#[derive(Debug)]
pub struct DecodedRequest {
    /// The call; not 0. Whether it is in order, the connection knows.
    pub id: u64,
    /// What is left of the call's time, counted from the arrival of the frame's header; 0: no deadline. The
    /// context's deadline is not set: only the connection knows when the header arrived.
    pub timeout_ms: u32,
    /// Method, metadata and body are slices of the payload. The context holds what the reserved keys say.
    pub request: Request,
}

/// The fixed fields of a REQUEST whose structure has been checked: what has to be known before anything is
/// made of it. [`into_request`](Self::into_request) makes the request.
#[derive(Debug)]
pub struct RequestHead {
    /// The call; not 0. Whether it is in order, the connection knows.
    pub id: u64,
    /// What is left of the call's time: see [`DecodedRequest::timeout_ms`].
    pub timeout_ms: u32,
    /// Whether, and when, an answer is wanted.
    pub mode: Mode,
    /// How the body is encoded.
    pub codec: CodecId,
    flags: u8,
    method_len: u16,
    metadata_len: u32,
    known: Option<&'static str>,
}

impl RequestHead {
    /// Reads and checks; `known` are the names that are common on this connection.
    ///
    /// # Errors
    /// See [`RequestError`] for what is answered.
    #[inline]
    pub fn read(payload: &[u8], limits: &Limits, known: &KnownMethods) -> Result<Self, RequestError> {
        let id = control::id(payload).filter(|id| *id != 0).ok_or(RequestError::NoId)?;
        let refuse = |why| RequestError::Malformed { id, why };
        let Some((head, rest)) = payload.split_first_chunk::<HEAD>() else {
            return Err(refuse("the request is shorter than its fixed fields"));
        };
        let [.., t0, t1, t2, t3, codec, flags, n0, n1, m0, m1, m2, m3] = *head;
        let method_len = u16::from_be_bytes([n0, n1]);
        let metadata_len = u32::from_be_bytes([m0, m1, m2, m3]);
        let mode = mode(flags, limits.allow_compressed).map_err(refuse)?;
        if metadata_len > limits.max_metadata {
            return Err(refuse("the metadata is above the limit"));
        }
        let split = rest.split_at_checked(method_len.into());
        let split = split.filter(|(_, rest)| rest.len() as u64 >= u64::from(metadata_len));
        let Some((method, rest)) = split else {
            return Err(refuse("the lengths of method and metadata do not add up"));
        };
        let known = known.find(method);
        if known.is_none() {
            check_method(method).map_err(refuse)?;
        }
        let (metadata, body) = rest.split_at(metadata_len as usize);
        if metadata_len > 0 {
            check_metadata(metadata).map_err(refuse)?;
        }
        if flags & COMPRESSED != 0 {
            compress::check(body, limits.max_body).map_err(refuse)?;
        }
        Ok(RequestHead {
            id,
            timeout_ms: u32::from_be_bytes([t0, t1, t2, t3]),
            mode,
            codec: CodecId(codec),
            flags,
            method_len,
            metadata_len,
            known,
        })
    }

    /// Whether the body is compressed: it was allowed, then, and what it declares to hold fits.
    #[inline]
    pub fn is_compressed(&self) -> bool {
        self.flags & COMPRESSED != 0
    }

    /// Whether the method's name was among the known ones.
    #[inline]
    pub fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// The request. `payload` is what the head was read from; metadata and body are slices of it, and so is
    /// the method's name unless it is a known one.
    #[inline]
    pub fn into_request(self, payload: Bytes) -> Request {
        let mut request = self.begin_request(payload);
        self.finish_request(&mut request);
        request
    }

    /// [`into_request`](Self::into_request) in two steps, for who has a place for the request: it is large, and what is looked
    /// at on its way is copied. This one leaves the metadata in front of the body.
    #[inline]
    pub fn begin_request(&self, mut payload: Bytes) -> Request {
        payload.advance(HEAD);
        let method = match self.known {
            Some(name) => {
                payload.advance(self.method_len.into());
                Method::from_static(name)
            }
            None => Method::from_checked(payload.split_to(self.method_len.into())),
        };
        let mut request = Request::with_context(method, Context::new(), payload);
        request.set_codec(self.codec);
        request.set_mode(self.mode);
        request.context_mut().set_idempotent(self.flags & IDEMPOTENT != 0);
        request
    }

    /// The second step.
    #[inline]
    pub fn finish_request(&self, request: &mut Request) {
        if self.metadata_len > 0 || self.is_compressed() {
            self.put_rest(request);
        }
    }

    #[inline(never)]
    fn put_rest(&self, request: &mut Request) {
        let metadata = request.body_mut().split_to(self.metadata_len as usize);
        let metadata = Metadata::from_checked(metadata);
        reserved::read_context(&metadata, request.context_mut());
        *request.metadata_mut() = metadata;
        if self.is_compressed() {
            request.extensions_mut().insert(Compressed);
        }
    }
}

/// Reads a REQUEST's payload. Its structure is checked here, once; nothing is copied, and a call without
/// metadata costs one reference count beyond the payload's own.
///
/// # Errors
/// See [`RequestError`] for what is answered.
#[inline]
pub fn decode_request(payload: Bytes, limits: &Limits) -> Result<DecodedRequest, RequestError> {
    let head = RequestHead::read(&payload, limits, &KnownMethods::new())?;
    let (id, timeout_ms) = (head.id, head.timeout_ms);
    Ok(DecodedRequest { id, timeout_ms, request: head.into_request(payload) })
}

fn check_method(name: &[u8]) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the method is empty");
    }
    // Nearly all names are ASCII, and short: this look is a fifth of the instructions of `from_utf8`.
    let ascii = name.iter().fold(0, |all, byte| all | byte) < 0x80;
    if ascii || str::from_utf8(name).is_ok() { Ok(()) } else { Err("the method is not UTF-8") }
}

#[inline]
fn mode(flags: u8, allow_compressed: bool) -> Result<Mode, &'static str> {
    if flags & !(ONE_WAY | ASYNC | IDEMPOTENT | COMPRESSED) != 0 {
        return Err("an unknown flag is set");
    }
    if flags & COMPRESSED != 0 && !allow_compressed {
        return Err("the body is compressed, which was not announced as readable");
    }
    match flags & (ONE_WAY | ASYNC) {
        0 => Ok(Mode::Unary),
        ONE_WAY => Ok(Mode::OneWay),
        ASYNC => Ok(Mode::Async),
        _ => Err("a call is one-way or asynchronous, not both"),
    }
}

/// What is wrong with a block of metadata, if anything is.
pub(crate) fn check_metadata(raw: &[u8]) -> Result<(), &'static str> {
    use towpath_core::metadata::InvalidMetadata as Invalid;
    if reserved::lone_traceparent(raw).is_some() {
        return Ok(());
    }
    Metadata::check(raw).map_err(|why| match why {
        Invalid::EmptyKey => "a metadata key is empty",
        Invalid::BadKey => "a metadata key is not lower-case printable ASCII",
        Invalid::Truncated | Invalid::ValueTooLong => "the metadata entries do not add up",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_core::Priority;

    /// The largest body that still fits beside the fixed fields and `A.B`.
    const FULL: usize = u32::MAX as usize - HEAD - 3;

    #[test]
    fn a_frame_carries_4_gib_and_no_more() {
        let mut out = b"before".to_vec();
        let mut request = Request::with_context("A.B", Context::new(), Bytes::new());
        put(&mut out, 1, 0, &request, FULL).unwrap();
        assert_eq!(out[6 + 4..6 + 8], [0xff; 4]);
        out.truncate(6);
        let over = put(&mut out, 1, 0, &request, FULL + 1).unwrap_err();
        assert_eq!(over, EncodeError::TooLarge { len: 1 << 32, max: u32::MAX.into() });
        assert_eq!(out, b"before");
        // Too much only because of what the context adds.
        request.context_mut().set_priority(Priority::HIGHEST);
        let over = put(&mut out, 1, 0, &request, FULL).unwrap_err();
        assert_eq!(over, EncodeError::TooLarge { len: (1 << 32) - 1 + 15, max: u32::MAX.into() });
        assert_eq!(out, b"before");
        assert_eq!(towpath_core::Error::from(over).kind(), towpath_core::ErrorKind::TooLarge);
    }
}
