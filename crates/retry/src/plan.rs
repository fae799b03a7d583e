//! The decision: what to do after a failure, and when a moment has come. A pure machine: it is told what
//! happened and what time it is, and neither waits nor calls.

use crate::GaveUp;
use std::time::Duration;
use tokio::time::Instant;

/// What a call may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The most attempts, all kinds together.
    pub(crate) attempts: u16,
    /// The most hedges among them.
    pub(crate) hedges: u16,
    /// After how long without an answer there is a hedge, and then the next one.
    pub(crate) hedge_after: Option<Duration>,
    /// What must be left of the deadline when a further attempt begins; above zero.
    pub(crate) floor: Duration,
    pub(crate) deadline: Option<Instant>,
}

/// A further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Because those before it failed.
    Retry,
    /// Because those before it are slow.
    Hedge,
}

/// What is held of an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It is the outcome of the call: what else is under way would say the same.
    Final(GaveUp),
    /// There is to be no further attempt. Those under way may do better.
    Never(GaveUp),
    /// Another attempt makes sense: not before `least` has passed, and `more` after that.
    Again { least: Duration, more: Duration },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, until an attempt ends or [`Plan::due`] has come.
    Wait,
    /// Begin an attempt.
    Start(Kind),
    /// No more: the last failure is the outcome, and what is under way is dropped.
    GiveUp(GaveUp),
}

/// The attempts of one call. It begins with the first one under way.
///
/// Hedges come first, retries after failure: while attempts are under way and none has failed, another one is
/// sent each time that [`Rules::hedge_after`] has passed. A failure ends that; the attempts that are still under
/// way are then waited for, and when the last of them has failed there is a retry.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    rules: Rules,
    made: u16,
    running: u16,
    hedges: u16,
    /// When the next hedge is due.
    hedge: Option<Instant>,
    /// Until when the next retry waits; nothing runs meanwhile.
    retry: Option<Instant>,
    /// Why there is to be no further attempt.
    stop: Option<GaveUp>,
}

impl Plan {
    /// The first attempt began at `start`.
    pub(crate) fn new(rules: Rules, start: Instant) -> Self {
        let hedge = rules.hedge_after.filter(|_| rules.hedges > 0).map(|after| start + after);
        Plan { rules, made: 1, running: 1, hedges: 0, hedge, retry: None, stop: None }
    }

    /// How many attempts were begun.
    pub(crate) fn made(&self) -> u16 {
        self.made
    }

    /// Until when a retry waits, if nothing runs.
    pub(crate) fn waits_until(&self) -> Option<Instant> {
        self.retry
    }

    /// The next moment at which [`Plan::at`] is to be asked.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.retry.or(self.hedge)
    }

    /// One of the attempts under way has failed. `pay` takes a try out of the budget.
    pub(crate) fn failed(&mut self, now: Instant, judged: Judged, pay: impl FnOnce(Kind) -> bool) -> Next {
        self.running = self.running.saturating_sub(1);
        self.hedge = None;
        let (least, more) = match judged {
            Judged::Final(why) => return Next::GiveUp(why),
            Judged::Never(why) => {
                self.stop.get_or_insert(why);
                (Duration::ZERO, Duration::ZERO)
            }
            Judged::Again { least, more } => (least, more),
        };
        if self.running > 0 {
            return Next::Wait;
        }
        if let Some(why) = self.stop {
            return Next::GiveUp(why);
        }
        if self.made >= self.rules.attempts {
            return Next::GiveUp(GaveUp::AttemptsSpent);
        }
        let Some(wait) = self.affordable(now, least, more) else { return Next::GiveUp(GaveUp::Deadline) };
        if !pay(Kind::Retry) {
            return Next::GiveUp(GaveUp::BudgetSpent);
        }
        if wait.is_zero() {
            return self.start(Kind::Retry);
        }
        self.retry = Some(now + wait);
        Next::Wait
    }

    /// It is `now`: has a moment come?
    pub(crate) fn at(&mut self, now: Instant, pay: impl FnOnce(Kind) -> bool) -> Next {
        if let Some(at) = self.retry {
            if now < at {
                return Next::Wait;
            }
            self.retry = None;
            // The timer may have been late.
            return if self.fits(now) { self.start(Kind::Retry) } else { Next::GiveUp(GaveUp::Deadline) };
        }
        match self.hedge {
            Some(at) if now >= at => {}
            _ => return Next::Wait,
        }
        self.hedge = None;
        let room = self.made < self.rules.attempts && self.hedges < self.rules.hedges;
        if !room || !self.fits(now) || !pay(Kind::Hedge) {
            return Next::Wait;
        }
        self.hedges += 1;
        if self.hedges < self.rules.hedges {
            self.hedge = self.rules.hedge_after.map(|after| now + after);
        }
        self.start(Kind::Hedge)
    }

    /// The attempt that was to begin could not: there will be no other.
    pub(crate) fn not_started(&mut self, why: GaveUp) -> Next {
        self.made -= 1;
        self.running -= 1;
        (self.hedge, self.stop) = (None, Some(why));
        if self.running > 0 { Next::Wait } else { Next::GiveUp(why) }
    }

    fn start(&mut self, kind: Kind) -> Next {
        self.made += 1;
        self.running += 1;
        Next::Start(kind)
    }

    /// Whether an attempt that begins at `at` has time enough.
    fn fits(&self, at: Instant) -> bool {
        self.rules.deadline.is_none_or(|deadline| at + self.rules.floor <= deadline)
    }

    /// How long to wait, if there is time enough for an attempt after that. Who was told when to come again
    /// comes then rather than not at all: only what was added to it is cut.
    fn affordable(&self, now: Instant, least: Duration, more: Duration) -> Option<Duration> {
        let wanted = least.saturating_add(more);
        let Some(deadline) = self.rules.deadline else { return Some(wanted) };
        let most = deadline.saturating_duration_since(now).checked_sub(self.rules.floor)?;
        match wanted <= most {
            true => Some(wanted),
            false if !least.is_zero() && least <= most => Some(most),
            false => None,
        }
    }
}
