//! The fields of a context that travel as metadata entries under reserved keys.

use towpath_core::{
    Context, Metadata, Priority,
    context::{Field, TraceContext},
    metadata::{InvalidMetadata, put_entry},
};

/// W3C's have 32 bytes.
const MAX_TRACE_TEXT: usize = 128;

const TRACEPARENT: &str = "traceparent";
const SPAN_ID: &str = "span-id";
const PRIORITY: &str = "priority";
const RETRY_ATTEMPT: &str = "retry-attempt";

/// Whether the context has nothing to write: the usual case, and the fast one.
#[inline]
pub(crate) fn is_plain(context: &Context) -> bool {
    context.trace().is_none()
        && context.attempt() == 0
        && context.priority() == Priority::default()
        && !context.has_fields()
}

/// The trace, if that is all that the context has to write: so it is for nearly all calls that are not plain.
#[inline]
pub(crate) fn lone_trace(context: &Context) -> Option<TraceContext> {
    let alone = context.attempt() == 0 && context.priority() == Priority::default() && !context.has_fields();
    context.trace().filter(|_| alone)
}

/// How long the entry of a trace is.
pub(crate) const TRACE_LEN: usize = TRACED.len() + 55;

/// Appends the entry of a trace.
#[inline]
pub(crate) fn put_trace(out: &mut Vec<u8>, trace: TraceContext) {
    out.extend_from_slice(TRACED);
    out.extend_from_slice(&trace.traceparent());
}

/// Appends the entries of the context, then those of `own` whose key the context has not written: the
/// first of duplicates wins, and what a service passes on with its metadata does not pile up from hop to
/// hop.
pub(crate) fn put_metadata(
    out: &mut Vec<u8>,
    context: &Context,
    own: &Metadata,
) -> Result<(), InvalidMetadata> {
    let start = out.len();
    put_context(out, context)?;
    let written = start..out.len();
    for (key, value) in own {
        if !has_key(&out[written.clone()], key.as_bytes()) {
            put_entry(out, key.as_bytes(), value)?;
        }
    }
    Ok(())
}

fn put_context(out: &mut Vec<u8>, context: &Context) -> Result<(), InvalidMetadata> {
    let trace = context.trace();
    if let Some(trace) = trace {
        put_trace(out, trace);
    }
    if context.has_fields() {
        for field in Field::ALL {
            // A foreign trace id is what a call has instead of W3C's.
            let stands = field != Field::TraceText || trace.is_none();
            if let Some(value) = context.field(field).filter(|_| stands) {
                put_entry(out, field.key().as_bytes(), value)?;
            }
        }
    }
    if context.priority() != Priority::default() {
        put_entry(out, PRIORITY.as_bytes(), &[b'0' + context.priority().level()])?;
    }
    if context.attempt() != 0 {
        put_number(out, RETRY_ATTEMPT, context.attempt())?;
    }
    Ok(())
}

fn put_number(out: &mut Vec<u8>, key: &str, mut number: u16) -> Result<(), InvalidMetadata> {
    let mut digits = [0; 5];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return put_entry(out, key.as_bytes(), &digits[at..]);
        }
    }
}

/// Whether the entries, which were just written, have this key.
fn has_key(mut entries: &[u8], key: &[u8]) -> bool {
    while let Some(([k0, k1, v0, v1, v2, v3], rest)) = entries.split_first_chunk() {
        let key_len = usize::from(u16::from_be_bytes([*k0, *k1]));
        let value_len = u32::from_be_bytes([*v0, *v1, *v2, *v3]) as usize;
        if rest.get(..key_len) == Some(key) {
            return true;
        }
        entries = rest.get(key_len + value_len..).unwrap_or_default();
    }
    false
}

/// What stands before the value of a `traceparent` of the usual length.
const TRACED: &[u8; 17] = b"\x00\x0b\x00\x00\x00\x37traceparent";

/// The value, if the block is one `traceparent` of the usual length and nothing else: so it is for nearly all calls that have
/// metadata, and need not be taken apart.
#[inline]
pub(crate) fn lone_traceparent(raw: &[u8]) -> Option<&[u8; 55]> {
    let (before, value) = raw.split_first_chunk()?;
    if before == TRACED { value.try_into().ok() } else { None }
}

