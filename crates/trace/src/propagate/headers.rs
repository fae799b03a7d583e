//! The trace in the headers of an HTTP request.

use super::b3;
use crate::Came;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use towpath_core::{
    Context, HasContext,
    context::{Field, TraceContext},
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// What W3C asks everybody to pass on is 512 bytes of the one and 8 192 of the other; more is not taken.
const MAX_STATE: usize = 4_096;
const MAX_BAGGAGE: usize = 8_192;

/// Reads the headers into the request's context, unless that has a trace already.
pub(crate) fn read<B>(request: &mut Request<B>) -> Came {
    if HasContext::context(request).is_some_and(|context| context.trace().is_some()) {
        return Came::Decided;
    }
    let headers = request.headers();
    // Two of them say nothing.
    let mut parents = headers.get_all(&TRACEPARENT).iter();
    let trace = match (parents.next(), parents.next()) {
        (Some(only), None) => TraceContext::parse_traceparent(only.as_bytes().trim_ascii()),
        _ => None,
    };
    let baggage = joined(headers, &BAGGAGE, MAX_BAGGAGE);
    let (trace, state, came) = match trace {
        Some(trace) => (Some(trace), joined(headers, &TRACESTATE, MAX_STATE), Came::Decided),
        None => {
            let get = |key: &str| headers.get(key).map(HeaderValue::as_bytes);
            let (trace, came) = b3::read(get);
            (trace, None, came)
        }
    };
    if trace.is_some() || baggage.is_some() {
        let Some(context) = HasContext::context_mut(request) else { return came };
        if trace.is_some() {
            context.set_trace(trace);
            context.set_field(Field::Tracestate, state);
        }
        if baggage.is_some() {
            context.set_field(Field::Baggage, baggage);
        }
    }
    came
}

/// A header that was sent in several pieces is one list.
fn joined(headers: &HeaderMap, name: &HeaderName, most: usize) -> Option<Bytes> {
    let mut pieces = headers.get_all(name).iter();
    let first = pieces.next()?;
    let mut whole = first.as_bytes().to_vec();
    for piece in pieces {
        whole.push(b',');
        whole.extend_from_slice(piece.as_bytes());
    }
    (whole.len() <= most).then(|| whole.into())
}

/// Writes the context's trace into the headers.
pub(crate) fn write<B>(request: &mut Request<B>) {
    let Some(context) = HasContext::context(request).cloned() else { return };
    let headers = request.headers_mut();
    if let Some(trace) = context.trace()
        && let Ok(value) = HeaderValue::from_bytes(&trace.traceparent())
    {
        headers.insert(TRACEPARENT, value);
        pass(headers, TRACESTATE, &context, Field::Tracestate);
    }
    pass(headers, BAGGAGE, &context, Field::Baggage);
}

/// What the context does not have, the request may have of its own.
fn pass(headers: &mut HeaderMap, name: HeaderName, context: &Context, field: Field) {
    if let Some(value) = context.field(field)
        && let Ok(value) = HeaderValue::from_maybe_shared(value.clone())
    {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let build = headers.iter().fold(Request::builder(), |all, (name, value)| all.header(*name, *value));
        build.body(()).unwrap()
    }

    #[test]
    fn what_came_goes_on() {
        let mut came = request(&[
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
            ("baggage", "user=ada"),
            ("b3", "0"),
        ]);
        assert_eq!(read(&mut came), Came::Decided);
        let context = HasContext::context(&came).unwrap().clone();
        assert_eq!(context.trace().unwrap().traceparent(), PARENT.as_bytes());
        let mut next = request(&[("traceparent", "of another one")]);
        next.extensions_mut().insert(context.child());
        write(&mut next);
        let header = |name: &str| next.headers()[name].to_str().unwrap();
        assert_eq!(
            (header("traceparent"), header("tracestate"), header("baggage")),
            (PARENT, "a=1,b=2", "user=ada")
        );
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        for headers in [
            &[("traceparent", PARENT), ("traceparent", PARENT), ("tracestate", "a=1")][..],
            &[("traceparent", "00-0"), ("tracestate", "a=1")],
            &[],
        ] {
            let mut came = request(headers);
            assert_eq!(read(&mut came), Came::Decided);
            assert!(HasContext::context(&came).is_none(), "{headers:?}");
            write(&mut came);
            assert!(headers.is_empty() || came.headers().contains_key("tracestate"));
        }
        let large = "x=".to_owned() + &"y".repeat(9_000);
        let mut came = request(&[("traceparent", PARENT), ("tracestate", &large), ("baggage", &large)]);
        read(&mut came);
        let context = HasContext::context(&came).unwrap();
        assert!(context.trace().is_some() && !context.has_fields());
    }

    #[test]
    fn b3_is_read_where_there_is_nothing_else() {
        let mut came = request(&[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")]);
        assert_eq!(read(&mut came), Came::Decided);
        assert!(HasContext::context(&came).unwrap().trace().unwrap().is_sampled());
        assert_eq!(read(&mut request(&[("b3", "1")])), Came::Sampled(true));
    }
}
