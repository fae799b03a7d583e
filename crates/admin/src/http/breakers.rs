//! Breakers by hand.

use super::guard::refuse;
use crate::{Admin, Force};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::Error as _};
use serde_json::json;
use std::sync::Arc;

/// A page of another site cannot send it: for that it would have to be let by an answer of ours (CORS), and there is none.
pub(super) const HEADER: &str = "x-towpath-admin";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    target: String,
    breaker: String,
    #[serde(deserialize_with = "mode")]
    mode: Force,
}

fn mode<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Force, D::Error> {
    match &*String::deserialize(deserializer)? {
        "open" => Ok(Force::Open),
        "closed" => Ok(Force::Closed),
        "automatic" => Ok(Force::Automatic),
        other => Err(D::Error::custom(format!("mode is open, closed or automatic, not {other}"))),
    }
}

/// `{"target": "billing", "breaker": "method:Billing.Charge", "mode": "open"}`.
pub(super) async fn force(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    if !admin.is_writable() {
        return refuse(StatusCode::FORBIDDEN, "nothing can be changed here: see Admin::writable");
    }
    if !headers.contains_key(HEADER) {
        return refuse(StatusCode::FORBIDDEN, "who changes something sends the header x-towpath-admin");
    }
    let wish: Wish = match serde_json::from_slice(&body) {
        Ok(wish) => wish,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, &why.to_string()),
    };
    if !admin.force(&wish.target, &wish.breaker, wish.mode) {
        return refuse(StatusCode::NOT_FOUND, "there is no such breaker");
    }
    Json(json!({ "done": true })).into_response()
}
