//! What a layer of this crate reports.

use crate::{Put, Value};
use std::{fmt, time::Duration};
use tokio::time::Instant;
use towpath_core::{
    EndpointId, ErrorCode, Verdict,
    context::{SpanId, TraceContext},
};

/// What a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A whole call, on the side of the caller.
    Client,
    /// One attempt of it.
    Attempt,
    /// A call, on the side of the callee.
    Server,
}

/// Why a call was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// Its trace is sampled: there is a `tracing` span of it as well, if anybody subscribes to it.
    Sampled,
    /// Its trace is not sampled, and it failed.
    Failed,
    /// Its trace is not sampled, and it was slow.
    Slow,
    /// Its trace is not sampled, and something below it was kept.
    Below,
}

/// A call that was recorded and has ended: reported through [`Observe`](towpath_core::Observe) by reference, on the
/// path of the call.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Recorded<'a> {
    /// What it is of.
    pub role: Role,
    /// Its trace and its span.
    pub trace: TraceContext,
    /// The span that it is a child of.
    pub parent: Option<SpanId>,
    /// The name of its span: the method.
    pub name: &'a str,
    /// 0 for a first attempt; above it, a retry or a hedge (here or further up).
    pub attempt: u16,
    /// Where an attempt went to, if whoever picked it said so.
    pub endpoint: Option<EndpointId>,
    /// When it began.
    pub start: Instant,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome<'a>,
    /// Why it was recorded.
    pub why: Why,
    pub(crate) attributes: &'a dyn Fn(&mut Put<'_>),
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outcome<'a> {
    /// What the classifier says; `None` if nobody waited for the outcome, or the handler panicked.
    pub verdict: Option<Verdict>,
    /// Whether it is an error, from where the span stands: a fault that an application answers with is one to its caller,
    /// and not to itself.
    pub is_error: bool,
    /// The code of the fault or of the stack's error.
    pub code: Option<ErrorCode>,
    /// `error.type`, as OpenTelemetry names it: the code, `cancelled`, `panic`, or `_OTHER`.
    pub error_type: Option<&'a str>,
    /// What the stack failed with, in words.
    pub message: Option<&'a str>,
}

impl Recorded<'_> {
    /// All attributes of its span, by OpenTelemetry's conventions, one by one.
    pub fn attributes(&self, mut put: impl FnMut(&'static str, Value<'_>)) {
        (self.attributes)(&mut put);
    }

    /// Whether it was not sampled: there is no span of it but what is made of this.
    pub fn is_kept(&self) -> bool {
        self.why != Why::Sampled
    }
}

impl fmt::Debug for Recorded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("role", &self.role)
            .field("trace", &self.trace)
            .field("parent", &self.parent)
            .field("name", &self.name)
            .field("attempt", &self.attempt)
            .field("endpoint", &self.endpoint)
            .field("took", &self.took)
            .field("outcome", &self.outcome)
            .field("why", &self.why)
            .finish_non_exhaustive()
    }
}
