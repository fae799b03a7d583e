//! Others' counterparts, each in its best configuration: nobody listens to events, no name is formatted, limits are out of
//! reach. An error type that can be cloned or is an `Error` is given to whoever asks for one.

mod resilience;
mod tower_layers;
mod wrapped;

use super::{By, Policy, subject::Callers};
use crate::Failure;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// More calls than there ever are at once.
const MANY: usize = 1_024;
/// More calls a second than can be made.
const PER_SECOND: u32 = 1_000_000_000;

pub(super) fn policies() -> Vec<Policy> {
    let mut all = tower_layers::policies();
    all.extend(resilience::policies());
    all.extend(wrapped::policies());
    all
}

fn peer(
    layer: &'static str,
    name: &'static str,
    note: &'static str,
    start: fn() -> Result<Callers, Failure>,
) -> Policy {
    Policy { layer, by: By::Peer(name), note, start }
}
