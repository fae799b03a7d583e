//! What is told of a call, and to whom.

use crate::Role;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use towpath_core::{EndpointId, Method, context::TraceContext};

/// A call that has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Ended<'a> {
    /// On which side.
    pub role: Role,
    /// What was called; `None` if the request does not say.
    pub method: Option<&'a Method>,
    /// How it ended, in a word, as metrics have it: `ok`, `fault`, `failed`, `invalid`, `refused`, `cancelled`, `panicked`.
    pub outcome: &'static str,
    /// The code, `cancelled`, `panic`, or `_OTHER`; empty for `ok`.
    pub error_type: &'a str,
    /// When it began.
    pub start: Instant,
    /// How long it took.
    pub took: Duration,
    /// 0 for a first attempt; above it, a retry or a hedge (here or further up).
    pub attempt: u16,
    /// Where it went to, if whoever picked the endpoint said so.
    pub endpoint: Option<EndpointId>,
    /// Its trace.
    pub trace: Option<TraceContext>,
}

impl Ended<'_> {
    /// The method's name, or nothing.
    pub fn name(&self) -> &str {
        self.method.map_or("", Method::as_str)
    }
}

/// Who is told of calls that have ended: an [`AccessLog`](crate::AccessLog), a [`Tap`](crate::Tap), a pair of both, one's own. It
/// is called on the path of the call: it must neither block nor panic.
pub trait Listen {
    /// Whether there is any need to be told, asked when a call begins. It should cost next to nothing.
    fn listens(&self) -> bool;

    /// A call has ended.
    fn ended(&self, call: &Ended<'_>);
}

impl<A: Listen, B: Listen> Listen for (A, B) {
    #[inline]
    fn listens(&self) -> bool {
        self.0.listens() || self.1.listens()
    }

    fn ended(&self, call: &Ended<'_>) {
        self.0.ended(call);
        self.1.ended(call);
    }
}

impl<L: Listen + ?Sized> Listen for Arc<L> {
    #[inline]
    fn listens(&self) -> bool {
        (**self).listens()
    }

    fn ended(&self, call: &Ended<'_>) {
        (**self).ended(call);
    }
}
