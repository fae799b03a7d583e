//! The eight bytes in front of every payload.

use std::fmt;

/// Length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 8;
/// The version of the protocol that is spoken here.
pub const VERSION: u8 = 1;
/// Largest payload that is taken if nothing else is configured: 16 MiB.
pub const DEFAULT_MAX_PAYLOAD: u32 = 16 << 20;
/// Largest block of metadata that is taken if nothing else is configured: 64 KiB.
pub const DEFAULT_MAX_METADATA: u32 = 64 << 10;

const MAGIC: [u8; 2] = *b"MC";

/// The types of frames. Plain bytes, because they are matched on the path of every call.
pub mod kind {
    /// A call; from the caller.
    pub const REQUEST: u8 = 0x01;
    /// The answer to a call; from the callee.
    pub const RESPONSE: u8 = 0x02;
    /// The asynchronous call is accepted and will be answered by [`PUSH`]; from the callee.
    pub const ACK: u8 = 0x03;
    /// The outcome of an accepted asynchronous call; from the callee.
    pub const PUSH: u8 = 0x04;
    /// Are you there?
    pub const PING: u8 = 0x05;
    /// Yes; with the id of the ping.
    pub const PONG: u8 = 0x06;
    /// The answer is not wanted any more; from the caller.
    pub const CANCEL: u8 = 0x07;
    /// The connection ends, and why.
    pub const GOAWAY: u8 = 0x08;
    /// The sender's limits.
    pub const SETTINGS: u8 = 0x09;
    /// From here to `FF`: extensions, without an id; who does not know one skips it whole.
    pub const EXTENSIONS: u8 = 0x80;

    /// The type's name; empty for those that have none.
    pub const fn name(kind: u8) -> &'static str {
        match kind {
            REQUEST => "REQUEST",
            RESPONSE => "RESPONSE",
            ACK => "ACK",
            PUSH => "PUSH",
            PING => "PING",
            PONG => "PONG",
            CANCEL => "CANCEL",
            GOAWAY => "GOAWAY",
            SETTINGS => "SETTINGS",
            EXTENSIONS.. => "extension",
            _ => "",
        }
    }
}

/// What stands in front of a payload: its type and its length. Magic and version are always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// One of [`kind`].
    pub kind: u8,
    /// Length of the payload in bytes, the header excluded.
    pub len: u32,
}

impl FrameHeader {
    /// Reads a header. Magic, version, length and type are checked in this order, before anything is
    /// allocated for the payload; so what is wrong with a frame is the first of these that is.
    ///
    /// # Errors
    /// A type below `80` that is reserved or undefined is refused; extensions pass.
    #[inline]
    pub fn parse(raw: &[u8; HEADER_LEN], max_payload: u32) -> Result<Self, FrameError> {
        let [m0, m1, version, kind, l0, l1, l2, l3] = *raw;
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        let known = matches!(kind, kind::REQUEST..=kind::SETTINGS | kind::EXTENSIONS..);
        if [m0, m1] == MAGIC && version == VERSION && len <= max_payload && known {
            return Ok(FrameHeader { kind, len });
        }
        Err(Self::refusal(raw, len, max_payload))
    }

    #[cold]
    fn refusal(raw: &[u8; HEADER_LEN], len: u32, max: u32) -> FrameError {
        let [m0, m1, version, kind, ..] = *raw;
        if [m0, m1] != MAGIC {
            FrameError::BadMagic([m0, m1])
        } else if version != VERSION {
            FrameError::BadVersion(version)
        } else if len > max {
            FrameError::TooLarge { len, max }
        } else {
            FrameError::UnknownType(kind)
        }
    }

    /// The header as it travels.
    #[inline]
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        const START: u64 = u64::from_be_bytes([MAGIC[0], MAGIC[1], VERSION, 0, 0, 0, 0, 0]);
        (START | u64::from(self.kind) << 32 | u64::from(self.len)).to_be_bytes()
    }
}

/// Why a header is refused. The connection answers with a GOAWAY of this [reason](FrameError::reason) and
/// this text, and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The first two bytes are not `MC`: the peer speaks something else.
    BadMagic([u8; 2]),
    /// The peer speaks another version.
    BadVersion(u8),
    /// The payload is longer than what is taken here.
    TooLarge {
        /// What the header says, in bytes.
        len: u32,
        /// What is taken, in bytes.
        max: u32,
    },
    /// A type below `80` that has no meaning here.
    UnknownType(u8),
}

