//! A network in memory: hosts, paths between them, connections with latency, loss and windows.

mod conditions;
mod io;
mod lane;
mod network;
mod world;

pub use conditions::Conditions;
pub use io::NetIo;
pub use network::{Listener, Network};
pub use world::{End, Event, WireId};
