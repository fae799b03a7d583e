//! Liveness and readiness over HTTP.

use super::{health::Health, report::Report};
use axum::{
    Json, Router,
    http::{HeaderValue, StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
    routing::get,
};

impl Health {
    /// `GET /livez` and `GET /readyz`: 200 if all is well and 503 if not, with a [`Report`] as JSON.
    ///
    /// The report names the checks and says why they failed: serve it where only those come who may read that.
    pub fn router(&self) -> Router {
        let (live, ready) = (self.clone(), self.clone());
        let live = get(move || {
            let health = live.clone();
            async move { health.live().await }
        });
        let ready = get(move || {
            let health = ready.clone();
            async move { health.ready().await }
        });
        Router::new().route("/livez", live).route("/readyz", ready)
    }
}

/// 200 or 503, with the report as JSON, not to be cached.
impl IntoResponse for Report {
    fn into_response(self) -> Response {
        let status = if self.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
