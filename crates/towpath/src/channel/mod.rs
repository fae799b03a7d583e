//! Connections that are made at first use and made again when they are lost.

mod connector;
mod factory;
mod future;
mod handle;
mod pipe;

pub(crate) use connector::Connector;
pub use factory::Channels;
pub(crate) use factory::default_pool;
pub use future::ChannelFuture;
pub use handle::{Channel, ClientState};
