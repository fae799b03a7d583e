//! What a call gets, and when a fetch is begun: decided without waiting for anything.

use super::RenewConfig;
use crate::Token;
use std::time::Duration;
use tokio::time::Instant;
use towpath_core::Error;

/// A token as it was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token.
    pub token: Token,
    /// How long it is good for, from when it was asked for; `None`: for ever.
    pub lifetime: Option<Duration>,
}

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Machine {
    held: Option<Held>,
    /// The fetch that is under way, by its number.
    flight: Option<u64>,
    flights: u64,
    /// The last fetch, if it failed; and when the next one may begin.
    failed: Option<(Instant, Error)>,
}

#[derive(Debug)]
struct Held {
    token: Token,
    expires: Option<Instant>,
    renew: Option<Instant>,
}

/// What happens with a call.
#[derive(Debug)]
pub(super) enum Step {
    /// It has a token; a fetch of this number is to be begun, if one is due.
    Use(Token, Option<u64>),
    /// It begins a fetch of this number, and waits for it.
    Begin(u64),
    /// It waits for a fetch that is under way.
    Wait(u64),
    /// It fails: a fetch has failed just now.
    Fail(Instant, Error),
}

impl Machine {
    /// A call comes.
    pub(super) fn ask(&mut self, now: Instant) -> Step {
        let held = self.held.as_ref().filter(|held| held.is_good(now));
        let due = held.is_none_or(|held| held.renew.is_some_and(|at| at <= now));
        let early = self.failed.as_ref().filter(|(again, _)| now < *again);
        let begin = (due && early.is_none() && self.flight.is_none()).then(|| self.flights + 1);
        let step = match (held, begin, self.flight, early) {
            (Some(held), begin, ..) => Step::Use(held.token.clone(), begin),
            (None, Some(flight), ..) => Step::Begin(flight),
            (None, None, Some(flight), _) => Step::Wait(flight),
            // One that failed long ago would have begun another.
            (None, None, None, Some((again, error))) => Step::Fail(*again, error.clone()),
            (None, None, None, None) => Step::Begin(self.flights + 1),
        };
        if let Step::Begin(flight) | Step::Use(_, Some(flight)) = step {
            self.flights = flight;
            self.flight = Some(flight);
        }
        step
    }

    /// A fetch has ended that was begun at `since`. One that was overtaken changes nothing.
    pub(super) fn landed(
        &mut self,
        (since, now): (Instant, Instant),
        flight: u64,
        outcome: Result<Issued, Error>,
        config: &RenewConfig,
    ) {
        if self.flight != Some(flight) {
            return;
        }
        self.flight = None;
        match outcome {
            Ok(issued) => {
                let early = |life: Duration| config.early().min(life / 2);
                self.held = Some(Held {
                    token: issued.token,
                    expires: issued.lifetime.and_then(|life| since.checked_add(life)),
                    renew: issued.lifetime.and_then(|life| since.checked_add(life - early(life))),
                });
                self.failed = None;
            }
            // What is held stays, for as long as it is good.
            Err(error) => self.failed = Some((now + config.retry(), error)),
        }
    }

    /// What became of a fetch that was waited for; `None`: nothing yet.
    pub(super) fn outcome(&self, flight: u64, now: Instant) -> Option<Result<Token, Option<Error>>> {
        if self.flight == Some(flight) {
            return None;
        }
        Some(match self.held.as_ref().filter(|held| held.is_good(now)) {
            Some(held) => Ok(held.token.clone()),
            None => Err(self.failed.as_ref().map(|(_, error)| error.clone())),
        })
    }

    /// The next call is to fetch a token, whatever is held; what is held serves until then.
    pub(super) fn renew(&mut self, now: Instant) {
        self.failed = None;
        if let Some(held) = &mut self.held {
            held.renew = Some(now);
        }
    }

    /// What is held is not to be used any more.
    pub(super) fn discard(&mut self) {
        self.held = None;
    }

    pub(super) fn expires(&self) -> Option<Option<Instant>> {
        self.held.as_ref().map(|held| held.expires)
    }

    pub(super) fn error(&self) -> Option<&Error> {
        self.failed.as_ref().map(|(_, error)| error)
    }
}

impl Held {
    fn is_good(&self, now: Instant) -> bool {
        self.expires.is_none_or(|at| now < at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_core::ErrorKind;

    fn issued(token: &str, seconds: u64) -> Result<Issued, Error> {
        Ok(Issued { token: token.parse().unwrap(), lifetime: Some(Duration::from_secs(seconds)) })
    }

    fn refused() -> Result<Issued, Error> {
        Err(ErrorKind::Unauthenticated.into())
    }

    fn seen(step: Step) -> String {
        match step {
            Step::Use(token, begin) => {
                format!("{} {begin:?}", std::str::from_utf8(token.secret()).unwrap())
            }
            Step::Begin(flight) => format!("begin {flight}"),
            Step::Wait(flight) => format!("wait {flight}"),
            Step::Fail(..) => "fail".to_owned(),
        }
    }

    /// From the first call over a renewal, a failure, and the end of a token.
    #[test]
    fn a_life() {
        let config = RenewConfig::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut machine = Machine::default();
        assert_eq!(seen(machine.ask(at(0))), "begin 1");
        assert_eq!(seen(machine.ask(at(0))), "wait 1");
        assert!(machine.outcome(1, at(1)).is_none());
        machine.landed((at(0), at(1)), 1, issued("a", 300), &config);
        assert!(machine.outcome(1, at(1)).unwrap().is_ok());
        assert_eq!(seen(machine.ask(at(239))), "a None");
        assert_eq!(seen(machine.ask(at(240))), "a Some(2)");
        assert_eq!(seen(machine.ask(at(240))), "a None", "one is under way");
        machine.landed((at(240), at(250)), 2, refused(), &config);
        assert_eq!(seen(machine.ask(at(250))), "a None", "not at once again");
        assert_eq!(seen(machine.ask(at(251))), "a Some(3)");
        machine.landed((at(251), at(299)), 3, refused(), &config);
        assert_eq!(seen(machine.ask(at(299))), "a None");
        let mut gone = machine;
        assert_eq!(seen(gone.ask(at(300))), "begin 4", "the old one has run out");
        gone.landed((at(300), at(300)), 4, refused(), &config);
        assert_eq!(seen(gone.ask(at(300))), "fail");
        assert!(gone.outcome(4, at(300)).unwrap().is_err());
        assert_eq!(seen(gone.ask(at(301))), "begin 5");
        gone.landed((at(301), at(301)), 4, issued("late", 9), &config);
        assert_eq!(seen(gone.ask(at(301))), "wait 5", "what was overtaken does not count");
    }

    #[test]
    fn short_ones_are_not_renewed_all_the_time() {
        let mut machine = Machine::default();
        let start = Instant::now();
        machine.ask(start);
        machine.landed((start, start), 1, issued("a", 10), &RenewConfig::default());
        assert_eq!(seen(machine.ask(start + Duration::from_millis(4_999))), "a None");
        assert_eq!(seen(machine.ask(start + Duration::from_secs(5))), "a Some(2)");
    }

    #[test]
    fn what_is_asked_for_is_fetched() {
        let mut machine = Machine::default();
        let now = Instant::now();
        machine.ask(now);
        machine.landed((now, now), 1, issued("a", 600), &RenewConfig::default());
        machine.renew(now);
        assert_eq!(seen(machine.ask(now)), "a Some(2)");
        machine.discard();
        assert_eq!(seen(machine.ask(now)), "wait 2");
    }
}
