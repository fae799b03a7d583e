//! One idea of failure, shared by every layer that has to have one.

mod class;
mod default;
#[cfg(feature = "http")]
mod http;

pub use class::{Class, Verdict};
pub use default::{AsError, Classify, DefaultClassify};
