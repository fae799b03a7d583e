//! How many may be in flight at a time, and who waits until there is room: what the concurrency limit and the
//! admission have in common.

mod entry;
mod line;
#[cfg(all(test, not(towpath_loom)))]
mod model;
#[cfg(all(test, towpath_loom))]
mod orders;
mod place;
mod queue;
mod wait;

pub(crate) use entry::{Entry, Left};
pub(crate) use line::{Full, Gate, Line};
pub(crate) use place::Place;
pub(crate) use queue::Order;
pub(crate) use wait::GaveUp;
use wait::Wait;
