//! The frame codec: however a stream is cut, the frames are those of a simple reading of the page.

use super::{memory, script::Script};
use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};
use towpath_codec::{Frame, FrameCodec, FrameCodecError, FrameError, FrameHeader, GoAway, HEADER_LEN, kind};

/// How a stream ends for a receiver.
#[derive(Debug, PartialEq)]
enum End {
    Clean,
    Within,
    Refused(FrameError),
}

/// First byte: limit and extensions. Second byte: how it is cut. The rest is the stream.
pub fn check(data: &[u8]) {
    let mut script = Script::new(data);
    let options = script.byte();
    let cuts = script.byte();
    let stream = script.rest();
    let max = [0, 8, 40, 300, 1 << 16, 16 << 20, u32::MAX][usize::from(options & 7) % 7];
    let mut codec = FrameCodec::with_max_payload(max);
    if options & 8 != 0 {
        codec = codec.with_extensions();
    }
    let want = reference(stream, max, options & 8 != 0);

    let whole = decode(codec.clone(), stream, || usize::MAX);
    assert_eq!(whole, want, "in one piece");
    let mut state = u32::from(cuts) | 1 << 8;
    let step = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if cuts < 16 { usize::from(cuts) + 1 } else { (state >> 24) as usize + 1 }
    };
    // What is declared and not there is given room step by step.
    let pieces = memory::within(|| decode(codec, stream, step), |_| (256 << 10) + 64 * stream.len());
    assert_eq!(pieces, want, "in pieces");
    write_again(stream, max, &want.0, &want.1);
}

fn decode(mut codec: FrameCodec, stream: &[u8], mut step: impl FnMut() -> usize) -> (Vec<Frame>, End) {
    let (mut src, mut frames, mut rest) = (BytesMut::new(), Vec::new(), stream);
    loop {
        match codec.decode(&mut src) {
            Ok(Some(frame)) => frames.push(frame),
            Err(FrameCodecError::Frame(error)) => return (frames, End::Refused(error)),
            Err(other) => panic!("{other:?}"),
            Ok(None) if rest.is_empty() => break,
            Ok(None) => {
                let (piece, more) = rest.split_at(step().min(rest.len()));
                src.extend_from_slice(piece);
                rest = more;
            }
        }
    }
    match codec.decode_eof(&mut src) {
        Ok(None) => (frames, End::Clean),
        Ok(Some(frame)) => panic!("a frame at the end that was not there before: {frame:?}"),
        Err(FrameCodecError::Io(_)) => (frames, End::Within),
        Err(other) => panic!("{other:?}"),
    }
}

/// As `docs/protocol.md` says it, without any care for speed.
fn reference(mut stream: &[u8], max: u32, extensions: bool) -> (Vec<Frame>, End) {
    let mut frames = Vec::new();
    loop {
        let Some((head, rest)) = stream.split_first_chunk::<HEADER_LEN>() else {
            return (frames, if stream.is_empty() { End::Clean } else { End::Within });
        };
        let len = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let refuse = |error| End::Refused(error);
        if head[..2] != *b"MC" {
            return (frames, refuse(FrameError::BadMagic([head[0], head[1]])));
        } else if head[2] != 1 {
            return (frames, refuse(FrameError::BadVersion(head[2])));
        } else if len > max {
            return (frames, refuse(FrameError::TooLarge { len, max }));
        } else if matches!(head[3], 0 | 10..=0x7f) {
            return (frames, refuse(FrameError::UnknownType(head[3])));
        }
        let Some((payload, rest)) = rest.split_at_checked(len as usize) else {
            return (frames, End::Within);
        };
        stream = rest;
        if head[3] < kind::EXTENSIONS || extensions {
            frames.push(Frame { kind: head[3], payload: Bytes::copy_from_slice(payload) });
        }
    }
}

/// What was read is written as it came; and each header says the same again.
fn write_again(stream: &[u8], max: u32, frames: &[Frame], end: &End) {
    let (mut codec, mut wire) = (FrameCodec::with_max_payload(max), BytesMut::new());
    for frame in frames {
        codec.encode(frame.clone(), &mut wire).expect("what was taken can be sent");
        let header = FrameHeader { kind: frame.kind, len: frame.payload.len() as u32 };
        assert_eq!(FrameHeader::parse(&header.to_bytes(), max), Ok(header));
        assert_eq!(frame.id().is_some(), frame.kind < kind::EXTENSIONS && frame.payload.len() >= 8);
    }
    let extensions = stream.len() >= wire.len() && frames.iter().any(|frame| frame.kind >= kind::EXTENSIONS);
    if extensions || *end == End::Clean && wire.len() == stream.len() {
        assert_eq!(wire[..], stream[..wire.len()]);
    }
    if let End::Refused(error) = end {
        let goaway = GoAway::for_frame(error, 0);
        let payload = Frame::goaway(&goaway).payload;
        assert_eq!(towpath_codec::decode_goaway(&payload), Ok(goaway));
    }
}
