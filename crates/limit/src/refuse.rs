//! What a call is told that finds no room.

use crate::{LimitEvent, Refusal, gate::GaveUp};
use std::time::Duration;
use tokio::time::Instant;
use towpath_core::{Error, ErrorKind, Processed};

/// A refusal for want of room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoRoom {
    pub(crate) why: Refusal,
    pub(crate) waited: Duration,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) limit: u32,
}

impl NoRoom {
    pub(crate) fn event(&self) -> LimitEvent {
        LimitEvent::Refused { why: self.why, waited: self.waited, retry_after: self.retry_after }
    }

    /// Not processed: the inner service was not called.
    pub(crate) fn error(&self) -> Error {
        let NoRoom { why, waited, retry_after, limit } = *self;
        let kind = if why == Refusal::Late { ErrorKind::DeadlineExceeded } else { ErrorKind::Overloaded };
        let because = match why {
            Refusal::TimedOut => format!("waited {waited:?} for one of {limit} places"),
            Refusal::Late if waited.is_zero() => "the deadline had passed, and there was no room".to_owned(),
            Refusal::Late => format!("waited {waited:?} for one of {limit} places, up to the deadline"),
            Refusal::Evicted => {
                format!("gave its place in the queue up to a call with a better claim, after {waited:?}")
            }
            _ => format!("all {limit} places are taken"),
        };
        Error::new(kind).with_processed(Processed::No).because(because).with_retry_after(retry_after)
    }
}

/// How long a call may wait: what the queue grants, or what is left of its deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) until: Instant,
    /// Whether the deadline is what ends the wait.
    pub(crate) is_deadline: bool,
}

impl Patience {
    /// From `now` for `most`, but not beyond the deadline; `None` if that has passed.
    pub(crate) fn new(now: Instant, most: Duration, deadline: Option<Instant>) -> Option<Self> {
        let own = now + most;
        match deadline {
            Some(deadline) if deadline <= now => None,
            Some(deadline) if deadline < own => Some(Patience { until: deadline, is_deadline: true }),
            _ => Some(Patience { until: own, is_deadline: false }),
        }
    }

    pub(crate) fn refusal(&self, gave_up: GaveUp) -> Refusal {
        match gave_up {
            GaveUp::Evicted => Refusal::Evicted,
            GaveUp::TimedOut if self.is_deadline => Refusal::Late,
            GaveUp::TimedOut => Refusal::TimedOut,
        }
    }
}