impl FrameError {
    /// With which reason the connection is ended.
    pub const fn reason(&self) -> GoAwayReason {
        match self {
            FrameError::BadMagic(_) => GoAwayReason::BadMagic,
            FrameError::BadVersion(_) => GoAwayReason::BadVersion,
            FrameError::TooLarge { .. } => GoAwayReason::TooLarge,
            FrameError::UnknownType(_) => GoAwayReason::UnknownType,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The most likely thing to be found at a wrong port.
            FrameError::BadMagic([b'H', b'T']) => {
                f.write_str("not MCP: the frame begins with 48 54, as an answer in HTTP does")
            }
            // An alert and a hello, in a record of TLS.
            FrameError::BadMagic([a @ (0x15 | 0x16), 3]) => {
                write!(
                    f,
                    "not MCP: the frame begins with {a:02x} 03, as TLS does (its addresses are mcps://)"
                )
            }
            FrameError::BadMagic([a, b]) => write!(f, "not MCP: the frame begins with {a:02x} {b:02x}"),
            // The text of GOAWAY 2 names the highest version spoken.
            FrameError::BadVersion(got) => {
                write!(f, "version {got} is not spoken here; the highest is {VERSION}")
            }
            FrameError::TooLarge { len, max } => {
                write!(f, "a payload of {len} bytes is above the limit of {max}")
            }
            FrameError::UnknownType(kind) => write!(f, "frame type {kind:02x} is unknown"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GoAwayReason {
    /// 0: planned; calls up to the last id are still answered.
    Draining,
    /// 1: the peer does not speak MCP.
    BadMagic,
    /// 2: the peer speaks another version; the text names the highest one spoken.
    BadVersion,
    /// 3: a frame above the limit.
    TooLarge,
    /// 4: a frame that breaks the protocol.
    Malformed,
    /// 5: a frame of an unknown type below `80`.
    UnknownType,
    /// 6: no call for too long.
    Idle,
    /// 7: the peer did not say who it is.
    Unauthenticated,
    /// Defined by a later version.
    Other(u8),
}

impl GoAwayReason {
    /// The reason as it travels.
    pub const fn code(self) -> u8 {
        match self {
            GoAwayReason::Draining => 0,
            GoAwayReason::BadMagic => 1,
            GoAwayReason::BadVersion => 2,
            GoAwayReason::TooLarge => 3,
            GoAwayReason::Malformed => 4,
            GoAwayReason::UnknownType => 5,
            GoAwayReason::Idle => 6,
            GoAwayReason::Unauthenticated => 7,
            GoAwayReason::Other(code) => code,
        }
    }

    /// The reason of a byte that arrived.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => GoAwayReason::Draining,
            1 => GoAwayReason::BadMagic,
            2 => GoAwayReason::BadVersion,
            3 => GoAwayReason::TooLarge,
            4 => GoAwayReason::Malformed,
            5 => GoAwayReason::UnknownType,
            6 => GoAwayReason::Idle,
            7 => GoAwayReason::Unauthenticated,
            other => GoAwayReason::Other(other),
        }
    }
}

impl fmt::Display for GoAwayReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GoAwayReason::Draining => f.write_str("draining"),
            GoAwayReason::BadMagic => f.write_str("bad magic"),
            GoAwayReason::BadVersion => f.write_str("bad version"),
            GoAwayReason::TooLarge => f.write_str("frame too large"),
            GoAwayReason::Malformed => f.write_str("malformed frame"),
            GoAwayReason::UnknownType => f.write_str("unknown frame type"),
            GoAwayReason::Idle => f.write_str("idle"),
            GoAwayReason::Unauthenticated => f.write_str("unauthenticated"),
            GoAwayReason::Other(code) => write!(f, "reason {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_is_wrong_is_reported() {
        let parse = |raw: [u8; 8]| FrameHeader::parse(&raw, 100);
        assert_eq!(parse([0x4d, 0x43, 1, 1, 0, 0, 0, 100]), Ok(FrameHeader { kind: 1, len: 100 }));
        assert_eq!(parse([0x4d, 0x44, 9, 0, 255, 0, 0, 0]), Err(FrameError::BadMagic([0x4d, 0x44])));
        assert_eq!(parse([0x4d, 0x43, 9, 0, 255, 0, 0, 0]), Err(FrameError::BadVersion(9)));
        let len = 0xff00_0000;
        assert_eq!(parse([0x4d, 0x43, 1, 0, 255, 0, 0, 0]), Err(FrameError::TooLarge { len, max: 100 }));
        assert_eq!(parse([0x4d, 0x43, 1, 0, 0, 0, 0, 0]), Err(FrameError::UnknownType(0)));
    }

    #[test]
    fn every_type_is_known_or_not() {
        for kind in 0..=u8::MAX {
            let raw = FrameHeader { kind, len: 3 }.to_bytes();
            let known = (1..=9).contains(&kind) || kind >= 0x80;
            assert_eq!(FrameHeader::parse(&raw, 3).is_ok(), known, "{kind:02x}");
            assert_eq!(!kind::name(kind).is_empty(), known, "{kind:02x}");
        }
    }

    #[test]
    fn reasons_and_codes_are_one_to_one() {
        for code in 0..=u8::MAX {
            assert_eq!(GoAwayReason::from_code(code).code(), code);
        }
    }

    #[test]
    fn goaway_2_names_the_highest_version() {
        let text = FrameError::BadVersion(7).to_string();
        assert!(text.contains("7") && text.contains("highest is 1"), "{text}");
    }
}
