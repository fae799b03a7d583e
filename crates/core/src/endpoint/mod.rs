//! Where calls go: endpoints, what is known of each at this moment, and the words of those who deal in them.

mod describe;
mod report;
mod roles;
mod state;

pub use describe::Endpoint;
pub use report::{InvalidReport, LoadReport};
pub use roles::{Change, Discover, Fixed, Load, NewService};
pub use state::{EndpointState, EndpointStatus, InFlight};
