//! One direction of a connection.

use std::{collections::VecDeque, task::Waker};
use tokio::time::Instant;

/// Bytes that arrive together.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) at: Instant,
    pub(super) bytes: Vec<u8>,
    /// How many of them were read.
    pub(super) read: usize,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) segments: VecDeque<Segment>,
    /// What was read, and when the writer learns of it.
    pub(super) acks: VecDeque<(Instant, usize)>,
    pub(super) unacked: usize,
    /// When the last segment arrives: nothing that is sent later comes before it.
    pub(super) last_at: Instant,
    /// Until when the line is taken by what was sent before.
    pub(super) busy_until: Instant,
    /// After a cut: when what was held is sent again.
    pub(super) not_before: Instant,
    /// The orderly end, and when it arrives.
    pub(super) fin: Option<Instant>,
    /// The reset, and when it arrives.
    pub(super) reset: Option<Instant>,
    /// Somebody in the middle has ended it: what is written goes nowhere.
    pub(super) severed: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Lane {
    pub(super) fn new(now: Instant) -> Self {
        Lane {
            segments: VecDeque::new(),
            acks: VecDeque::new(),
            unacked: 0,
            last_at: now,
            busy_until: now,
            not_before: now,
            fin: None,
            reset: None,
            severed: false,
            reader: None,
            writer: None,
        }
    }

    /// When the next thing arrives at the reader, a reset aside.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        let first = self.segments.front().map(|segment| segment.at);
        first.or(self.fin).map(|at| at.max(self.not_before))
    }

    pub(super) fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}
