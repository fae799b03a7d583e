//! Trace and span ids, in W3C's form (Trace Context, level 1: <https://www.w3.org/TR/trace-context/>).

use std::fmt;

/// 16 bytes, not all zero: the whole tree of calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub u128);

/// 8 bytes, not all zero: one operation in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u64);

/// The trace that a call belongs to, and the span that is its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The whole tree of calls.
    pub trace_id: TraceId,
    /// The operation that makes the call.
    pub span_id: SpanId,
    /// W3C trace flags; bit 0: sampled.
    pub flags: u8,
}

impl TraceId {
    /// A random one.
    pub fn random() -> Self {
        TraceId(fastrand::u128(1..))
    }
}

impl SpanId {
    /// A random one.
    pub fn random() -> Self {
        SpanId(fastrand::u64(1..))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const TRACEPARENT_LEN: usize = 55;

impl TraceContext {
    /// A trace that begins here.
    pub fn random(sampled: bool) -> Self {
        TraceContext { trace_id: TraceId::random(), span_id: SpanId::random(), flags: u8::from(sampled) }
    }

    /// Whether the trace is recorded.
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// `00-{trace id}-{span id}-{flags}`.
    pub fn traceparent(&self) -> [u8; TRACEPARENT_LEN] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let trace_id = self.trace_id.0;
        put(&mut out, 3, (trace_id >> 96) as u32);
        put(&mut out, 11, (trace_id >> 64) as u32);
        put(&mut out, 19, (trace_id >> 32) as u32);
        put(&mut out, 27, trace_id as u32);
        put(&mut out, 36, (self.span_id.0 >> 32) as u32);
        put(&mut out, 44, self.span_id.0 as u32);
        [out[53], out[54]] = [digit(self.flags >> 4), digit(self.flags & 0x0f)];
        out
    }

    /// Reads `traceparent`. A version above 00 may be longer; what is not understood is ignored.
    pub fn parse_traceparent(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_first_chunk::<TRACEPARENT_LEN>()?;
        // The others are to come.
        let version = if head[..2] == *b"00" { 0 } else { byte(head[0], head[1])? };
        let dashes = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
        let tail_fits = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest[0] == b'-' };
        if version == 0xff || !dashes || !tail_fits {
            return None;
        }
        let trace_id = TraceId(u128::from(get::<3>(head)?) << 64 | u128::from(get::<19>(head)?));
        let span_id = SpanId(get::<36>(head)?);
        let flags = byte(head[53], head[54])?;
        (trace_id.0 != 0 && span_id.0 != 0).then_some(TraceContext { trace_id, span_id, flags })
    }
}

// Eight digits at a time, in the bytes of a word: this is done for each call that is traced, on both sides, and was a tenth of
// what it costs when it was done digit by digit.

/// The same byte eight times.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Digits for what is in each byte, from 0 to 25; above 15 they are none.
fn digits(nibbles: u64) -> u64 {
    let letters = ((nibbles + each(6)) >> 4) & each(1);
    nibbles + each(b'0') + letters * u64::from(b'a' - b'0' - 10)
}

fn hex(value: u32) -> [u8; 8] {
    let halves = (u64::from(value) | u64::from(value) << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (halves | halves << 8) & 0x00ff_00ff_00ff_00ff;
    digits((bytes | bytes << 4) & each(0x0f)).to_be_bytes()
}

/// Lower-case only, as W3C wants it.
fn unhex(text: [u8; 8]) -> Option<u32> {
    let text = u64::from_be_bytes(text);
    // A letter is one of those with this bit, and counts from 1.
    let nibbles = (text & each(0x0f)) + ((text >> 6) & each(1)) * 9;
    // What gives other digits than those that were there had none.
    if nibbles & each(0xf0) != 0 || digits(nibbles) != text {
        return None;
    }
    let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    Some((halves | halves >> 16) as u32)
}

fn put(out: &mut [u8; TRACEPARENT_LEN], at: usize, value: u32) {
    out[at..at + 8].copy_from_slice(&hex(value));
}

/// Sixteen digits from here on.
fn get<const AT: usize>(head: &[u8; TRACEPARENT_LEN]) -> Option<u64> {
    let (high, rest) = head[AT..].split_first_chunk()?;
    let low = rest.first_chunk()?;
    Some(u64::from(unhex(*high)?) << 32 | u64::from(unhex(*low)?))
}

fn byte(high: u8, low: u8) -> Option<u8> {
    Some(nibble(high)? << 4 | nibble(low)?)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn digit(nibble: u8) -> u8 {
    nibble + if nibble > 9 { b'a' - 10 } else { b'0' }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_sample_of_the_standard() {
        let t = TraceContext::parse_traceparent(SAMPLE.as_bytes()).unwrap();
        assert_eq!(t.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(t.span_id.to_string(), "b7ad6b7169203331");
        assert!(t.is_sampled());
        assert_eq!(t.traceparent(), SAMPLE.as_bytes());
    }

    #[test]
    fn what_the_standard_forbids() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
        ] {
            assert_eq!(TraceContext::parse_traceparent(bad.as_bytes()), None, "{bad}");
        }
        let longer = SAMPLE.replace("00-0af", "01-0af") + "-more";
        assert!(TraceContext::parse_traceparent(longer.as_bytes()).is_some());
    }

    #[test]
    fn every_byte_in_every_place() {
        for (at, byte) in (0..8).flat_map(|at| (0..=255u8).map(move |byte| (at, byte))) {
            for others in [*b"00000000", *b"9f0a8e17", *b"ffffffff"] {
                let mut text = others;
                text[at] = byte;
                let well = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                let naive = well.then(|| u32::from_str_radix(str::from_utf8(&text).unwrap(), 16).unwrap());
                assert_eq!(unhex(text), naive, "{:?}", text.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn every_byte_of_the_rest() {
        let sample: [u8; TRACEPARENT_LEN] = SAMPLE.as_bytes().try_into().unwrap();
        for (at, byte) in (0..TRACEPARENT_LEN).flat_map(|at| (0..=255u8).map(move |byte| (at, byte))) {
            let mut text = sample;
            text[at] = byte;
            let dash = matches!(at, 2 | 35 | 52);
            let well = if dash { byte == b'-' } else { matches!(byte, b'0'..=b'9' | b'a'..=b'f') };
            // A version that is to come may be longer than it is; none is ff.
            let read = TraceContext::parse_traceparent(&text);
            assert_eq!(read.is_some(), well, "{}", text.escape_ascii());
            let flags = str::from_utf8(&text[53..]).map(|flags| u8::from_str_radix(flags, 16));
            if let Some(read) = read {
                assert_eq!(flags, Ok(Ok(read.flags)));
                if at > 2 {
                    assert_eq!(read.traceparent(), text);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn eight_digits(value: u32, text: [u8; 8]) {
            prop_assert_eq!(hex(value).to_vec(), format!("{value:08x}").into_bytes());
            prop_assert_eq!(unhex(hex(value)), Some(value));
            if let Some(value) = unhex(text) {
                prop_assert_eq!(hex(value), text);
            }
        }

        #[test]
        fn written_and_read(trace in 1u128.., span in 1u64.., flags: u8) {
            let t = TraceContext { trace_id: TraceId(trace), span_id: SpanId(span), flags };
            prop_assert_eq!(TraceContext::parse_traceparent(&t.traceparent()), Some(t));
        }

        #[test]
        fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..70)) {
            let _ = TraceContext::parse_traceparent(&text);
        }
    }
}