/// What the reserved keys say. A value that cannot be read counts as not there: values are no part of the
/// structure, and a bad one harms nobody but its sender.
#[inline]
pub(crate) fn read_context(metadata: &Metadata, context: &mut Context) {
    match lone_traceparent(metadata.as_wire()) {
        Some(traceparent) => context.set_trace(TraceContext::parse_traceparent(traceparent)),
        None => read_entries(metadata, context),
    }
}

fn read_entries(metadata: &Metadata, context: &mut Context) {
    let mut numbers = Numbers::default();
    for (key, value) in metadata {
        match key {
            TRACEPARENT => numbers.traceparent = numbers.traceparent.or(Some(value)),
            SPAN_ID => numbers.span_id = numbers.span_id.or(Some(value)),
            PRIORITY => numbers.priority = numbers.priority.or(Some(value)),
            RETRY_ATTEMPT => numbers.attempt = numbers.attempt.or(Some(value)),
            _ => {
                let field = Field::ALL.into_iter().find(|field| field.key() == key);
                let sane = field != Some(Field::TraceText) || is_trace_text(value);
                if let Some(field) = field.filter(|field| sane && context.field(*field).is_none()) {
                    context.set_field(field, metadata.get_bytes(key));
                }
            }
        }
    }
    if let Some(level) = numbers.priority.and_then(decimal) {
        context.set_priority(Priority::new(u8::try_from(level).unwrap_or(u8::MAX)));
    }
    if let Some(attempt) = numbers.attempt.and_then(decimal) {
        context.set_attempt(attempt);
    }
    let trace = numbers.traceparent.and_then(TraceContext::parse_traceparent);
    let plain = || plain_trace(context.field(Field::TraceText)?, numbers.span_id?);
    if let Some(trace) = trace.or_else(plain) {
        context.set_trace(Some(trace));
        context.set_field(Field::TraceText, None);
    }
}

/// A trace id goes into faults and logs as it came: short, printable, no room for mischief.
fn is_trace_text(value: &[u8]) -> bool {
    (1..=MAX_TRACE_TEXT).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// Values as they arrived: the first of each key.
#[derive(Default)]
struct Numbers<'a> {
    traceparent: Option<&'a [u8]>,
    span_id: Option<&'a [u8]>,
    priority: Option<&'a [u8]>,
    attempt: Option<&'a [u8]>,
}

/// Digits and nothing else; what is above the range of the type is its highest value.
fn decimal(text: &[u8]) -> Option<u16> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u16, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

