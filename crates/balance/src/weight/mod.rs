//! Traffic by weight.

mod alias;
mod random;
mod robin;
mod turns;

pub(crate) use alias::Alias;
pub use random::WeightedRandom;
pub use robin::WeightedRoundRobin;
pub(crate) use turns::Turns;
