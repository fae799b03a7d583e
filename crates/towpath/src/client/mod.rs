//! The calling side.

mod builder;
mod call;
mod erased;
mod error;
mod handle;
mod reply;

pub use builder::ClientBuilder;
pub use call::CallRequest;
pub use error::CallError;
pub use handle::{Client, ClientFuture};
pub use reply::{Accepted, Reply};
