//! States in words.

use tokio::time::Instant;
use towpath_balance::Counts;
use towpath_breaker::Mode;
use towpath_core::{Clock, EndpointStatus};
use towpath_pool::PoolState;

pub(crate) fn status_word(status: &EndpointStatus) -> &'static str {
    match status {
        EndpointStatus::Ready => "ready",
        EndpointStatus::Connecting { .. } => "connecting",
        EndpointStatus::Unhealthy => "unhealthy",
        EndpointStatus::Ejected { .. } => "ejected",
        EndpointStatus::Draining => "draining",
        EndpointStatus::Gone => "gone",
    }
}

/// In how many milliseconds something happens to it.
pub(super) fn status_until(status: &EndpointStatus) -> Option<u64> {
    match status {
        EndpointStatus::Connecting { next_try: Some(at) } | EndpointStatus::Ejected { until: Some(at) } => {
            Some(still(*at))
        }
        _ => None,
    }
}

/// Milliseconds from now.
pub(super) fn still(at: Instant) -> u64 {
    at.saturating_duration_since(Clock::now()).as_millis() as u64
}

/// Milliseconds until now.
pub(super) fn since(at: Instant) -> u64 {
    Clock::now().saturating_duration_since(at).as_millis() as u64
}

pub(super) fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Automatic => "automatic",
        Mode::ForcedOpen => "forced open",
        Mode::ForcedClosed => "forced closed",
    }
}

/// The state of a client of one address, and more of it.
pub(super) fn of_pool(state: &PoolState) -> (&'static str, String) {
    match state {
        PoolState::Connected => ("connected", String::new()),
        PoolState::Connecting { last_error, .. } => {
            let why = last_error.as_ref().map(|error| crate::text::plain(&error.to_string()));
            ("connecting", why.unwrap_or_default())
        }
        PoolState::Idle => ("idle", String::new()),
        _ => ("closed", String::new()),
    }
}

/// The state of a client of many endpoints, and more of it.
pub(super) fn of_counts(counts: Counts, settled: bool, panicking: bool) -> (&'static str, String) {
    let state = if counts.ready > 0 { "connected" } else { "connecting" };
    let about = match (settled, panicking) {
        (false, _) => "it is not known yet which endpoints there are".to_owned(),
        (true, false) => counts.to_string(),
        (true, true) => format!("{counts}; so few are well that all of them get calls"),
    };
    (state, about)
}
