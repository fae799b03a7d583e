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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What happened, in order. All that is decided is worked out from this, anew each time.
    #[derive(Clone, Copy, Debug)]
    enum Fact {
        Began(Instant),
        Failed(Judged),
        Refused,
    }

    /// As simple as can be: no state but the history, and until when a retry waits.
    struct Model {
        rules: Rules,
        start: Instant,
        facts: Vec<Fact>,
        waits: Option<Instant>,
    }

    impl Model {
        fn count(&self, which: impl Fn(&Fact) -> bool) -> usize {
            self.facts.iter().filter(|fact| which(fact)).count()
        }

        fn made(&self) -> usize {
            1 + self.count(|fact| matches!(fact, Fact::Began(..)))
        }

        fn failed(&self) -> usize {
            self.count(|fact| matches!(fact, Fact::Failed(_)))
        }

        fn latest(&self) -> Option<Instant> {
            self.rules.deadline.map(|deadline| deadline.checked_sub(self.rules.floor).unwrap())
        }

        fn began(&mut self, kind: Kind, now: Instant) -> Next {
            self.facts.push(Fact::Began(now));
            Next::Start(kind)
        }

        fn hedge_due(&self) -> Option<Instant> {
            let mut last = self.start;
            let mut hedges = 0;
            for fact in &self.facts {
                match fact {
                    Fact::Failed(_) | Fact::Refused => return None,
                    Fact::Began(at) => (last, hedges) = (*at, hedges + 1),
                }
            }
            (hedges < self.rules.hedges).then_some(last + self.rules.hedge_after?)
        }

        fn due(&self) -> Option<Instant> {
            self.waits.or_else(|| self.hedge_due())
        }

        fn fail(&mut self, now: Instant, judged: Judged, paid: bool) -> Next {
            self.facts.push(Fact::Failed(judged));
            let Judged::Again { least, more } = judged else {
                let first_no = self.facts.iter().find_map(|fact| match fact {
                    Fact::Failed(Judged::Never(why)) => Some(*why),
                    _ => None,
                });
                return match (judged, first_no) {
                    (Judged::Final(why), _) => Next::GiveUp(why),
                    (_, Some(why)) if self.failed() == self.made() => Next::GiveUp(why),
                    _ => Next::Wait,
                };
            };
            if self.failed() < self.made() {
                return Next::Wait;
            }
            if let Some(why) = self.facts.iter().find_map(|fact| match fact {
                Fact::Failed(Judged::Never(why)) => Some(*why),
                _ => None,
            }) {
                return Next::GiveUp(why);
            }
            if self.made() == usize::from(self.rules.attempts) {
                return Next::GiveUp(GaveUp::AttemptsSpent);
            }
            let mut at = now + least + more;
            if let Some(latest) = self.latest() {
                if now + least > latest || (at > latest && least.is_zero()) {
                    return Next::GiveUp(GaveUp::Deadline);
                }
                at = at.min(latest);
            }
            if !paid {
                return Next::GiveUp(GaveUp::BudgetSpent);
            }
            if at == now {
                return self.began(Kind::Retry, now);
            }
            self.waits = Some(at);
            Next::Wait
        }

        fn at(&mut self, now: Instant, paid: bool) -> Next {
            let in_time = self.latest().is_none_or(|latest| now <= latest);
            if self.due().is_none_or(|due| now < due) {
                return Next::Wait;
            }
            if self.waits.take().is_some() {
                return if in_time { self.began(Kind::Retry, now) } else { Next::GiveUp(GaveUp::Deadline) };
            }
            if self.made() < usize::from(self.rules.attempts) && in_time && paid {
                return self.began(Kind::Hedge, now);
            }
            self.facts.push(Fact::Refused);
            Next::Wait
        }
    }

    prop_compose! {
        fn rules(base: Instant)(
            attempts in 1u16..6,
            hedges in 0u16..4,
            hedge_after in prop::option::of(1u64..60),
            floor in 1u64..40,
            deadline in prop::option::of(50u64..400),
        ) -> Rules {
            Rules {
                attempts,
                hedges,
                hedge_after: hedge_after.map(ms),
                floor: ms(floor),
                deadline: deadline.map(|after| base + ms(after)),
            }
        }
    }

    fn judged() -> impl Strategy<Value = Judged> {
        prop_oneof![
            6 => (prop_oneof![3 => Just(0u64), 1 => 1u64..120], prop_oneof![1 => Just(0u64), 2 => 1u64..120])
                .prop_map(|(least, more)| Judged::Again { least: ms(least), more: ms(more) }),
            1 => Just(Judged::Never(GaveUp::Unsafe)),
            1 => Just(Judged::Never(GaveUp::NotUseful)),
            1 => Just(Judged::Final(GaveUp::NotUseful)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn it_decides_as_the_history_says(
            (base, rules) in Just(Instant::now() + Duration::from_secs(1)).prop_flat_map(|base| (Just(base), rules(base))),
            steps in prop::collection::vec((0u64..50, prop::option::weighted(0.4, judged()), prop::bool::weighted(0.8)), 1..40),
        ) {
            let mut plan = Plan::new(rules, base);
            let mut model = Model { rules, start: base, facts: Vec::new(), waits: None };
            let (mut now, mut paid, mut begun) = (base, 0, 0);
            for (passes, ends, solvent) in steps {
                now += ms(passes);
                let pay = |_| {
                    paid += u32::from(solvent);
                    solvent
                };
                let running = model.failed() < model.made();
                let (got, wanted) = match ends {
                    Some(judged) if running => (plan.failed(now, judged, pay), model.fail(now, judged, solvent)),
                    _ => (plan.at(now, pay), model.at(now, solvent)),
                };
                prop_assert_eq!(got, wanted);
                prop_assert_eq!((usize::from(plan.made()), plan.due()), (model.made(), model.due()));
                prop_assert!(plan.made() <= rules.attempts);
                if let Next::Start(_) = got {
                    begun += 1;
                    prop_assert!(rules.deadline.is_none_or(|deadline| now + rules.floor <= deadline));
                }
                // What is begun was paid for; a retry that still waits was, too.
                prop_assert!(begun <= paid);
                if let Next::GiveUp(_) = got {
                    break;
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_begun_was_none() {
        let rules = Rules { attempts: 3, hedges: 1, hedge_after: Some(ms(5)), floor: ms(1), deadline: None };
        let start = Instant::now();
        let mut plan = Plan::new(rules, start);
        assert_eq!(plan.at(start + ms(5), |_| true), Next::Start(Kind::Hedge));
        assert_eq!(plan.not_started(GaveUp::CannotCopy), Next::Wait);
        assert_eq!((plan.made(), plan.due()), (1, None));
        let again = Judged::Again { least: ms(0), more: ms(0) };
        assert_eq!(plan.failed(start + ms(6), again, |_| true), Next::GiveUp(GaveUp::CannotCopy));
    }
}
