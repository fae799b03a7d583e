//! A towpath client as a part of an axum application's state.
//!
//! The client is cheap to clone and connects by itself, so it can be made before the service it calls is
//! there. This program starts that service and the web server, asks once over HTTP, prints the answer and
//! ends: `cargo run --example axum_state`.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::error::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use towpath::{CallError, Client, Router, Server, fault_codes};

fault_codes! {
    /// What the user service fails with.
    enum UserFault {
        /// Nobody has this id.
        NoSuchUser = "USR-E-001", "no such user";
    }
}

#[derive(Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct GetUser {
    id: u64,
}

/// The service, over MCP.
async fn get_user(towpath::Json(ask): towpath::Json<GetUser>) -> Result<towpath::Json<User>, UserFault> {
    match ask.id {
        1001 => Ok(towpath::Json(User { id: 1001, name: "Ada".to_owned() })),
        _ => Err(UserFault::NoSuchUser),
    }
}

#[derive(Clone)]
struct App {
    users: Client,
}

/// The web server's page about a user, which asks the service.
async fn show_user(State(app): State<App>, Path(id): Path<u64>) -> Result<String, Failure> {
    let user: User = app.users.call("UserService.GetUserInfo", &json!({ "id": id })).await?;
    Ok(format!("{} is {}", user.id, user.name))
}

/// A call that failed, as a page: what the service says no to is not our failure.
struct Failure(CallError);

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0.fault().and_then(|fault| UserFault::parse(fault.code())) {
            Some(UserFault::NoSuchUser) => StatusCode::NOT_FOUND,
            None if self.0.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
            None => StatusCode::BAD_GATEWAY,
        };
        (status, self.0.to_string()).into_response()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder().bind("127.0.0.1:0").await?;
    let users = Client::connect_lazy(format!("mcp://{}", server.local_addr()))?;
    tokio::spawn(server.serve(Router::new().route("UserService.GetUserInfo", get_user)).into_future());

    let pages = axum::Router::new().route("/users/{id}", get(show_user)).with_state(App { users });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, pages).into_future());

    for id in [1001, 7] {
        let mut browser = TcpStream::connect(address).await?;
        let ask = format!("GET /users/{id} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        browser.write_all(ask.as_bytes()).await?;
        let mut page = String::new();
        browser.read_to_string(&mut page).await?;
        let status = page.lines().next().unwrap_or_default();
        let body = page.split("\r\n\r\n").nth(1).unwrap_or_default();
        println!("{status}: {body}");
    }
    Ok(())
}
