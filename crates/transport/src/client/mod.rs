//! The calling side: one connection, many calls in flight.

mod connect;
mod connection;
mod driver;
mod ending;
mod eyeballs;
mod future;
mod line;
mod outcome;
mod shared;
mod table;
mod window;

#[cfg(all(test, towpath_loom))]
mod orders;

pub use connect::Connector;
pub use connection::Connection;
pub use driver::Driver;
pub use future::{Closed, PingFuture, ResponseFuture};
pub use outcome::Outcome;
