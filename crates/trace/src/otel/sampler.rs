//! Which spans are recorded: the decision was made before.

use super::ids::own;
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// Samples the spans of calls for which it was decided, and what is below them. A trace that begins with a span of
/// somebody else is sampled with a probability.
#[derive(Clone, Debug)]
pub(super) struct AsDecided {
    others: Sampler,
}

impl AsDecided {
    pub(super) fn new(others: f64) -> Self {
        AsDecided { others: Sampler::TraceIdRatioBased(others) }
    }
}

impl ShouldSample for AsDecided {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let above = parent.map(|parent| parent.span().span_context().clone());
        let above = above.filter(|above| above.is_valid());
        let sampled = match (own(), &above) {
            (Some(own), _) => own.is_sampled(),
            (None, Some(above)) => above.is_sampled(),
            (None, None) => {
                return self.others.should_sample(parent, trace_id, name, kind, attributes, links);
            }
        };
        SamplingResult {
            decision: if sampled { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
            attributes: Vec::new(),
            trace_state: above.map_or(TraceState::NONE, |above| above.trace_state().clone()),
        }
    }
}
