//! How a trace travels, beside what the transport does itself.

pub(crate) mod b3;
mod baggage;
#[cfg(feature = "http")]
pub(crate) mod headers;
pub(crate) mod plain;
mod state;

pub use baggage::{Baggage, InvalidBaggage};
pub use state::{InvalidTracestate, Tracestate};
