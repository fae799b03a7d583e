//! `towpath serve`

use crate::{
    args::ServeArgs,
    exit::Failure,
    listen::{self, Listen},
    tls,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use towpath::{BindOptions, ErrorCode, Fault, Json, Raw, Register, Router, ServerConfig, router::Handler};

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    listen::log("warn");
    let mut options = BindOptions::new().unix_mode(args.mode);
    if let Some(path) = &args.handover {
        options = options.handover(path);
    }
    let config = ServerConfig {
        compression: args.compress.map(|compress| compress.compression()),
        ..ServerConfig::default()
    };
    let register = args.register.iter().map(Register::at).collect::<Result<_, _>>();
    let register = register.map_err(|error| Failure::Usage(error.detail().to_string()))?;
    let listen = Listen { at: &args.listen, options, tls: tls::server(&args.tls)?, config, register };
    listen::run(listen, router(), |serve| serve).await
}

#[derive(Deserialize)]
struct GetUser {
    id: u64,
}

#[derive(Serialize)]
struct User {
    id: u64,
    name: String,
    email: String,
}

#[derive(Deserialize, Serialize)]
struct Sleep {
    ms: u64,
}

#[derive(Deserialize)]
struct Fail {
    code: ErrorCode,
    #[serde(default)]
    message: String,
    cause: Option<ErrorCode>,
}

fn router() -> Router {
    Router::new()
        .route("Echo.Echo", (async |body: Raw| body).idempotent())
        .route("UserService.GetUserInfo", get_user.idempotent())
        .route("Debug.Sleep", sleep)
        .route("Debug.Fail", fail)
}

async fn get_user(Json(GetUser { id }): Json<GetUser>) -> Json<User> {
    Json(User { id, name: format!("User {id}"), email: format!("user{id}@example.com") })
}

async fn sleep(Json(nap): Json<Sleep>) -> Json<Sleep> {
    tokio::time::sleep(Duration::from_millis(nap.ms)).await;
    Json(nap)
}

async fn fail(Json(Fail { code, message, cause }): Json<Fail>) -> Result<(), Fault> {
    let fault = Fault::new(code, message);
    Err(match cause {
        Some(cause) => fault.with_cause(cause),
        None => fault,
    })
}
