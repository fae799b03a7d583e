//! What the programs of this package share. `docs/benchmarks.md` says what they are for and how to run them.

pub mod alloc;
pub mod armour;
pub mod cases;
pub mod claims;
pub mod contenders;
pub mod counted;
pub mod limits;
pub mod meter;
mod order;
pub mod policies;
pub mod process;
pub mod reference;
pub mod scenario;
pub mod service;
pub mod side;
pub mod timing;
pub mod valgrind;
pub mod versus;

/// What the programs end with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
