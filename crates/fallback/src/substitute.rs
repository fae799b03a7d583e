//! What answers in place of a failed call.

use std::{fmt, future::Future, time::Duration};
use tokio::time::Instant;
use towpath_core::{BoxError, Class};

/// A way to answer in place of a failed call, for [`FallbackLayer::new`](crate::FallbackLayer::new).
///
/// A request is gone when its call has failed: what is needed of it is [kept](Self::keep) beforehand, of each call.
/// One `Substitute` serves all clones of the layer's services.
pub trait Substitute<Req, Res, Err> {
    /// What is kept of a request until its outcome is known.
    type Kept;

    /// The answer that is being made.
    type Future: Future<Output = Result<Substituted<Res>, Declined>>;

    /// Whether good answers are to be [learned](Self::learn), which needs to know when calls began.
    const LEARNS: bool = false;

    /// Whether the answer may take its time: then the inner service is left a little less than the deadline,
    /// and the answer is given up at the deadline.
    const WAITS: bool = false;

    /// Where the answer is from.
    fn source(&self) -> Source;

    /// Keeps what is needed of a request, of which nobody knows yet whether it will fail. `start` is there only
    /// where the substitute [learns](Self::LEARNS).
    fn keep(&self, request: &Req, start: Option<Instant>) -> Self::Kept;

    /// A call was answered well. Called only if the substitute [learns](Self::LEARNS).
    fn learn(&self, _kept: Self::Kept, _answer: &Res) {}

    /// A call has failed, and is to be answered.
    fn substitute(&self, kept: Self::Kept, failure: Failure<'_, Res, Err>) -> Self::Future;
}

/// A call that has failed.
#[derive(Debug)]
pub struct Failure<'a, Res, Err> {
    /// What the outcome means.
    pub class: &'a Class,
    /// The outcome: an error, or an answer that counts as a failure.
    pub outcome: Result<&'a Res, &'a Err>,
}

/// An answer in place of another one.
#[derive(Debug)]
pub struct Substituted<Res> {
    /// The answer.
    pub response: Res,
    /// How old it is, if it was kept.
    pub age: Option<Duration>,
}

impl<Res> From<Res> for Substituted<Res> {
    fn from(response: Res) -> Self {
        Substituted { response, age: None }
    }
}

/// Why there is no answer: the caller gets the failure as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum Declined {
    /// There is nothing to answer with.
    Nothing,
    /// To make an answer has failed, too.
    Failed(BoxError),
}

/// Where an answer is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// A value.
    Value,
    /// A function.
    Function,
    /// Another service.
    Service,
    /// The last good answer.
    LastGood,
    /// Something else, by a short name in lower-case ASCII.
    Other(&'static str),
}

impl Source {
    /// The name, as in the answer's `degraded` entry.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Value => "value",
            Source::Function => "function",
            Source::Service => "service",
            Source::LastGood => "last-good",
            Source::Other(name) => name,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<Res, Err> Clone for Failure<'_, Res, Err> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Res, Err> Copy for Failure<'_, Res, Err> {}
