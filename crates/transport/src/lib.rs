//! MCP connections, both sides.
//!
//! A [`Connection`] is a `tower::Service<Request>` over one socket: any number of calls in flight, answers
//! in any order. A [`Server`] feeds any `tower::Service<Request>` (a [`Router`](router::Router) of typed
//! handlers, most often) from any number of connections.

mod address;
mod alarm;
#[doc(hidden)]
pub mod bench;
mod client;
mod compression;
mod config;
mod farewell;
mod fault;
#[cfg(all(test, towpath_loom))]
mod orders;
mod out;
mod peer;
mod reader;
pub mod router;
mod server;
mod stream;
mod sync;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
mod traffic;
#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
#[path = "no_unix.rs"]
mod unix;

pub use address::{Address, InvalidAddress, Scheme};
pub use client::{Closed, Connection, Connector, Driver, Outcome, PingFuture, ResponseFuture};
pub use compression::Compression;
pub use config::{ClientConfig, InvalidConfig, ServerConfig};
pub use peer::Peer;
pub use server::{
    BindOptions, BindTo, Drain, DrainWatch, Listener, Serve, Server, ServerConnection, ToldToDrain,
    terminated,
};
#[cfg(feature = "tls")]
pub use tls::{ClientAuth, ClientTls, ClientTlsBuilder, InvalidTls, ServerTls, ServerTlsBuilder};
pub use traffic::{ConnectionEnd, CutShort, DecodeError, Traffic, TrafficCounts};
