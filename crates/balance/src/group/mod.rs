//! Some endpoints before others: by priority, by zone, by label.

mod aperture;
mod part;
mod priority;
mod route;
mod route_config;
mod share;
mod zone;

pub use aperture::{Aperture, ApertureConfig, ApertureOptions, InvalidAperture};
pub use priority::{InvalidPriority, Priorities, PriorityConfig};
pub use route::Routes;
pub use route_config::{InvalidRoutes, Labels, Route, RoutesConfig, RoutesOptions, Target};
pub use zone::{InvalidZone, Zones, ZonesConfig, ZonesOptions};
