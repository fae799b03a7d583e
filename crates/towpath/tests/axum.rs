//! A client as a field of axum's state, over real sockets up to the handler.
#![allow(clippy::unwrap_used)]

mod common;

use axum::{
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{Request, StatusCode},
    routing::get,
};
use common::{Ask, User, router, serve, soon};
use tower::ServiceExt;
use towpath::{CallError, Client};

#[derive(Clone)]
struct App {
    users: Client,
}

async fn user(State(app): State<App>, Path(id): Path<u64>) -> Result<axum::Json<User>, (StatusCode, String)> {
    let user = app.users.call("UserService.GetUserInfo", &Ask { id }).await;
    user.map(axum::Json).map_err(|error| match error {
        CallError::Fault(fault) => (StatusCode::NOT_FOUND, fault.code().to_string()),
        other => (StatusCode::BAD_GATEWAY, other.to_string()),
    })
}

#[tokio::test]
async fn a_client_in_the_state_of_an_axum_router() {
    let server = serve(router()).await;
    let app = App { users: Client::connect_lazy(server.url()).unwrap() };
    let site: axum::Router = axum::Router::new().route("/users/{id}", get(user)).with_state(app);
    let ask = async |path: &str| {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = soon(site.clone().oneshot(request)).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(ask("/users/7").await, (StatusCode::OK, r#"{"id":7,"name":"user 7"}"#.to_owned()));
    assert_eq!(ask("/users/0").await, (StatusCode::NOT_FOUND, "USR-E-001".to_owned()));
    server.kill().await;
}
