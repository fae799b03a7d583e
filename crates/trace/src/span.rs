//! A `tracing` span of a call.

use crate::{Role, Value, event::Outcome};
use tracing::{Span, field::Empty};

/// The target of all spans of this crate, for filters: `towpath::trace=info`.
pub const TARGET: &str = "towpath::trace";

macro_rules! make {
    ($name:literal, $called:ident, $kind:literal, [$($field:literal),*]) => {
        tracing::info_span!(target: TARGET, $name, "otel.name" = $called, "otel.kind" = $kind,
            "otel.status_code" = Empty, "otel.status_description" = Empty, $($field = Empty),*)
    };
}

macro_rules! fields {
    ($fields:tt) => {
        /// The attributes for which a `tracing` span of this crate has room, by OpenTelemetry's conventions for RPC and
        /// HTTP, and a few of our own. What a [`Describe`](crate::Describe) says beside them is left out there.
        pub const FIELDS: &[&str] = &$fields;

        /// A span; one that is disabled if nobody subscribes to it.
        pub(crate) fn open(role: Role, name: &str) -> Span {
            match role {
                Role::Client => make!("call", name, "client", $fields),
                Role::Attempt => make!("attempt", name, "client", $fields),
                Role::Server => make!("serve", name, "server", $fields),
            }
        }
    };
}

fields!([
    "rpc.system.name",
    "rpc.method",
    "rpc.response.status_code",
    "rpc.system",
    "rpc.service",
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "url.path",
    "url.scheme",
    "server.address",
    "server.port",
    "error.type",
    "towpath.attempt",
    "towpath.endpoint"
]);

/// Writes an attribute into a span, if it has room for it.
pub(crate) fn put(span: &Span, name: &'static str, value: Value<'_>) {
    match value {
        Value::Str(text) => span.record(name, text),
        Value::Int(number) => span.record(name, number),
        Value::Bool(yes) => span.record(name, yes),
    };
}

/// Writes whether it is an error, and closes it.
pub(crate) fn close(span: Span, outcome: &Outcome<'_>) {
    if outcome.is_error {
        match outcome.message {
            // Says that it is an error, too.
            Some(message) => span.record("otel.status_description", message),
            None => span.record("otel.status_code", "error"),
        };
    }
    // A span ends when it was left for the last time.
    drop(span.enter());
}
