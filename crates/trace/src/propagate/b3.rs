//! B3, as Zipkin's libraries write it: read only (<https://github.com/openzipkin/b3-propagation>).

use crate::Came;
use towpath_core::context::{SpanId, TraceContext, TraceId};

/// Reads the one header `b3`, or those that begin with `x-b3-`. Ids of 64 bits are those of 128 whose upper half is
/// zero.
pub(crate) fn read<'a>(get: impl Fn(&str) -> Option<&'a [u8]>) -> (Option<TraceContext>, Came) {
    match get("b3") {
        Some(single) => read_single(single),
        None => read_many(get),
    }
}

/// `{trace}-{span}-{sampled}-{parent}`; the last one, or the last two, may be left out, and all but the third.
fn read_single(text: &[u8]) -> (Option<TraceContext>, Came) {
    let mut parts = text.split(|byte| *byte == b'-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(sampled), None, _) => (None, sampling(sampled).map_or(Came::Decided, Came::Sampled)),
        (Some(trace), Some(span), sampled) => with_ids(trace, span, sampled.and_then(sampling)),
        _ => (None, Came::Decided),
    }
}

fn read_many<'a>(get: impl Fn(&str) -> Option<&'a [u8]>) -> (Option<TraceContext>, Came) {
    let sampled = match get("x-b3-flags") {
        // "Debug" means: sampled, come what may.
        Some(b"1") => Some(true),
        _ => get("x-b3-sampled").and_then(sampling),
    };
    match (get("x-b3-traceid"), get("x-b3-spanid")) {
        (Some(trace), Some(span)) => with_ids(trace, span, sampled),
        _ => (None, sampled.map_or(Came::Decided, Came::Sampled)),
    }
}

fn with_ids(trace: &[u8], span: &[u8], sampled: Option<bool>) -> (Option<TraceContext>, Came) {
    let (Some(trace_id), Some(span_id)) = (hex(trace, &[16, 32]), hex(span, &[16])) else {
        return (None, Came::Decided);
    };
    let flags = u8::from(sampled == Some(true));
    let trace = TraceContext { trace_id: TraceId(trace_id), span_id: SpanId(span_id as u64), flags };
    (Some(trace), if sampled.is_some() { Came::Decided } else { Came::Undecided })
}

fn sampling(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

/// Upper case is read as well, of so many digits; zero is no id.
fn hex(text: &[u8], lengths: &[usize]) -> Option<u128> {
    let digits = lengths.contains(&text.len()) && text.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    u128::from_str_radix(text, 16).ok().filter(|id| *id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    fn of(entries: &[(&str, &str)]) -> (Option<String>, Came) {
        let (trace, came) =
            read(|key| entries.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_bytes()));
        (trace.map(|trace| String::from_utf8(trace.traceparent().to_vec()).unwrap()), came)
    }

    #[test]
    fn one_header() {
        let single = |text: &str| of(&[("b3", text)]);
        let parent = |flags| Some(format!("00-{TRACE}-{SPAN}-{flags}"));
        assert_eq!(single(&format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90")), (parent("01"), Came::Decided));
        assert_eq!(single(&format!("{TRACE}-{SPAN}-d")), (parent("01"), Came::Decided));
        assert_eq!(single(&format!("{TRACE}-{SPAN}-0")), (parent("00"), Came::Decided));
        assert_eq!(single(&format!("{TRACE}-{SPAN}")), (parent("00"), Came::Undecided));
        let short = format!("00-0000000000000000{}-{SPAN}-01", &TRACE[16..]);
        assert_eq!(single(&format!("{}-{SPAN}-1", &TRACE[16..])), (Some(short), Came::Decided));
        assert_eq!(single("0"), (None, Came::Sampled(false)));
        assert_eq!(single("d"), (None, Came::Sampled(true)));
        for bad in [
            "",
            "-",
            "x",
            "00000000000000000000000000000000-e457b5a2e4d86bd1-1",
            "80f198ee-e457b5a2e4d86bd1-1",
        ] {
            assert_eq!(single(bad), (None, Came::Decided), "{bad}");
        }
    }

    #[test]
    fn many_headers() {
        let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
        let with = |more: &[(&'static str, &'static str)]| of(&[&ids[..], more].concat());
        assert_eq!(with(&[]).1, Came::Undecided);
        assert_eq!(with(&[("x-b3-sampled", "1")]), (Some(format!("00-{TRACE}-{SPAN}-01")), Came::Decided));
        assert_eq!(
            with(&[("x-b3-sampled", "0"), ("x-b3-flags", "1")]).0,
            Some(format!("00-{TRACE}-{SPAN}-01"))
        );
        assert_eq!(of(&[("x-b3-sampled", "0")]), (None, Came::Sampled(false)));
        assert_eq!(of(&ids[..1]), (None, Came::Decided));
        // The one header wins.
        assert_eq!(with(&[("b3", "0")]), (None, Came::Sampled(false)));
    }

    proptest! {
        #[test]
        fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let (trace, _) = read(|key| (key == "b3").then_some(&text[..]));
            prop_assert!(trace.is_none_or(|trace| trace.trace_id.0 != 0 && trace.span_id.0 != 0));
        }
    }
}
