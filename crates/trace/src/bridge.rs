//! Where ids are decided by somebody else.

use crate::Role;
use std::sync::OnceLock;
use towpath_core::context::{SpanId, TraceContext};
use tracing::Span;

/// A span that has just been made and was not entered.
pub(crate) struct Made<'a> {
    // Nobody reads it in a build without a bridge.
    #[cfg_attr(not(feature = "opentelemetry"), allow(dead_code))]
    pub(crate) span: &'a Span,
    #[cfg_attr(not(feature = "opentelemetry"), allow(dead_code))]
    pub(crate) role: Role,
    /// What it is to be.
    pub(crate) own: TraceContext,
    #[cfg_attr(not(feature = "opentelemetry"), allow(dead_code))]
    pub(crate) parent: Option<SpanId>,
    #[cfg_attr(not(feature = "opentelemetry"), allow(dead_code))]
    pub(crate) tracestate: Option<&'a [u8]>,
}

/// Makes a span known to a tracing system that keeps its spans by ids of its own, and says which those are.
pub(crate) type Bridge = fn(Made<'_>) -> TraceContext;

/// One for the process, as `tracing`'s subscriber is; it does nothing for spans that its system does not know.
static BRIDGE: OnceLock<Bridge> = OnceLock::new();

#[cfg_attr(not(feature = "opentelemetry"), allow(dead_code))]
pub(crate) fn build(bridge: Bridge) {
    // The second one is the same.
    let _ = BRIDGE.set(bridge);
}

/// The ids that a span has. Without a tracing system that has others they are those that it was given.
pub(crate) fn cross(made: Made<'_>) -> TraceContext {
    match BRIDGE.get() {
        Some(bridge) => bridge(made),
        None => made.own,
    }
}
