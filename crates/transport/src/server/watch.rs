//! What the clock says: deadlines, signs of life, stalls, the end of a drain.

use super::{
    answer,
    connection::{End, ServerConnection, Stage},
};
use crate::{out::OutQueue, traffic::CutShort};
use std::{collections::HashMap, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tower_service::Service;
use towpath_codec::{GoAwayReason, kind};
use towpath_core::{BoxError, Error, ErrorKind, Processed, Request, Response};

/// How often a peer hears a sign of life from a connection that does not read for the moment. Well below
/// the time after which a caller gives a silent connection up.
pub(super) const WHILE_FULL: Duration = Duration::from_secs(5);

/// How long a connection is idle before it gives back what a burst has made it hold. Longer than most pauses
/// between two bursts; shorter than it takes until somebody wonders where the memory is.
pub(super) const TIDY: Duration = Duration::from_secs(5);

impl<T, S> ServerConnection<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    /// The alarm has rung: whose time is up, and when to look again.
    pub(super) fn look_around(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let mut next = self.expire(now);
        if self.is_full() {
            // What it does not read, it cannot hold against the peer; and the peer should hear of it.
            self.times.last_read = now;
            self.times.asked_for_life = None;
            self.times.half_read = self.times.half_read.map(|_| (now, 0));
            self.writing.short(kind::PING, 1);
            next = Some(next.map_or(now + WHILE_FULL, |at| at.min(now + WHILE_FULL)));
        }
        let untidy = self.times.untidy && !self.tidy(now);
        let mut again = |at: Instant| next = Some(next.map_or(at, |other: Instant| other.min(at)));
        if untidy {
            let idle = self.times.last_read + TIDY;
            again(if idle > now { idle } else { now + TIDY });
        }
        let stall = self.config.stall_timeout;
        for (since, _) in [self.times.half_read, self.times.half_written].into_iter().flatten() {
            if now >= since + stall {
                tracing::debug!("a peer has stalled for {} ms: its connection is closed", stall.as_millis());
                return Err(End::Gone);
            }
            again(since + stall);
        }
        if let Some((since, asked)) = self.times.unheard {
            let limit = self.config.header_timeout;
            if now >= since + limit {
                let text = format!("no frame has come within {} ms", limit.as_millis());
                return Err(End::Violation(GoAwayReason::Idle, text));
            }
            if !asked && now >= since + limit / 2 {
                self.writing.short(kind::PING, 1);
                self.times.unheard = Some((since, true));
            }
            again(if now < since + limit / 2 { since + limit / 2 } else { since + limit });
        }
        if let Stage::Draining { until, .. } = self.stage {
            if now >= until {
                self.give_up_calls();
                return Err(End::Finished);
            }
            again(until);
        } else if let Some(aged) = self.times.aged {
            if now >= aged {
                self.begin_drain(
                    false,
                    self.config.connection_age_grace,
                    "the connection has reached its age",
                );
            } else {
                again(aged);
            }
        }
        if let Some(every) = self.config.keep_alive {
            match self.times.asked_for_life {
                Some(asked) if now >= asked + self.config.keep_alive_timeout => {
                    tracing::debug!("a peer gives no sign of life: its connection is closed");
                    return Err(End::Gone);
                }
                Some(asked) => again(asked + self.config.keep_alive_timeout),
                None if now >= self.times.last_read + every => {
                    self.writing.short(kind::PING, 1);
                    self.times.asked_for_life = Some(now);
                    again(now + self.config.keep_alive_timeout);
                }
                None => again(self.times.last_read + every),
            }
        }
        if let Some(after) = self.config.idle_timeout {
            if !self.shared.lock().calls.is_empty() {
                self.times.last_call = now;
            }
            if now >= self.times.last_call + after {
                return Err(End::Violation(GoAwayReason::Idle, "idle".to_owned()));
            }
            again(self.times.last_call + after);
        }
        if let Some(next) = next {
            self.alarm.not_later_than(next);
        }
        Ok(())
    }

    /// Gives back the memory of a connection that has been idle for a while; says whether it was.
    fn tidy(&mut self, now: Instant) -> bool {
        let mut state = self.shared.lock();
        let idle = now >= self.times.last_read + TIDY
            && self.writing.is_empty()
            && state.out.is_empty()
            && state.calls.is_empty();
        if idle {
            state.out = OutQueue::default();
            state.calls = HashMap::new();
            self.writing = OutQueue::default();
            self.reader.tidy();
            self.times.untidy = false;
        }
        idle
    }

    /// Takes no new calls: the peer is told which ones it still answers, once.
    pub(super) fn begin_drain(&mut self, server: bool, wait: Duration, why: &str) {
        let mut until = Instant::now() + wait;
        if let Stage::Draining { until: sooner, .. } = self.stage {
            until = until.min(sooner);
        } else {
            self.goaway(GoAwayReason::Draining, why);
        }
        self.stage = Stage::Draining { until, server };
        self.alarm.not_later_than(until);
    }

    /// Stops the calls whose deadline has passed, and answers them. Says when the next one is due.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let mut state = self.shared.lock();
        for (id, call) in state.expired(now) {
            call.stop();
            self.meter.cut_short(CutShort::Called);
            let error = Error::new(ErrorKind::DeadlineExceeded);
            let response = answer::refusal(&error, call.codec, Some(&call.context));
            state.respond(id, &call, &response);
        }
        state.earliest
    }

    /// The drain's own time is up.
    pub(super) fn give_up_calls(&mut self) {
        let mut state = self.shared.lock();
        for (id, call) in state.take_all() {
            call.stop();
            // MCP-W-108 would mean "not processed" in a RESPONSE; in a PUSH it does not.
            let kind = if call.accepted { ErrorKind::Draining } else { ErrorKind::Cancelled };
            let error = Error::new(kind)
                .with_processed(Processed::Unknown)
                .because("the server's drain did not wait longer");
            let response = answer::refusal(&error, call.codec, Some(&call.context));
            state.respond(id, &call, &response);
        }
        self.writing.append(&mut state.out);
    }
}
