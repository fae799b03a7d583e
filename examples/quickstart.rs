//! A server on a free port, and a client that calls it.

use serde::{Deserialize, Serialize};
use towpath::{Client, Fault, Json, Router, Server};

#[derive(Deserialize)]
struct GetUser {
    id: u64,
}

#[derive(Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
}

async fn get_user(Json(wanted): Json<GetUser>) -> Result<Json<User>, Fault> {
    Ok(Json(User { id: wanted.id, name: format!("customer {}", wanted.id) }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().bind("127.0.0.1:0").await?;
    let url = format!("mcp://{}", server.local_addr());
    tokio::spawn(server.serve(Router::new().route("UserService.GetUserInfo", get_user)).into_future());

    let client = Client::connect(&url).await?;
    let user: User = client.call("UserService.GetUserInfo", &serde_json::json!({"id": 1001})).await?;
    println!("{} is {}", user.id, user.name);
    Ok(())
}
