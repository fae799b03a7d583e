//! What the layer reports.

use crate::Source;
use std::time::Duration;
use std::{error::Error as StdError, sync::Arc};
use towpath_core::Class;

/// A call has failed and was to be answered with something else; reported through
/// [`Observe`](towpath_core::Observe).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FellBack {
    /// Where the answer is from, or would have been.
    pub source: Source,
    /// What the failure means.
    pub class: Class,
    /// What came of it.
    pub end: End,
    /// If it was answered, the error that the caller did not get; `None` where nobody could read it. If it was not,
    /// what the fallback itself has failed with; the caller got the other one.
    pub error: Option<Arc<dyn StdError + Send + Sync>>,
    /// How old the answer is, if it was kept.
    pub age: Option<Duration>,
}

/// What came of a fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// The call was answered.
    Answered,
    /// There was nothing to answer with.
    Nothing,
    /// To make an answer has failed, too.
    Failed,
    /// The call's deadline came first.
    OutOfTime,
}
