//! Calls between services that get through.
//!
//! towpath speaks MCP, the Microservice Communication Protocol: many calls in flight over one connection,
//! deadlines that shrink from hop to hop, cancellation that reaches the last handler. (It shares nothing but
//! three letters with the Model Context Protocol.) A [`Client`] and a [`Server`] are right out of the box;
//! both are stacks of `tower` layers, and every layer can be replaced.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use serde_json::json;
//! use towpath::{Client, Json, Router, Server};
//!
//! #[derive(Deserialize)]
//! struct GetUser { id: u64 }
//!
//! #[derive(Serialize, Deserialize)]
//! struct User { id: u64, name: String }
//!
//! async fn get_user(Json(ask): Json<GetUser>) -> Json<User> {
//!     Json(User { id: ask.id, name: "Ada".into() })
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let server = Server::builder().bind("127.0.0.1:0").await?;
//!     let address = format!("mcp://{}", server.local_addr());
//!     tokio::spawn(server.serve(Router::new().route("UserService.GetUserInfo", get_user)).into_future());
//!
//!     let client = Client::connect(&address).await?;
//!     let user: User = client.call("UserService.GetUserInfo", &json!({"id": 1001})).await?;
//!     assert_eq!((user.id, user.name.as_str()), (1001, "Ada"));
//!     Ok(())
//! }
//! ```
//!
//! # Where what is
//!
//! - Calling: [`Client`], its [`builder`](Client::builder), a call's [options](CallRequest), what can
//!   [go wrong](CallError).
//! - Answering: [`Server`], [`Router`] and its [`router`] module, [`Fault`] and [`fault_codes!`] for what a service
//!   fails with on purpose, [`terminated`] for SIGTERM.
//! - Inside a handler, calls inherit the deadline and the trace of the call that is handled; across a spawn
//!   by [`context::spawn`].
//! - Layers of your own are `tower::Layer`s around a `Service<`[`Request`]`, Response = `[`Response`]`>`. The
//!   words that they share with ours are re-exported here; single layers are in the modules named after
//!   their crates.

mod announce;
mod channel;
mod client;
mod cores;
pub mod policies;
mod register;
mod route;
mod server;
mod sight;

pub use channel::{Channel, ChannelFuture, Channels, ClientState};
pub use client::{Accepted, CallError, CallRequest, Client, ClientBuilder, ClientFuture, Reply};
pub use cores::Cores;
pub use policies::{ClientPolicies, ServerPolicies};
pub use register::Register;
pub use route::{EndpointHandles, Route, RouteFuture, sources};
pub use server::{Server, ServerBuilder};
#[cfg(feature = "metrics")]
pub use sight::{ClientMetrics, ServerMetrics, observe_registry};
pub use sight::{ClientTrace, ServerTrace, Tracing};

pub use towpath_core::{
    Acceptance, Answer, Backoff, BoxError, Budget, BudgetConfig, Change, Class, Classify, Clock, CodecId,
    Context, Declared, DefaultClassify, Discover, Endpoint, EndpointId, EndpointState, EndpointStatus, Error,
    ErrorCode, ErrorKind, Extensions, Fault, HasContext, Identity, Jitter, Level, Load, LoadReport, Metadata,
    Method, Mode, NewService, Observe, OnReject, Priority, Processed, Request, Response, Status, Traits,
    Verdict, context, fault_codes, metadata,
};
pub use towpath_transport::{
    Address, BindOptions, BindTo, ClientConfig, Compression, Connection, ConnectionEnd, CutShort,
    DecodeError, InvalidAddress, InvalidConfig, Listener, Outcome, Peer, Scheme, Serve, ServerConfig,
    Traffic, TrafficCounts,
    router::{self, Extension, IntoResponse, Json, Protobuf, Raw, Router, State, Typed},
    terminated,
};

pub use towpath_codec::Algorithm;
#[cfg(feature = "tls")]
pub use towpath_transport::{
    ClientAuth, ClientTls, ClientTlsBuilder, InvalidTls, ServerTls, ServerTlsBuilder,
};

#[cfg(feature = "admin")]
pub use towpath_admin as admin;
pub use towpath_auth as auth;
pub use towpath_balance as balance;
pub use towpath_breaker as breaker;
pub use towpath_codec as codec;
pub use towpath_dedupe as dedupe;
pub use towpath_discover as discover;
pub use towpath_fallback as fallback;
pub use towpath_health as health;
pub use towpath_limit as limit;
#[cfg(feature = "metrics")]
pub use towpath_metrics as metrics;
pub use towpath_pool as pool;
pub use towpath_registry as registry;
pub use towpath_retry as retry;
pub use towpath_timeout as timeout;
pub use towpath_trace as trace;
pub use towpath_transport as transport;
