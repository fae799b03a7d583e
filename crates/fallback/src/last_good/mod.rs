//! The last good answer to the same call.

mod cache;
mod config;
mod key;
mod recent;
mod store;

pub use config::{InvalidLastGood, LastGoodConfig};
pub use key::{KeyOf, SameCall};
pub use store::{Detach, Detached, Keepable, LastGood, LastGoodHandle};
