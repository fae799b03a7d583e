//! What goes over connections, counted.

use crate::out::Sent;
use std::sync::Arc;
use towpath_codec::GoAwayReason;
use towpath_core::Tally;

/// Counts what goes over connections: give the same one to all that are to be counted together. Clones are the same.
///
/// A connection adds to it once for each read and each write, however many frames that is, by plain stores into cells of its
/// thread. What is counted are the bytes and frames of MCP: over TLS there are more bytes on the wire. Frames that go out
/// are counted when the socket has taken all that was handed to it together.
///
/// ```
/// use towpath_transport::Traffic;
///
/// let traffic = Traffic::new();
/// assert_eq!(traffic.counts().opened, 0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Tally<COUNTS>>);

/// What a [`Traffic`] has counted. Numbers only grow, and those of one look may be a moment apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrafficCounts {
    /// Bytes that were read.
    pub bytes_in: u64,
    /// Bytes that were written.
    pub bytes_out: u64,
    /// Whole frames that were read.
    pub frames_in: u64,
    /// Frames that were written.
    pub frames_out: u64,
    /// Those of them that were requests (of a client), or answers (of a server).
    pub messages_out: u64,
    /// Connections that were opened; over TLS, when the handshake is over.
    pub opened: u64,
    /// Connections that have ended, by why: in the order of [`ConnectionEnd::ALL`].
    pub closed: [u64; CLOSED],
    /// What arrived and could not be read, by why: in the order of [`DecodeError::ALL`].
    pub decode_errors: [u64; ERRORS],
    /// Calls that were ended here without an answer of the other side's, or were turned away, by why: in the order of
    /// [`CutShort::ALL`].
    pub cut_short: [u64; CUTS],
}

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEnd {
    /// In good order: it is used no more, or one side has drained.
    Finished,
    /// The peer has closed it while there was nothing to do.
    ByPeer,
    /// Nobody has used it for too long.
    Idle,
    /// The peer is gone, or silent, or takes nothing; or the network failed.
    Lost,
    /// The peer broke the protocol.
    Protocol,
    /// It was sent away as soon as it came.
    Refused,
    /// Its task was dropped.
    Dropped,
}

/// What could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The peer does not speak MCP.
    BadMagic,
    /// The peer speaks another version.
    BadVersion,
    /// A frame of an unknown type.
    UnknownType,
    /// A frame above the limit.
    TooLarge,
    /// A frame that breaks the protocol: it costs the connection, as do those above.
    Frame,
    /// A request or a response in a good frame: it costs that call.
    Message,
}

/// Why a call was ended by its connection. (Whatever stands in front of the connection never hears of most of these.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutShort {
    /// Its deadline passed before the work could begin: a server refuses it.
    Late,
    /// Its deadline passed while a client had it wait for room on the connection.
    Waiting,
    /// Its deadline passed while it was worked on.
    Called,
    /// A server has as many calls of this connection as it takes.
    Overloaded,
    /// A server drains, and takes no new calls.
    Draining,
}

const CUTS: usize = CutShort::ALL.len();
const CLOSED: usize = ConnectionEnd::ALL.len();
const ERRORS: usize = DecodeError::ALL.len();

const BYTES_IN: usize = 0;
const BYTES_OUT: usize = 1;
const FRAMES_IN: usize = 2;
const FRAMES_OUT: usize = 3;
const MESSAGES_OUT: usize = 4;
const OPENED: usize = 5;
const FIRST_CLOSED: usize = 6;
const FIRST_ERROR: usize = FIRST_CLOSED + CLOSED;
const FIRST_CUT: usize = FIRST_ERROR + ERRORS;
const COUNTS: usize = FIRST_CUT + CUTS;

impl ConnectionEnd {
    /// All of them.
    pub const ALL: [ConnectionEnd; 7] = [
        ConnectionEnd::Finished,
        ConnectionEnd::ByPeer,
        ConnectionEnd::Idle,
        ConnectionEnd::Lost,
        ConnectionEnd::Protocol,
        ConnectionEnd::Refused,
        ConnectionEnd::Dropped,
    ];

    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            ConnectionEnd::Finished => "finished",
            ConnectionEnd::ByPeer => "by_peer",
            ConnectionEnd::Idle => "idle",
            ConnectionEnd::Lost => "lost",
            ConnectionEnd::Protocol => "protocol",
            ConnectionEnd::Refused => "refused",
            ConnectionEnd::Dropped => "dropped",
        }
    }
}

impl DecodeError {
    /// All of them.
    pub const ALL: [DecodeError; 6] = [
        DecodeError::BadMagic,
        DecodeError::BadVersion,
        DecodeError::UnknownType,
        DecodeError::TooLarge,
        DecodeError::Frame,
        DecodeError::Message,
    ];

    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            DecodeError::BadMagic => "bad_magic",
            DecodeError::BadVersion => "bad_version",
            DecodeError::UnknownType => "unknown_type",
            DecodeError::TooLarge => "too_large",
            DecodeError::Frame => "frame",
            DecodeError::Message => "message",
        }
    }

    /// What a peer is told that it did, if that is about what it has sent.
    fn of(reason: GoAwayReason) -> Option<Self> {
        match reason {
            GoAwayReason::BadMagic => Some(DecodeError::BadMagic),
            GoAwayReason::BadVersion => Some(DecodeError::BadVersion),
            GoAwayReason::UnknownType => Some(DecodeError::UnknownType),
            GoAwayReason::TooLarge => Some(DecodeError::TooLarge),
            GoAwayReason::Malformed => Some(DecodeError::Frame),
            _ => None,
        }
    }
}

