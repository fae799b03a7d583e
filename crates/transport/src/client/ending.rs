//! Why a connection ends, and what a peer's GOAWAY means for its calls.

use super::{
    shared::{Shared, State},
    table::Phase,
};
use std::task::Waker;
use towpath_codec::{FrameError, GoAway, GoAwayReason};
use towpath_core::{Error, ErrorKind, Processed};

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody can call any more, and nothing is outstanding.
    Finished,
    /// The peer has closed its half.
    Eof,
    Lost(Error),
    /// The peer broke the protocol.
    Violation(GoAwayReason, String),
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        End::Violation(error.reason(), error.to_string())
    }
}

/// The id of a call; 0 is none.
pub(super) fn call_id(payload: &[u8]) -> Result<u64, End> {
    match towpath_codec::id(payload) {
        Some(id) if id != 0 => Ok(id),
        _ => Err(End::Violation(GoAwayReason::Malformed, "a frame without a call id".to_owned())),
    }
}

/// The opaque value of PING and PONG.
pub(super) fn opaque(payload: &[u8]) -> Result<u64, End> {
    let short = || End::Violation(GoAwayReason::Malformed, "a frame too short for its id".to_owned());
    towpath_codec::id(payload).ok_or_else(short)
}

/// The peer takes no new calls: those it has not begun, and those in line, may go elsewhere.
pub(super) fn going_away(shared: &Shared, state: &mut State, wakers: &mut Vec<Waker>, goaway: &GoAway) {
    let kind = match goaway.reason {
        GoAwayReason::BadMagic | GoAwayReason::BadVersion => ErrorKind::Version,
        GoAwayReason::TooLarge => ErrorKind::TooLarge,
        GoAwayReason::Malformed | GoAwayReason::UnknownType => ErrorKind::Malformed,
        GoAwayReason::Unauthenticated => ErrorKind::Unauthenticated,
        _ => ErrorKind::Draining,
    };
    let error = shared.error(kind).with_processed(Processed::No).because(goaway.text.clone());
    let last_id = goaway.last_id;
    state.table.complete_where(wakers, |slot| {
        let begun = matches!(slot.phase, Phase::Sent | Phase::Accepted) && slot.id <= last_id;
        // What was accepted has begun, whatever the last id says.
        let accepted = slot.phase == Phase::Accepted;
        let told = || if accepted { error.clone().with_processed(Processed::Unknown) } else { error.clone() };
        (!begun).then(|| Err(told()))
    });
    state.closed_idle |= goaway.reason == GoAwayReason::Idle;
    shared.close(state, error);
    wakers.extend(state.watchers.drain(..).map(|(_, waker)| waker));
}
