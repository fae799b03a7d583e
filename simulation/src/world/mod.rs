//! What is simulated: servers, and connections to them.

mod latency;
mod link;
mod server;

pub(crate) use latency::Latency;
pub(crate) use link::Link;
pub(crate) use server::{Make, Order, Server};
