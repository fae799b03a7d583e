//! A span of a call, as OpenTelemetry knows it.

use super::ids::starting;
use crate::{
    Role,
    bridge::{Bridge, Made, Place},
};
use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt, TraceFlags, TraceState},
};
use std::str::FromStr;
use towpath_core::context::{SpanId, TraceContext, TraceId};
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub(super) const BRIDGE: Bridge = Bridge { cross, around };

/// What is around a call that has no trace of its own: a span that was entered here by somebody else.
fn around() -> Option<TraceContext> {
    Context::map_current(|current| {
        let span = current.span();
        current.has_active_span().then(|| of(span.span_context())).flatten()
    })
}

fn of(context: &SpanContext) -> Option<TraceContext> {
    context.is_valid().then(|| TraceContext {
        trace_id: TraceId(u128::from_be_bytes(context.trace_id().to_bytes())),
        span_id: SpanId(u64::from_be_bytes(context.span_id().to_bytes())),
        flags: context.trace_flags().to_u8(),
    })
}

/// Makes the span a child of its parent, and starts it.
fn cross(made: Made<'_>) -> Place {
    let (own, mut parent) = (made.own, made.parent);
    if made.role != Role::Server
        && let Some(nearer) = around().filter(|around| around.trace_id == own.trace_id)
    {
        // A span that was made within a handler, around this call.
        parent = Some(nearer.span_id);
    }
    let above = match parent {
        Some(parent) => {
            let state =
                made.tracestate.and_then(|text| TraceState::from_str(std::str::from_utf8(text).ok()?).ok());
            Context::current().with_remote_span_context(SpanContext::new(
                own.trace_id.0.into(),
                parent.0.into(),
                TraceFlags::new(own.flags),
                made.role == Role::Server,
                state.unwrap_or_default(),
            ))
        }
        // What is around it is none of its own.
        None => Context::new(),
    };
    if made.span.set_parent(above).is_err() {
        // Nobody who is subscribed knows of OpenTelemetry.
        return Place { own, parent };
    }
    let started = starting(own, || made.span.context());
    let own = of(started.span().span_context()).unwrap_or(own);
    Place { own, parent }
}
