//! What is known of a call: where its trace is, and what its span says.

#[cfg(feature = "http")]
mod http;
mod rpc;

#[cfg(feature = "http")]
pub use http::{Http, HttpSubject};
pub use rpc::Rpc;

use crate::Role;
use std::borrow::Cow;
use tokio::time::Instant;
use towpath_core::{Context, context::SpanId};

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Text.
    Str(&'a str),
    /// A whole number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
}

/// Takes the attributes of a span, one by one. A `tracing` span has room for those that this crate names (see
/// [`FIELDS`](crate::FIELDS)); a call that was kept without one takes all.
pub type Put<'a> = dyn FnMut(&'static str, Value<'_>) + 'a;

/// What is kept of a request for the end of its call: cheap to make, as it is made of most calls and seldom used.
pub trait Subject {
    /// The name of the span: of few different ones.
    fn name(&self) -> Cow<'_, str>;

    /// What the span says of the request.
    fn attributes(&self, put: &mut Put<'_>);
}

/// What is to be done with the flag that says whether a trace is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It came with the trace; or there is no trace.
    Decided,
    /// The trace came without it: it is decided here.
    Undecided,
    /// It came without a trace.
    Sampled(bool),
}

/// How a layer of this crate reads and writes a call's trace, and what a span says of the call.
///
/// [`Rpc`] is for towpath's own requests, `Http` (feature `http`) for those of `http`. Write an implementation for a
/// request type of your own.
pub trait Describe<Req, Res, Err> {
    /// What is kept of a request for the end of its call.
    type Subject: Subject;

    /// Whether the context has to be entered by the layer of a server, as nobody else does it: see
    /// [`context::scope`](towpath_core::context::scope).
    const SCOPES: bool = false;

    /// The context, made if it can be; without one there is no trace.
    fn context<'a>(&self, request: &'a mut Req) -> Option<&'a mut Context>;

    /// On a server: reads what has arrived in other places than the context into it.
    fn receive(&self, _request: &mut Req) -> Came {
        Came::Decided
    }

    /// On a client: writes the context's trace into other places. `parent` is that of its span.
    fn send(&self, _request: &mut Req, _parent: Option<SpanId>) {}

    /// When the call began.
    fn start(&self, request: &mut Req) -> Instant;

    /// When it was answered.
    fn end(&self, response: &mut Res) -> Instant;

    /// What is to be known of the request at the end.
    fn subject(&self, request: &Req) -> Self::Subject;

    /// What the span says of the response.
    fn answered(&self, _role: Role, _response: &Res, _put: &mut Put<'_>) {}

    /// What was failed with, in words.
    fn message(&self, error: &Err) -> String;
}
