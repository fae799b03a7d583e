//! What a server says about its methods.

use super::{
    body::Json,
    reply::{IntoResponse, ReplyTo},
};
use serde::{Deserialize, Serialize};
use towpath_core::{CodecId, Request, Response};

/// The reserved method that lists all others: see [`Router::without_listing`](super::Router::without_listing).
/// The body of the call is not read; the answer is JSON, a list of [`MethodInfo`].
pub const METHODS: &str = "mcp.Methods";

/// One method, as a server lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MethodInfo {
    /// The full name.
    pub name: String,
    /// The codecs that it takes, as numbers of the wire ([`CodecId`]); empty: whatever comes, or nobody
    /// knows (a service behind [`route_service`](super::Router::route_service)).
    #[serde(default)]
    pub codecs: Vec<u8>,
    /// What else is known: `idempotent` ([`Handler::idempotent`](super::Handler::idempotent)), `spawned`
    /// ([`Handler::spawned`](super::Handler::spawned)). Others may follow.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// What is known of a handler without calling it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct About {
    /// The codecs that it takes; `None`: whatever comes.
    pub codecs: Option<&'static [CodecId]>,
    /// Whether calling it twice does no harm.
    pub idempotent: bool,
    /// Whether each call gets a task of its own.
    pub spawned: bool,
}

impl About {
    /// Nothing is known beyond the codecs.
    pub const fn new(codecs: Option<&'static [CodecId]>) -> Self {
        About { codecs, idempotent: false, spawned: false }
    }

    pub(super) fn of(self, name: &str) -> MethodInfo {
        let codecs = self.codecs.unwrap_or_default().iter().map(|codec| codec.0).collect();
        let flags = [(self.idempotent, "idempotent"), (self.spawned, "spawned")];
        let flags = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| (*flag).to_owned()).collect();
        MethodInfo { name: name.to_owned(), codecs, flags }
    }
}

/// The answer to a call of [`METHODS`].
#[cold]
pub(super) fn answer(request: &Request, methods: Vec<MethodInfo>) -> Response {
    request.accept();
    Json(methods).into_response(&ReplyTo::new(request))
}
