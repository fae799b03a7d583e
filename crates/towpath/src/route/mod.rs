//! Where a client's calls go: to one address, or to the endpoints of a name.

mod around;
mod checks;
mod closing;
mod cluster;
mod goal;
mod pick;
mod ping;
mod service;

pub use around::EndpointHandles;
pub(crate) use checks::Checks;
pub(crate) use cluster::{Cluster, ClusterSettings};
pub(crate) use goal::Goal;
pub use goal::sources;
pub(crate) use service::Kind;
pub use service::{Route, RouteFuture};
