//! A client or a server: its live handles, and how it looks at this moment.

mod handles;
mod order;
mod step;
mod words;

pub use handles::{EndpointHandles, Force, ServerState, Target};
pub use step::{Per, Step};
pub(crate) use words::status_word;
