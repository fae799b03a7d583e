//! Ids of spans that are on the wire already.

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use std::cell::Cell;
use towpath_core::context::TraceContext;

thread_local! {
    /// What the span is to be that is started now.
    static OWN: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// Starts a span, which is to have these ids.
pub(super) fn starting<R>(own: TraceContext, start: impl FnOnce() -> R) -> R {
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            OWN.set(None);
        }
    }
    OWN.set(Some(own));
    let _over = Over;
    start()
}

/// What the span is to be that is started now, if a call has said so.
pub(super) fn own() -> Option<TraceContext> {
    OWN.get()
}

/// Gives spans of calls the ids that they have, and makes ids for all others.
#[derive(Debug, Default)]
pub(super) struct OfCalls(RandomIdGenerator);

impl IdGenerator for OfCalls {
    fn new_trace_id(&self) -> TraceId {
        own().map_or_else(|| self.0.new_trace_id(), |own| own.trace_id.0.into())
    }

    fn new_span_id(&self) -> SpanId {
        own().map_or_else(|| self.0.new_span_id(), |own| own.span_id.0.into())
    }
}
