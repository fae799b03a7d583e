//! Where ids are decided by somebody else.

use crate::Role;
use std::sync::OnceLock;
use towpath_core::context::{SpanId, TraceContext};
use tracing::Span;

/// A span that has just been made and was not entered.
// Nobody reads it in a build without a bridge.
#[cfg_attr(not(feature = "opentelemetry"), allow(dead_code))]
pub(crate) struct Made<'a> {
    pub(crate) span: &'a Span,
    pub(crate) role: Role,
    /// What it is to be.
    pub(crate) own: TraceContext,
    pub(crate) parent: Option<SpanId>,
    pub(crate) tracestate: Option<&'a [u8]>,
}

/// Where a span is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) own: TraceContext,
    pub(crate) parent: Option<SpanId>,
}

/// A tracing system that keeps spans by ids of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bridge {
    /// Makes a span known there, and says where it is.
    pub(crate) cross: fn(Made<'_>) -> Place,
    /// The span of that system in which this code runs.
    pub(crate) around: fn() -> Option<TraceContext>,
}

/// One for the process, as `tracing`'s subscriber is; it does nothing for spans that its system does not know.
static BRIDGE: OnceLock<Bridge> = OnceLock::new();

#[cfg_attr(not(feature = "opentelemetry"), allow(dead_code))]
pub(crate) fn build(bridge: Bridge) {
    // The second one is the same.
    let _ = BRIDGE.set(bridge);
}

/// Where a span is. Without a tracing system that knows better it is where it was put.
pub(crate) fn cross(made: Made<'_>) -> Place {
    match BRIDGE.get() {
        Some(bridge) => (bridge.cross)(made),
        None => Place { own: made.own, parent: made.parent },
    }
}

/// The trace in which a call is made that has none of its own.
#[inline]
pub(crate) fn around() -> Option<TraceContext> {
    BRIDGE.get().and_then(|bridge| (bridge.around)())
}
