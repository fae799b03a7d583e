//! The router.

mod breakers;
mod events;
mod guard;
mod page;

use crate::{Admin, ServerState, admin::Ask, view::TargetView};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) fn router(admin: &Admin) -> Router {
    let shared = Arc::new(admin.clone());
    let (live, ready) = admin.asks();
    let mut guarded = Router::new()
        .route("/snapshot.json", get(snapshot))
        .route("/stack.json", get(stack))
        .route("/endpoints.json", get(endpoints))
        .route("/methods.json", get(methods))
        .route("/timeline.json", get(timeline))
        .route("/explain/{trace_id}", get(explain))
        .route("/events", get(events::stream))
        .route("/breakers", post(breakers::force))
        .with_state(shared.clone());
    if let Some(metrics) = admin.metrics_router() {
        guarded = guarded.nest("/metrics", metrics);
    }
    let servers = shared.clone();
    let guarded = guarded.layer(middleware::from_fn_with_state(shared.clone(), guard::token));
    let open = Router::new()
        .route("/", get(page::index))
        .route("/admin.css", get(page::style))
        .route("/admin.js", get(page::script))
        .route("/health/live", get(move || health(live)))
        .route("/health/ready", get(move || is_ready(servers, ready)));
    guarded.merge(open).layer(middleware::from_fn_with_state(shared, guard::headers))
}

async fn health(ask: Option<Ask>) -> Response {
    match ask {
        Some(ask) => ask().await,
        None => Json(json!({ "status": "ok" })).into_response(),
    }
}

/// Ready are the servers first, and then what the user asks.
async fn is_ready(admin: Arc<Admin>, ask: Option<Ask>) -> Response {
    match admin.servers() {
        None | Some(ServerState::Serving) => health(ask).await,
        Some(state) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": state.as_str() }))).into_response()
        }
    }
}

async fn snapshot(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    Json(admin.snapshot())
}

async fn stack(State(admin): State<Arc<Admin>>) -> Json<Value> {
    of_each(
        &admin,
        |one| json!({ "name": one.name, "side": one.side, "stack": one.stack, "warnings": one.warnings }),
    )
}

async fn endpoints(State(admin): State<Arc<Admin>>) -> Json<Value> {
    of_each(
        &admin,
        |one| json!({ "name": one.name, "state": one.state, "about": one.about, "endpoints": one.endpoints, "pool": one.pool }),
    )
}

async fn methods(State(admin): State<Arc<Admin>>) -> Json<Value> {
    of_each(&admin, |one| json!({ "name": one.name, "side": one.side, "methods": one.methods }))
}

async fn timeline(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(json!({ "events": admin.events() }))
}

fn of_each(admin: &Admin, say: impl Fn(&TargetView) -> Value) -> Json<Value> {
    let targets: Vec<Value> = admin.snapshot().targets.iter().map(say).collect();
    Json(json!({ "targets": targets }))
}

/// All that was kept of a trace: one that goes through several clients of this process has an entry for each.
async fn explain(State(admin): State<Arc<Admin>>, Path(trace_id): Path<String>) -> Response {
    let found = admin.explain(&trace_id.to_ascii_lowercase());
    if found.is_empty() {
        let why = "nothing is kept of that trace: only calls that failed and a sample of the others are, the last ones";
        return (StatusCode::NOT_FOUND, Json(json!({ "error": why }))).into_response();
    }
    Json(json!({ "calls": found })).into_response()
}
