//! Frames for `tokio_util::codec`, for programs that want no transport of their own: proxies, tools, tests.

use crate::{
    DEFAULT_MAX_PAYLOAD, EncodeError, FrameError, FrameHeader, GoAway, HEADER_LEN, Settings, control, kind,
    request, response,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::{fmt, io};
use tokio_util::codec::{Decoder, Encoder};
use towpath_core::{Request, Response};

/// How much room is made for a payload at once, whatever its header says, in bytes.
const STEP: usize = 64 << 10;

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`](crate::kind).
    pub kind: u8,
    /// What follows the header.
    pub payload: Bytes,
}

impl Frame {
    /// A REQUEST; the body is copied. See [`put_request_head`](crate::put_request_head).
    ///
    /// # Errors
    /// If the method is empty or too long, or the whole is longer than a frame can be.
    pub fn request(id: u64, timeout_ms: u32, request: &Request) -> Result<Self, EncodeError> {
        let mut out = Vec::new();
        request::put_request_head(&mut out, id, timeout_ms, request)?;
        out.extend_from_slice(request.body());
        Ok(Frame::from_written(kind::REQUEST, out))
    }

    /// A RESPONSE or a PUSH, as `kind` says; the body is copied.
    ///
    /// # Errors
    /// If the whole is longer than a frame can be.
    pub fn response(kind: u8, id: u64, response: &Response) -> Result<Self, EncodeError> {
        let mut out = Vec::new();
        response::put_response_head(&mut out, kind, id, response)?;
        out.extend_from_slice(response.body());
        Ok(Frame::from_written(kind, out))
    }

    /// An ACK, PING, PONG or CANCEL, as `kind` says.
    pub fn short(kind: u8, id: u64) -> Self {
        Frame { kind, payload: Bytes::copy_from_slice(&id.to_be_bytes()) }
    }

    /// A GOAWAY.
    pub fn goaway(goaway: &GoAway) -> Self {
        let mut out = Vec::new();
        control::put_goaway(&mut out, goaway);
        Frame::from_written(kind::GOAWAY, out)
    }

    /// A SETTINGS.
    pub fn settings(settings: &Settings) -> Self {
        let mut out = Vec::new();
        control::put_settings(&mut out, settings);
        Frame::from_written(kind::SETTINGS, out)
    }

    /// The id at the beginning of the payload; `None` for extensions, and for payloads too short for one.
    pub fn id(&self) -> Option<u64> {
        if self.kind < kind::EXTENSIONS { control::id(&self.payload) } else { None }
    }

    fn from_written(kind: u8, out: Vec<u8>) -> Self {
        let mut payload = Bytes::from(out);
        payload.advance(HEADER_LEN);
        Frame { kind, payload }
    }
}

/// Reads and writes whole frames.
///
/// Payloads are slices of the read buffer. What a header declares allocates nothing: the buffer grows as
/// the bytes arrive. Extension frames are skipped as they arrive and never held, unless
/// [`with_extensions`](Self::with_extensions) asks for them.
///
/// ```
/// use bytes::BytesMut;
/// use tokio_util::codec::{Decoder, Encoder};
/// use towpath_codec::{Frame, FrameCodec, kind};
///
/// let (mut codec, mut wire) = (FrameCodec::new(), BytesMut::new());
/// codec.encode(Frame::short(kind::PING, 7), &mut wire)?;
/// assert_eq!(wire[..], *b"MC\x01\x05\0\0\0\x08\0\0\0\0\0\0\0\x07");
/// let frame = codec.decode(&mut wire)?.unwrap();
/// assert_eq!((frame.kind, frame.id()), (kind::PING, Some(7)));
/// # Ok::<(), towpath_codec::FrameCodecError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FrameCodec {
    max_payload: u32,
    extensions: bool,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next bytes are a header.
    Header,
    /// They are the payload of this one.
    Payload(FrameHeader),
    /// They are what is left of an extension that nobody asked for.
    Skip(usize),
}

impl FrameCodec {
    /// Takes and sends payloads up to 16 MiB.
    pub const fn new() -> Self {
        FrameCodec::with_max_payload(DEFAULT_MAX_PAYLOAD)
    }

    /// Takes and sends payloads up to a limit, in bytes.
    pub const fn with_max_payload(max_payload: u32) -> Self {
        FrameCodec { max_payload, extensions: false, state: State::Header }
    }

    /// Passes extension frames on, whole, instead of skipping them.
    #[must_use]
    pub const fn with_extensions(mut self) -> Self {
        self.extensions = true;
        self
    }
}

impl Default for FrameCodec {
    fn default() -> Self {
        FrameCodec::new()
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameCodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameCodecError> {
        loop {
            self.state = match self.state {
                // → Payload or Skip, when eight bytes are there and are a header.
                State::Header => {
                    let Some(raw) = src.first_chunk::<HEADER_LEN>() else {
                        return Ok(None);
                    };
                    let header = FrameHeader::parse(raw, self.max_payload)?;
                    src.advance(HEADER_LEN);
                    if header.kind >= kind::EXTENSIONS && !self.extensions {
                        State::Skip(header.len as usize)
                    } else {
                        State::Payload(header)
                    }
                }
                // → Header, with a frame, when the payload is whole.
                State::Payload(FrameHeader { kind, len }) => {
                    let missing = (len as usize).saturating_sub(src.len());
                    if missing > 0 {
                        src.reserve(missing.min(STEP));
                        return Ok(None);
                    }
                    self.state = State::Header;
                    return Ok(Some(Frame { kind, payload: src.split_to(len as usize).freeze() }));
                }
                // → Header, when nothing is left of it.
                State::Skip(left) => {
                    let here = left.min(src.len());
                    src.advance(here);
                    if here < left {
                        self.state = State::Skip(left - here);
                        return Ok(None);
                    }
                    State::Header
                }
            };
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameCodecError> {
        match self.decode(src)? {
            Some(frame) => Ok(Some(frame)),
            None if src.is_empty() && matches!(self.state, State::Header) => Ok(None),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = FrameCodecError;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> Result<(), FrameCodecError> {
        let Frame { kind, payload } = frame;
        let (actual, max) = (payload.len() as u64, u64::from(self.max_payload));
        let len = match u32::try_from(actual) {
            Ok(len) if len <= self.max_payload => len,
            _ => return Err(FrameCodecError::Encode(EncodeError::TooLarge { len: actual, max })),
        };
        dst.reserve(HEADER_LEN + payload.len());
        dst.put_slice(&FrameHeader { kind, len }.to_bytes());
        dst.put_slice(&payload);
        Ok(())
    }
}

/// Why frames cannot be read or written any further.
#[derive(Debug)]
#[non_exhaustive]
pub enum FrameCodecError {
    /// What arrived is no frame that is taken here: the peer gets a GOAWAY
    /// ([`GoAway::for_frame`]) and the connection is closed.
    Frame(FrameError),
    /// The frame that was to be sent is too large. Nothing was written.
    Encode(EncodeError),
    /// The stream failed, or ended within a frame.
    Io(io::Error),
}

impl fmt::Display for FrameCodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameCodecError::Frame(error) => fmt::Display::fmt(error, f),
            FrameCodecError::Encode(error) => fmt::Display::fmt(error, f),
            FrameCodecError::Io(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for FrameCodecError {}

impl From<FrameError> for FrameCodecError {
    fn from(error: FrameError) -> Self {
        FrameCodecError::Frame(error)
    }
}

impl From<io::Error> for FrameCodecError {
    fn from(error: io::Error) -> Self {
        FrameCodecError::Io(error)
    }
}
