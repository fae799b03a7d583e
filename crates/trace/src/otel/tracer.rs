//! Spans that others make within a call.

use super::ids::own;
use opentelemetry::{
    Context,
    trace::{SpanBuilder, SpanContext, TraceContextExt, TraceFlags, TraceState, Tracer},
};
use towpath_core::context::current_trace;

/// A tracer whose spans are children of the call that is being handled, where nothing nearer is around them: in a
/// task that was spawned by [`context::spawn`](towpath_core::context::spawn), say, which has the call's context and
/// not its `tracing` span. Within a call that is not sampled they are not sampled either.
#[derive(Clone, Debug)]
pub struct InCalls<T>(T);

impl<T> InCalls<T> {
    /// Around a tracer.
    pub const fn new(tracer: T) -> Self {
        InCalls(tracer)
    }
}

impl<T: Tracer> Tracer for InCalls<T> {
    type Span = T::Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> T::Span {
        let nearer = parent.span().span_context().is_valid() || own().is_some();
        match current_trace().filter(|_| !nearer) {
            None => self.0.build_with_context(builder, parent),
            Some(call) => {
                let call = SpanContext::new(
                    call.trace_id.0.into(),
                    call.span_id.0.into(),
                    TraceFlags::new(call.flags),
                    false,
                    TraceState::NONE,
                );
                self.0.build_with_context(builder, &parent.with_remote_span_context(call))
            }
        }
    }
}
