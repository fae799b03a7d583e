//! A connection that is made at first use and made again when it is lost.

mod connector;
mod future;
mod handle;
mod line;
mod reconnect;
mod service;
mod task;

pub(crate) use connector::Connector;
pub use future::ChannelFuture;
pub use handle::{Channel, ClientState};
pub(crate) use line::Target;
