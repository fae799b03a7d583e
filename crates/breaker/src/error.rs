//! What a caller is told who is turned away.

use crate::{BreakerConfig, State, cell::Cell, state::Refusal};
use std::{fmt::Write as _, time::Duration};
use tokio::time::Instant;
use towpath_core::{Error, ErrorKind};

/// MCP-W-105: not processed, which breaker, why it is open, and when another try makes sense.
#[cold]
pub(crate) fn turned_away(cell: &Cell, config: &BreakerConfig, refusal: Refusal, now: Instant) -> Error {
    let mut error = Error::new(ErrorKind::CircuitOpen);
    let mut text = String::new();
    match cell.endpoint() {
        Some(endpoint) => error = error.at(endpoint.address().clone()),
        None if cell.name().is_empty() => {}
        None => {
            text.push_str(cell.name());
            text.push_str(": ");
        }
    }
    let left = refusal.until.map(|until| whole_ms(until.saturating_duration_since(now)));
    let (part, calls, slow) = cell.why();
    // Writing to a string does not fail.
    let _ = match (refusal.state, left) {
        (State::Open, None) => write!(text, "opened by hand"),
        (State::Open, Some(left)) => {
            write!(text, "{part} of {calls} calls {}, next probe in {left:?}", did(slow))
        }
        (State::HalfOpen, _) => {
            write!(text, "{part} of {calls} calls {}, the next probe is under way", did(slow))
        }
        (State::Closed, _) => {
            write!(text, "it has just recovered and lets a growing share of the calls through")
        }
    };
    // How long a probe takes nobody knows: not before another open time would be over.
    let after = match refusal.state {
        State::HalfOpen => left.map(|left| left.min(config.open)),
        _ => left,
    };
    error.because(text).with_retry_after(after)
}

fn did(slow: bool) -> &'static str {
    if slow { "were slow" } else { "failed" }
}

/// Rounded up, so that who waits for it is not too early.
fn whole_ms(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
