//! A load balancer: passes each call to the endpoint that is most likely to answer soon.

mod balancer;
mod common;
mod config;
mod drive;
mod event;
mod fleet;
mod future;
mod gauge;
mod group;
mod handle;
mod hash;
mod look;
mod pick;
mod service;
mod stacks;
mod sync;
mod ticket;
mod wait;
mod weight;

pub use balancer::Balancer;
pub use config::{BalanceConfig, BalanceOptions, InvalidBalance};
pub use event::{BalanceEvent, Counts};
pub use future::ResponseFuture;
pub use group::{
    Aperture, ApertureConfig, ApertureOptions, InvalidAperture, InvalidPriority, InvalidRoutes, InvalidZone,
    Labels, Priorities, PriorityConfig, Route, Routes, RoutesConfig, RoutesOptions, Target, Zones,
    ZonesConfig, ZonesOptions,
};
pub use handle::{BalanceHandle, EndpointView};
pub use hash::{
    AffinityToken, ConsistentHash, HashConfig, HashOptions, InvalidHash, KeyFrom, Pinned, affinity_hash,
};
pub use pick::{LeastRequest, Pick, PowerOfTwo, Renew, RoundRobin, View};
pub use service::Balance;
pub use weight::{WeightedRandom, WeightedRoundRobin};