impl CutShort {
    /// All of them.
    pub const ALL: [CutShort; 5] =
        [CutShort::Late, CutShort::Waiting, CutShort::Called, CutShort::Overloaded, CutShort::Draining];

    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            CutShort::Late => "late",
            CutShort::Waiting => "waiting",
            CutShort::Called => "called",
            CutShort::Overloaded => "overloaded",
            CutShort::Draining => "draining",
        }
    }
}

impl Traffic {
    /// Nothing so far.
    pub fn new() -> Self {
        Traffic::default()
    }

    /// What there was until now.
    pub fn counts(&self) -> TrafficCounts {
        let total = |count| self.0.total(count);
        // Ends first: what has ended was opened.
        let closed = std::array::from_fn(|why| total(FIRST_CLOSED + why));
        TrafficCounts {
            bytes_in: total(BYTES_IN),
            bytes_out: total(BYTES_OUT),
            frames_in: total(FRAMES_IN),
            frames_out: total(FRAMES_OUT),
            messages_out: total(MESSAGES_OUT),
            opened: total(OPENED),
            closed,
            decode_errors: std::array::from_fn(|why| total(FIRST_ERROR + why)),
            cut_short: std::array::from_fn(|why| total(FIRST_CUT + why)),
        }
    }
}

impl TrafficCounts {
    /// How many connections there are now.
    pub fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed.iter().sum())
    }

    /// How many connections have ended for this reason.
    pub fn closed(&self, why: ConnectionEnd) -> u64 {
        self.closed[why as usize]
    }

    /// How much that arrived could not be read for this reason.
    pub fn decode_errors(&self, why: DecodeError) -> u64 {
        self.decode_errors[why as usize]
    }

    /// How many calls were cut short for this reason.
    pub fn cut_short(&self, why: CutShort) -> u64 {
        self.cut_short[why as usize]
    }
}

/// What one connection counts with: nothing, unless it was told where.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    traffic: Option<Traffic>,
    closed: bool,
}

impl Meter {
    pub(crate) fn of(traffic: Traffic) -> Self {
        traffic.0.add(OPENED, 1);
        Meter { traffic: Some(traffic), closed: false }
    }

    /// One read, and the frames that it has completed.
    #[inline]
    pub(crate) fn read(&self, bytes: usize, frames: u64) {
        if let Some(Traffic(tally)) = &self.traffic {
            tally.add(BYTES_IN, bytes as u64);
            tally.add(FRAMES_IN, frames);
        }
    }

    /// What the socket has taken.
    #[inline]
    pub(crate) fn wrote(&self, sent: Sent) {
        if let Some(Traffic(tally)) = &self.traffic {
            tally.add(BYTES_OUT, sent.bytes);
            tally.add(FRAMES_OUT, sent.frames);
            tally.add(MESSAGES_OUT, sent.messages);
        }
    }

    /// The peer broke the protocol, or is told so.
    #[cold]
    pub(crate) fn violated(&self, reason: GoAwayReason) {
        if let Some(error) = DecodeError::of(reason) {
            self.unreadable(error);
        }
    }

    #[cold]
    pub(crate) fn unreadable(&self, error: DecodeError) {
        if let Some(Traffic(tally)) = &self.traffic {
            tally.add(FIRST_ERROR + error as usize, 1);
        }
    }

    /// A call was ended here, or turned away.
    #[cold]
    pub(crate) fn cut_short(&self, why: CutShort) {
        if let Some(Traffic(tally)) = &self.traffic {
            tally.add(FIRST_CUT + why as usize, 1);
        }
    }

    /// The connection ends. The first reason counts.
    #[cold]
    pub(crate) fn closed(&mut self, why: ConnectionEnd) {
        if let Some(Traffic(tally)) = self.traffic.as_ref().filter(|_| !self.closed) {
            tally.add(FIRST_CLOSED + why as usize, 1);
        }
        self.closed = true;
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.closed(ConnectionEnd::Dropped);
    }
}

#[cfg(all(test, not(towpath_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_count() {
        let traffic = Traffic::new();
        for (n, why) in ConnectionEnd::ALL.into_iter().enumerate() {
            for _ in 0..=n {
                Meter::of(traffic.clone()).closed(why);
            }
        }
        for (n, why) in DecodeError::ALL.into_iter().enumerate() {
            let meter = Meter::of(traffic.clone());
            (0..=n).for_each(|_| meter.unreadable(why));
        }
        let meter = Meter::of(traffic.clone());
        for (n, why) in CutShort::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| meter.cut_short(why));
        }
        drop(meter);
        let counts = traffic.counts();
        for (n, why) in ConnectionEnd::ALL.into_iter().enumerate() {
            // The others were dropped.
            let dropped = if why == ConnectionEnd::Dropped { DecodeError::ALL.len() + 1 } else { 0 };
            assert_eq!(counts.closed(why), (n + 1 + dropped) as u64, "{}", why.as_str());
        }
        for (n, why) in DecodeError::ALL.into_iter().enumerate() {
            assert_eq!(counts.decode_errors(why), n as u64 + 1, "{}", why.as_str());
        }
        for (n, why) in CutShort::ALL.into_iter().enumerate() {
            assert_eq!(counts.cut_short(why), n as u64 + 1, "{}", why.as_str());
        }
        assert_eq!(counts.open(), 0);
    }

    #[test]
    fn the_first_reason_counts() {
        let traffic = Traffic::new();
        let mut meter = Meter::of(traffic.clone());
        assert_eq!(traffic.counts().open(), 1);
        meter.closed(ConnectionEnd::Lost);
        meter.closed(ConnectionEnd::Finished);
        drop(meter);
        let counts = traffic.counts();
        assert_eq!((counts.closed(ConnectionEnd::Lost), counts.open()), (1, 0));
        assert_eq!(counts.closed.iter().sum::<u64>(), 1);
    }
}
