//! A load balancer: passes each call to the endpoint that is most likely to answer soon.

mod balancer;
mod common;
mod config;
mod drive;
mod event;
mod fleet;
mod future;
mod gauge;
mod handle;
mod look;
mod pick;
mod service;
mod stacks;
mod sync;
mod ticket;
mod wait;

pub use balancer::Balancer;
pub use config::{BalanceConfig, BalanceOptions, InvalidBalance};
pub use event::{BalanceEvent, Counts};
pub use future::ResponseFuture;
pub use handle::{BalanceHandle, EndpointView};
pub use pick::{LeastRequest, Pick, PowerOfTwo, RoundRobin, View};
pub use service::Balance;
