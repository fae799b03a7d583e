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
        hex(&mut out[3..35], &self.trace_id.0.to_be_bytes());
        hex(&mut out[36..52], &self.span_id.0.to_be_bytes());
        hex(&mut out[53..55], &[self.flags]);
        out
    }

    /// Reads `traceparent`. A version above 00 may be longer; what is not understood is ignored.
    pub fn parse_traceparent(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(TRACEPARENT_LEN)?;
        let version = unhex(&head[..2])? as u8;
        let dashes = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
        let tail_fits = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest[0] == b'-' };
        if version == 0xff || !dashes || !tail_fits {
            return None;
        }
        let trace_id = TraceId(unhex(&head[3..35])?);
        let span_id = SpanId(unhex(&head[36..52])? as u64);
        let flags = unhex(&head[53..55])? as u8;
        (trace_id.0 != 0 && span_id.0 != 0).then_some(TraceContext { trace_id, span_id, flags })
    }
}

fn hex(out: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Lower-case only, as W3C wants it.
fn unhex(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0u128, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(nibble))
    })
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

    proptest! {
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
