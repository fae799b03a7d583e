//! Who may come in, and what a browser may do with what it gets.

use crate::Admin;
use axum::{
    Json,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{self, AUTHORIZATION, HOST, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::{net::IpAddr, sync::Arc};
use subtle::ConstantTimeEq;

/// Everything that the page needs comes from here, and nothing else may run in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: &[(HeaderName, &str)] = &[
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Puts headers on every answer, and refuses what comes under a foreign name while there is no token.
pub(super) async fn headers(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let mut response = match admin.has_token().is_some()
        || is_own_name(request.headers(), |name| admin.knows(name))
    {
        true => next.run(request).await,
        false => {
            let why = "this is served without a token, so only under the name localhost, an address, or a name that Admin::host was told: a page of \
                       somebody else's may have had its name changed into this machine's";
            refuse(StatusCode::FORBIDDEN, why)
        }
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Whether a browser asks for it by a name that nobody else can have (DNS rebinding: a page from `evil.example` may have
/// that name point here, and reads what it likes). Who says no host is no browser.
fn is_own_name(headers: &HeaderMap, known: impl Fn(&str) -> bool) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok() || known(name)
}

/// Lets in who has the token.
pub(super) async fn token(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let Some(token) = admin.has_token() else { return next.run(request).await };
    let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    // The scheme's case does not matter (RFC 9110, 11.1).
    let given = given.and_then(|given| given.split_at_checked(7));
    let is_it = given.is_some_and(|(scheme, given)| {
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(given.ct_eq(token.as_bytes()))
    });
    if is_it {
        return next.run(request).await;
    }
    let mut response = refuse(StatusCode::UNAUTHORIZED, "this needs the admin interface's token");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

pub(super) fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_foreign() {
        let own = |host: &'static str| {
            is_own_name(&HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]), |name| {
                name == "ops.example"
            })
        };
        for host in
            ["localhost", "LocalHost:80", "127.0.0.1:9", "[::1]:9", "[::1]", "10.0.0.7", "ops.example:80"]
        {
            assert!(own(host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:9900", "localhost.evil.example", "", "127.0.0.1.evil.example"]
        {
            assert!(!own(host), "{host}");
        }
        assert!(is_own_name(&HeaderMap::new(), |_| false));
    }
}
