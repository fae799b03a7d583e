//! Frames that carry an id and little else: ACK, PING, PONG, CANCEL, GOAWAY, SETTINGS.

use crate::{ControlError, FrameError, FrameHeader, GoAwayReason, kind};

const ID_LEN: usize = 8;
const GOAWAY_LEN: usize = 17;
const PAIR_LEN: usize = 6;

/// The id at the beginning of a payload; `None` if the payload is too short for one.
#[inline]
pub fn id(payload: &[u8]) -> Option<u64> {
    payload.first_chunk().map(|raw| u64::from_be_bytes(*raw))
}

/// Appends a frame that is an id and nothing else: ACK, PING, PONG or CANCEL.
#[inline]
pub fn put_short(out: &mut Vec<u8>, kind: u8, id: u64) {
    out.extend_from_slice(&FrameHeader { kind, len: ID_LEN as u32 }.to_bytes());
    out.extend_from_slice(&id.to_be_bytes());
}

/// The end of a connection, announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// Why.
    pub reason: GoAwayReason,
    /// From the callee: the highest REQUEST id whose work may have begun; what is above it was not
    /// processed. From the caller: 0.
    pub last_id: u64,
    /// For people; what is above [`GoAway::MAX_TEXT`] bytes is cut off, on both sides.
    pub text: String,
}

impl GoAway {
    /// The longest text that is written or kept, in bytes.
    pub const MAX_TEXT: usize = 1024;

    /// The answer to a header that cannot be taken.
    pub fn for_frame(error: &FrameError, last_id: u64) -> Self {
        GoAway { reason: error.reason(), last_id, text: error.to_string() }
    }

    /// The answer to a frame that breaks the protocol.
    pub fn malformed(why: impl Into<String>, last_id: u64) -> Self {
        GoAway { reason: GoAwayReason::Malformed, last_id, text: why.into() }
    }
}

/// Appends a GOAWAY frame.
pub fn put_goaway(out: &mut Vec<u8>, goaway: &GoAway) {
    let text = &goaway.text[..goaway.text.floor_char_boundary(GoAway::MAX_TEXT)];
    let len = (GOAWAY_LEN + text.len()) as u32;
    out.extend_from_slice(&FrameHeader { kind: kind::GOAWAY, len }.to_bytes());
    out.extend_from_slice(&[0; ID_LEN]);
    out.push(goaway.reason.code());
    out.extend_from_slice(&goaway.last_id.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Reads the payload of a GOAWAY frame. A text that is not UTF-8 is shown as well as it can be: it is for
/// people, and the reason counts.
///
/// # Errors
/// If the payload is shorter than its fixed fields.
pub fn decode_goaway(payload: &[u8]) -> Result<GoAway, ControlError> {
    let Some((fixed, text)) = payload.split_first_chunk::<GOAWAY_LEN>() else {
        return Err(ControlError("a GOAWAY frame is too short"));
    };
    let [.., l0, l1, l2, l3, l4, l5, l6, l7] = *fixed;
    let text = &text[..text.len().min(GoAway::MAX_TEXT)];
    Ok(GoAway {
        reason: GoAwayReason::from_code(fixed[ID_LEN]),
        last_id: u64::from_be_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
        text: String::from_utf8_lossy(text).into_owned(),
    })
}

/// The limits of the side that sends them; `None`: not said, what held before holds on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Key 1: the largest payload it takes, in bytes. At first 16 MiB.
    pub max_payload: Option<u32>,
    /// Key 2: how many calls may be outstanding on this connection. At first 65 536.
    pub max_outstanding: Option<u32>,
    /// Key 3: after how many milliseconds without an outstanding call it ends the connection; 0: never.
    pub idle_timeout_ms: Option<u32>,
    /// Key 4: compressions that it can read. Bit 0: lz4, bit 1: zstd. At first none.
    pub compression: Option<u32>,
    /// Key 5: features. Bit 0: streaming, bit 1: fragments. At first none.
    pub features: Option<u32>,
}

impl Settings {
    /// Takes over what newer settings say; what they leave out stays.
    pub fn update(&mut self, newer: &Settings) {
        for (own, new) in self.slots().into_iter().zip(newer.values()) {
            *own = new.or(*own);
        }
    }

    /// By key, from 1.
    fn slots(&mut self) -> [&mut Option<u32>; 5] {
        let Settings { max_payload, max_outstanding, idle_timeout_ms, compression, features } = self;
        [max_payload, max_outstanding, idle_timeout_ms, compression, features]
    }

    fn values(&self) -> [Option<u32>; 5] {
        let Settings { max_payload, max_outstanding, idle_timeout_ms, compression, features } = *self;
        [max_payload, max_outstanding, idle_timeout_ms, compression, features]
    }
}

/// Appends a SETTINGS frame with the keys that are set.
pub fn put_settings(out: &mut Vec<u8>, settings: &Settings) {
    let said = || (1u16..).zip(settings.values()).filter_map(|(key, value)| Some((key, value?)));
    let len = (ID_LEN + said().count() * PAIR_LEN) as u32;
    out.extend_from_slice(&FrameHeader { kind: kind::SETTINGS, len }.to_bytes());
    out.extend_from_slice(&[0; ID_LEN]);
    for (key, value) in said() {
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Reads the payload of a SETTINGS frame. Keys that are unknown here are ignored; of a key that is there
/// twice the last one holds.
///
/// # Errors
/// If the payload has no id, or the pairs do not add up to its length.
pub fn decode_settings(payload: &[u8]) -> Result<Settings, ControlError> {
    let Some((_, pairs)) = payload.split_first_chunk::<ID_LEN>() else {
        return Err(ControlError("a SETTINGS frame has no id"));
    };
    let (pairs, rest) = pairs.as_chunks::<PAIR_LEN>();
    if !rest.is_empty() {
        return Err(ControlError("the pairs of a SETTINGS frame do not add up"));
    }
    let mut settings = Settings::default();
    let mut slots = settings.slots();
    for [k0, k1, v0, v1, v2, v3] in pairs {
        let key = usize::from(u16::from_be_bytes([*k0, *k1]));
        if let Some(slot) = key.checked_sub(1).and_then(|index| slots.get_mut(index)) {
            **slot = Some(u32::from_be_bytes([*v0, *v1, *v2, *v3]));
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HEADER_LEN;

    #[test]
    fn a_goaway_s_text_is_bounded_on_both_sides() {
        let mut goaway = GoAway::malformed("ä".repeat(2000), 7);
        let mut out = Vec::new();
        put_goaway(&mut out, &goaway);
        assert_eq!(out.len(), HEADER_LEN + GOAWAY_LEN + 1024);
        out.extend_from_slice(&[b'x'; 5000]);
        goaway.text.truncate(1024);
        assert_eq!(decode_goaway(&out[HEADER_LEN..]), Ok(goaway.clone()));
        goaway.text = "a".to_owned() + &"ä".repeat(600);
        out.clear();
        put_goaway(&mut out, &goaway);
        assert_eq!(out.len(), HEADER_LEN + GOAWAY_LEN + 1023);
    }

    #[test]
    fn newer_settings_replace_only_what_they_say() {
        let mut held = Settings { max_payload: Some(1), features: Some(2), ..Settings::default() };
        held.update(&Settings { max_payload: Some(9), idle_timeout_ms: Some(0), ..Settings::default() });
        let want = Settings {
            max_payload: Some(9),
            idle_timeout_ms: Some(0),
            features: Some(2),
            ..Settings::default()
        };
        assert_eq!(held, want);
    }
}