/// `trace-id` and `span-id` where they have W3C's form; the plain form does not say whether the trace is
/// recorded, so it counts as not.
fn plain_trace(trace_id: &[u8], span_id: &[u8]) -> Option<TraceContext> {
    let trace_id: &[u8; 32] = trace_id.try_into().ok()?;
    let span_id: &[u8; 16] = span_id.try_into().ok()?;
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    text[3..35].copy_from_slice(trace_id);
    text[36..52].copy_from_slice(span_id);
    TraceContext::parse_traceparent(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(entries: &[(&str, &str)]) -> Context {
        let mut raw = Vec::new();
        for (key, value) in entries {
            put_entry(&mut raw, key.as_bytes(), value.as_bytes()).unwrap();
        }
        context_of(&Metadata::try_from_wire(raw.into()).unwrap())
    }

    fn context_of(metadata: &Metadata) -> Context {
        let mut context = Context::new();
        read_context(metadata, &mut context);
        context
    }

    #[test]
    fn what_is_written_is_read() {
        let mut context = Context::new();
        assert!(is_plain(&context));
        context.set_trace(TraceContext::parse_traceparent(TRACE.as_bytes()));
        context.set_attempt(65_535);
        context.set_priority(Priority::LOWEST);
        for field in Field::ALL.into_iter().filter(|field| *field != Field::TraceText) {
            context.set_field(field, Some(Bytes::from(format!("v of {}", field.key()))));
        }
        assert!(!is_plain(&context));
        let mut raw = Vec::new();
        put_metadata(&mut raw, &context, &Metadata::new()).unwrap();
        let back = context_of(&Metadata::try_from_wire(raw.into()).unwrap());
        assert_eq!(
            (back.trace(), back.attempt(), back.priority()),
            (context.trace(), 65_535, Priority::LOWEST)
        );
        for field in Field::ALL {
            assert_eq!(back.field(field), context.field(field), "{field:?}");
        }
    }

    #[test]
    fn a_trace_alone_is_read_as_one_among_others() {
        let written = |value: &str| {
            let mut raw = Vec::new();
            put_entry(&mut raw, b"traceparent", value.as_bytes()).unwrap();
            raw
        };
        let raw = written(TRACE);
        assert_eq!(lone_traceparent(&raw).unwrap(), TRACE.as_bytes());
        let mut sent = Vec::new();
        put_metadata(&mut sent, &read(&[("traceparent", TRACE)]), &Metadata::new()).unwrap();
        assert_eq!(sent, raw);
        for value in [TRACE, &TRACE.to_uppercase(), &"0".repeat(55), &"\u{e9}".repeat(27), &TRACE[1..]] {
            let (alone, among) =
                (read(&[("traceparent", value)]), read(&[("traceparent", value), ("tenant", "a")]));
            assert_eq!(alone.trace(), among.trace(), "{value}");
            let raw = written(value);
            assert_eq!(lone_traceparent(&raw).is_some(), value.len() == 55);
            assert_eq!(lone_traceparent(&raw[..raw.len() - 1]), None);
            assert_eq!(lone_traceparent(&[&raw[..], b"\0"].concat()), None);
        }
    }

    #[test]
    fn the_context_speaks_and_nothing_piles_up() {
        let mut own = Metadata::new();
        own.insert("priority", "7").unwrap();
        own.insert("tenant", "a").unwrap();
        let mut context = Context::new();
        context.set_priority(Priority::new(1));
        let mut raw = Vec::new();
        put_metadata(&mut raw, &context, &own).unwrap();
        let sent = Metadata::try_from_wire(raw.into()).unwrap();
        assert_eq!(sent.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["priority", "tenant"]);
        assert_eq!(sent.get_str("priority"), Some("1"));
        let mut again = Vec::new();
        put_metadata(&mut again, &context_of(&sent), &sent).unwrap();
        assert_eq!(again, sent.as_wire());
    }

    #[test]
    fn the_first_of_duplicates_wins() {
        let context = read(&[
            ("priority", "2"),
            ("priority", "6"),
            ("session-id", "one"),
            ("session-id", "two"),
            ("traceparent", TRACE),
            ("traceparent", "00-0bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ]);
        assert_eq!(context.priority().level(), 2);
        assert_eq!(context.field(Field::SessionId).unwrap(), "one");
        assert_eq!(context.trace().unwrap().traceparent(), TRACE.as_bytes());
    }

    #[test]
    fn a_value_that_cannot_be_read_is_not_there() {
        let context = read(&[("priority", "high"), ("retry-attempt", ""), ("traceparent", "x")]);
        assert!(is_plain(&context));
        let context = read(&[("priority", "900"), ("retry-attempt", "99999")]);
        assert_eq!((context.priority().level(), context.attempt()), (7, u16::MAX));
    }

    #[test]
    fn the_plain_form_of_a_trace() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let both = read(&[("trace-id", trace), ("span-id", span)]).trace().unwrap();
        assert_eq!(
            (both.trace_id.to_string(), both.span_id.to_string(), both.flags),
            (trace.into(), span.into(), 0)
        );
        let foreign = read(&[("trace-id", "a1b2c3d4"), ("span-id", span)]);
        assert_eq!(foreign.trace(), None);
        assert_eq!(foreign.trace_id_text().unwrap(), "a1b2c3d4");
        let w3c = read(&[("trace-id", "a1b2c3d4"), ("traceparent", TRACE)]);
        assert_eq!(w3c.trace_id_text().unwrap(), trace);
    }

    #[test]
    fn a_trace_id_that_makes_no_sense_is_none() {
        let read = |value: &[u8]| {
            let mut metadata = Metadata::new();
            metadata.insert("trace-id", value).unwrap();
            context_of(&metadata).trace_id_text()
        };
        assert_eq!(read(b"a1b2c3d4").as_deref(), Some("a1b2c3d4"));
        for bad in [&b""[..], b"\xff", b"two words", b"line\nline", b"\x1b[31m", &[b'a'; 129]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
