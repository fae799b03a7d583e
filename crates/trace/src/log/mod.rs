//! Log lines that say which call they belong to: formats for `tracing-subscriber`'s `fmt` layer.
//!
//! A line that is written while a call is handled has the call's `trace_id` and the `span_id` of what is nearest to it,
//! whether the call is sampled or not, and also in what was spawned by
//! [`context::spawn`](towpath_core::context::spawn).
//!
//! ```
//! use tracing_subscriber::prelude::*;
//! use towpath_trace::log::JsonLines;
//!
//! let log = tracing_subscriber::fmt::layer().event_format(JsonLines::new());
//! tracing_subscriber::registry().with(log).init();
//! tracing::info!(order = 1001, "placed");
//! // {"timestamp":"…","level":"INFO","target":"orders","message":"placed","trace_id":"…","span_id":"…","fields":{"order":1001}}
//! ```

mod json;
mod text;

pub use json::JsonLines;
pub use text::WithIds;

use crate::bridge;
use towpath_core::context::{TraceContext, current_trace};

/// Where a line is written: in a span that somebody has made within the call, or in the call's own.
fn place() -> Option<TraceContext> {
    let call = current_trace();
    let nearer = bridge::around().filter(|around| call.is_none_or(|call| call.trace_id == around.trace_id));
    nearer.or(call)
}
