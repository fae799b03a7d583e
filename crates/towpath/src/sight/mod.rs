//! What others see of calls: traces.

mod trace;

pub(crate) use trace::Whereabouts;
pub use trace::{ClientTrace, ServerTrace, Tracing};
