//! Spans of calls that were not sampled and were worth keeping.

use super::queue::Queue;
use crate::{Recorded, Role, Value, Why};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::{fmt, time::SystemTime};
use towpath_core::Observe;

/// Makes a span of a call that was kept, after the fact, and sends it with the others: what to
/// [observe](crate::TraceLayer::observe) the layers with. [`Export::keeper`](super::Export::keeper) makes it.
///
/// Such a span says `towpath.kept`: `failed`, `slow` or `below` (something below it was kept). What others would have
/// recorded within the call is not there.
#[derive(Clone)]
pub struct Keeper {
    pub(super) queue: Queue,
    pub(super) scope: InstrumentationScope,
}

impl<'a> Observe<Recorded<'a>> for Keeper {
    fn observe(&self, recorded: &Recorded<'a>) {
        // Of a call that is sampled there is a span.
        if recorded.is_kept() {
            self.queue.push(self.span(recorded));
        }
    }
}

impl Keeper {
    #[cold]
    fn span(&self, recorded: &Recorded<'_>) -> SpanData {
        let end_time = SystemTime::now();
        let mut attributes = Vec::with_capacity(12);
        recorded.attributes(|name, value| {
            attributes.push(match value {
                Value::Str(text) => KeyValue::new(name, text.to_owned()),
                Value::Int(number) => KeyValue::new(name, number),
                Value::Bool(yes) => KeyValue::new(name, yes),
            });
        });
        let why = match recorded.why {
            Why::Sampled => "sampled",
            Why::Failed => "failed",
            Why::Slow => "slow",
            Why::Below => "below",
        };
        attributes.push(KeyValue::new("towpath.kept", why));
        let status = match recorded.outcome.message {
            _ if !recorded.outcome.is_error => Status::Unset,
            message => Status::error(message.unwrap_or_default().to_owned()),
        };
        let trace = recorded.trace;
        SpanData {
            span_context: SpanContext::new(
                trace.trace_id.0.into(),
                trace.span_id.0.into(),
                TraceFlags::new(trace.flags),
                false,
                TraceState::NONE,
            ),
            parent_span_id: recorded.parent.map_or(SpanId::INVALID, |parent| parent.0.into()),
            parent_span_is_remote: recorded.parent.is_some() && recorded.role == Role::Server,
            span_kind: if recorded.role == Role::Server { SpanKind::Server } else { SpanKind::Client },
            name: recorded.name.to_owned().into(),
            start_time: end_time.checked_sub(recorded.took).unwrap_or(end_time),
            end_time,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}
