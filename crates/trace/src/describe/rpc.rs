//! Towpath's own requests.

use super::{Came, Describe, Put, Subject, Value};
use crate::propagate::{b3, plain};
use std::borrow::Cow;
use tokio::time::Instant;
use towpath_core::{AsError, Clock, Context, Method, Request, Response, context::SpanId};

/// For towpath's own requests and responses: spans by OpenTelemetry's conventions for RPC. The default.
///
/// The transport reads and writes W3C's `traceparent`, `tracestate` and `baggage`, and reads the plain `trace-id` and
/// `span-id`. Beside them, a server understands B3 (`b3`, or `x-b3-traceid` and its kin) where there is nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rpc {
    plain: bool,
}

impl Rpc {
    /// Nothing is written beside what the transport does.
    pub const fn new() -> Self {
        Rpc { plain: false }
    }

    /// Clients write the plain form, too, for callees that know no other: `trace-id`, `span-id` and `parent-id`. It
    /// costs some allocations for each call.
    #[must_use]
    pub const fn write_plain_ids(mut self) -> Self {
        self.plain = true;
        self
    }
}

impl Subject for Method {
    fn name(&self) -> Cow<'_, str> {
        self.as_str().into()
    }

    fn attributes(&self, put: &mut Put<'_>) {
        put("rpc.system.name", Value::Str("towpath"));
        put("rpc.method", Value::Str(self.as_str()));
        // As they were called before version 1.39 of the conventions.
        put("rpc.system", Value::Str("towpath"));
        put("rpc.service", Value::Str(self.service()));
    }
}

impl<A, B, E: AsError> Describe<Request<A>, Response<B>, E> for Rpc {
    type Subject = Method;

    #[inline]
    fn context<'a>(&self, request: &'a mut Request<A>) -> Option<&'a mut Context> {
        Some(request.context_mut())
    }

    #[inline]
    fn receive(&self, request: &mut Request<A>) -> Came {
        if request.context().trace().is_some() || request.metadata().is_empty() {
            return Came::Decided;
        }
        b3_in_metadata(request)
    }

    #[inline]
    fn send(&self, request: &mut Request<A>, parent: Option<SpanId>) {
        if self.plain {
            plain::write(request, parent);
        }
    }

    #[inline]
    fn start(&self, request: &mut Request<A>) -> Instant {
        Clock::start(request)
    }

    #[inline]
    fn end(&self, response: &mut Response<B>) -> Instant {
        Clock::end(response)
    }

    #[inline]
    fn subject(&self, request: &Request<A>) -> Method {
        request.method().clone()
    }

    fn message(&self, error: &E) -> String {
        error.as_error().to_string()
    }
}

#[inline(never)]
fn b3_in_metadata<A>(request: &mut Request<A>) -> Came {
    let (trace, came) = b3::read(|key| request.metadata().get(key));
    if trace.is_some() {
        request.context_mut().set_trace(trace);
    }
    came
}
