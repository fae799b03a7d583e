//! The answering side: calls from many connections to one service.

mod admit;
mod answer;
mod bind;
mod call;
mod connection;
mod drain;
mod driver;
#[cfg(unix)]
mod handover;
#[cfg(not(unix))]
#[path = "no_handover.rs"]
mod handover;
mod input;
mod listener;
mod shared;
mod socket;
mod unpack;
mod watch;
mod work;

#[cfg(all(test, towpath_loom))]
mod orders;

pub use bind::{BindOptions, BindTo};
pub use connection::ServerConnection;
pub use drain::{Drain, DrainWatch};
pub use listener::{Serve, Server, ToldToDrain, terminated};
pub use socket::Listener;
