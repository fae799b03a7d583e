//! Requests of `http`.

use super::{Came, Describe, Put, Subject, Value};
use crate::{Role, propagate::headers};
use http::{Extensions, Method, Request, Response, Uri, header::HOST, header::HeaderValue};
use std::{borrow::Cow, fmt, sync::Arc};
use tokio::time::Instant;
use towpath_core::{AsError, Clock, Context, HasContext, context::SpanId};

/// For requests and responses of `http`, around axum, hyper and others: spans by OpenTelemetry's conventions for
/// HTTP, the trace in headers (W3C's; a server understands B3 as well).
///
/// A server's layer enters the call's context, as nobody else does: calls that a handler makes inherit the trace, the
/// baggage and the deadline.
#[derive(Clone, Copy, Default)]
pub struct Http {
    route: Option<Route>,
}

type Route = fn(&Extensions) -> Option<&str>;

impl Http {
    /// Spans are named after the method of the request alone: paths are too many.
    pub const fn new() -> Self {
        Http { route: None }
    }

    /// Names spans after the route, too, where there is one. It is looked for in the request's extensions: with axum,
    /// and the layer put on by `Router::route_layer`,
    /// `|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str)`.
    #[must_use]
    pub const fn route(mut self, route: Route) -> Self {
        self.route = Some(route);
        self
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("route", &self.route.is_some()).finish()
    }
}

/// What is kept of a request of `http`: reference counts.
#[derive(Clone, Debug)]
pub struct HttpSubject {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    route: Option<Arc<str>>,
}

impl HttpSubject {
    /// Host and port that were asked for.
    fn authority(&self) -> Option<http::uri::Authority> {
        let given = || self.host.as_ref()?.to_str().ok()?.parse().ok();
        self.uri.authority().cloned().or_else(given)
    }
}

impl Subject for HttpSubject {
    fn name(&self) -> Cow<'_, str> {
        match &self.route {
            Some(route) => format!("{} {route}", self.method).into(),
            None => self.method.as_str().into(),
        }
    }

    fn attributes(&self, put: &mut Put<'_>) {
        put("http.request.method", Value::Str(self.method.as_str()));
        put("url.path", Value::Str(self.uri.path()));
        if let Some(scheme) = self.uri.scheme_str() {
            put("url.scheme", Value::Str(scheme));
        }
        if let Some(route) = &self.route {
            put("http.route", Value::Str(route));
        }
        if let Some(authority) = self.authority() {
            put("server.address", Value::Str(authority.host()));
            if let Some(port) = authority.port_u16() {
                put("server.port", Value::Int(port.into()));
            }
        }
    }
}

impl<A, B, E: AsError> Describe<Request<A>, Response<B>, E> for Http {
    type Subject = HttpSubject;

    const SCOPES: bool = true;

    fn context<'a>(&self, request: &'a mut Request<A>) -> Option<&'a mut Context> {
        HasContext::context_mut(request)
    }

    fn receive(&self, request: &mut Request<A>) -> Came {
        headers::read(request)
    }

    fn send(&self, request: &mut Request<A>, _: Option<SpanId>) {
        headers::write(request);
    }

    fn start(&self, request: &mut Request<A>) -> Instant {
        Clock::start(request)
    }

    fn end(&self, _: &mut Response<B>) -> Instant {
        Clock::now()
    }

    fn subject(&self, request: &Request<A>) -> HttpSubject {
        HttpSubject {
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: request.headers().get(HOST).cloned(),
            route: self.route.and_then(|route| route(request.extensions())).map(Arc::from),
        }
    }

    fn answered(&self, role: Role, response: &Response<B>, put: &mut Put<'_>) {
        let status = response.status();
        put("http.response.status_code", Value::Int(status.as_u16().into()));
        let is_error = status.is_server_error() || (status.is_client_error() && role != Role::Server);
        if is_error {
            put("error.type", Value::Str(status.as_str()));
        }
    }

    fn message(&self, error: &E) -> String {
        error.as_error().to_string()
    }
}
