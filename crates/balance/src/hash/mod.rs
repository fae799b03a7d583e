//! The same endpoint for the same key.

mod config;
mod crowd;
mod key;
mod name;
mod pick;
mod pinned;
mod slots;
mod token;

pub use config::{HashConfig, HashOptions, InvalidHash};
pub use key::KeyFrom;
pub use name::affinity_hash;
pub use pick::ConsistentHash;
pub use pinned::Pinned;
pub use token::AffinityToken;

pub(crate) use key::key;
pub(crate) use name::{ring_order, weights};
pub(crate) use token::share_of;

use name::name;
