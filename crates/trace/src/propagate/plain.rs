//! The plain form: ids of their own, one an entry.

use towpath_core::{Request, context::SpanId};

/// Writes `trace-id`, `span-id` and, if there is one, `parent-id`.
#[cold]
pub(crate) fn write<B>(request: &mut Request<B>, parent: Option<SpanId>) {
    let Some(trace) = request.context().trace() else { return };
    let metadata = request.metadata_mut();
    let mut put = |key, value: Option<String>| {
        match value {
            // Fails only for a key that is none.
            Some(value) => drop(metadata.insert(key, value)),
            None => drop(metadata.remove(key)),
        }
    };
    put("trace-id", Some(trace.trace_id.to_string()));
    put("span-id", Some(trace.span_id.to_string()));
    put("parent-id", parent.map(|parent| parent.to_string()));
}
