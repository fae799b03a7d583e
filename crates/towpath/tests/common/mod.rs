//! A server to call.
#![allow(dead_code, unreachable_pub)] // no test uses all of it
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};
use tokio::task::JoinHandle;
use towpath::{Fault, Json, Raw, Request, Router, Server, fault_codes};

fault_codes! {
    /// What the test's service fails with.
    pub enum UserFault {
        /// Nobody has this id.
        NoSuchUser = "USR-E-001", "no such user";
    }
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub struct User {
    pub id: u64,
    pub name: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Ask {
    pub id: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Nap {
    pub ms: u64,
}

pub fn router() -> Router {
    Router::new()
        .route("UserService.GetUserInfo", async |Json(ask): Json<Ask>| -> Result<Json<User>, Fault> {
            match ask.id {
                0 => Err(UserFault::NoSuchUser.into()),
                id => Ok(Json(User { id, name: format!("user {id}") })),
            }
        })
        .route("Echo.Echo", async |raw: Raw| raw)
        .route("Debug.Sleep", async |Json(nap): Json<Nap>| {
            tokio::time::sleep(Duration::from_millis(nap.ms)).await;
            Json(nap.ms)
        })
        .route("Debug.Panic", async || -> () { panic!("on purpose") })
        .route("Debug.Left", async |request: Request| {
            let left = request.context().remaining(tokio::time::Instant::now());
            Json(left.map(|left| left.as_millis() as u64))
        })
}

/// A server that drains when told to.
pub struct Serving {
    pub address: SocketAddr,
    pub drain: tokio::sync::oneshot::Sender<()>,
    pub task: JoinHandle<std::io::Result<()>>,
}

impl Serving {
    pub fn url(&self) -> String {
        format!("mcp://{}", self.address)
    }

    /// Ends it at once: listener and connections are gone when this returns.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub async fn serve_at(address: impl Into<towpath::BindTo>, router: Router) -> Serving {
    let server = Server::builder().bind(address).await.unwrap();
    let address = server.local_addr();
    let (drain, drained) = tokio::sync::oneshot::channel();
    let serving = server.serve(router).with_graceful_shutdown(async {
        let _ = drained.await;
    });
    Serving { address, drain, task: tokio::spawn(serving.into_future()) }
}

pub async fn serve(router: Router) -> Serving {
    serve_at("127.0.0.1:0", router).await
}

/// Fails a test that hangs.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

/// Waits for a condition.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..4_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}
