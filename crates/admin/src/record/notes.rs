//! What the attempts of a call note for it, on the thread that polls both.

use std::cell::Cell;
use tokio::time::Instant;
use towpath_core::{EndpointId, ErrorCode, context::TraceId};

/// What is known of a call's attempts. The first one needs no allocation.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) trace: Option<TraceId>,
    /// Whether the call is kept whatever becomes of it.
    pub(super) sampled: bool,
    /// Which call this is of: a mark of another one, that somebody has moved here, changes nothing.
    tag: u64,
    first: Option<Attempt>,
    more: Vec<Attempt>,
}

/// One attempt.
pub(super) struct Attempt {
    pub(super) began: Instant,
    pub(super) ended: Option<Instant>,
    pub(super) endpoint: Option<EndpointId>,
    pub(super) outcome: Outcome,
    /// What could be chosen from, if somebody has looked.
    pub(super) choice: Option<Box<str>>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Pending,
    Answered,
    /// With a fault of the application.
    Fault(Option<ErrorCode>),
    /// With an error; what it says.
    Failed(Box<str>),
    /// Somebody above gave it up: a hedge was faster, or its time was up.
    GivenUp,
}

/// No call makes more, and one that does is not to fill the memory.
const MOST: usize = 64;

impl Notes {
    pub(super) fn new(trace: Option<TraceId>, sampled: bool) -> Self {
        Notes { trace, sampled, tag: fastrand::u64(..), ..Notes::default() }
    }

    pub(super) fn made(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    pub(super) fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.first.iter().chain(&self.more)
    }

    /// The number of the attempt that begins; `None`: there are too many.
    fn begin(&mut self, attempt: Attempt) -> Option<u8> {
        let number = self.made();
        match number {
            0 => self.first = Some(attempt),
            MOST.. => return None,
            _ => self.more.push(attempt),
        }
        u8::try_from(number).ok()
    }

    fn at(&mut self, number: u8) -> Option<&mut Attempt> {
        match number {
            0 => self.first.as_mut(),
            more => self.more.get_mut(usize::from(more) - 1),
        }
    }
}

thread_local! {
    static NOTES: Cell<Option<Notes>> = const { Cell::new(None) };
}

/// Does this with the notes of the call that is polled on this thread, if there is one.
fn with<R>(work: impl FnOnce(&mut Notes) -> R) -> Option<R> {
    let mut notes = NOTES.take()?;
    let result = work(&mut notes);
    NOTES.set(Some(notes));
    Some(result)
}

/// Lends notes to what is polled within; those of a call further up come back after it.
#[inline]
pub(super) fn within<R>(notes: &mut Notes, work: impl FnOnce() -> R) -> R {
    let outer = NOTES.replace(Some(std::mem::take(notes)));
    let back = Back { notes, outer };
    let result = work();
    drop(back);
    result
}

/// Takes them back, after a panic as well.
struct Back<'a> {
    notes: &'a mut Notes,
    outer: Option<Notes>,
}

impl Drop for Back<'_> {
    fn drop(&mut self) {
        *self.notes = NOTES.replace(self.outer.take()).unwrap_or_default();
    }
}

/// An attempt that was begun: it has ended when this is told so, or dropped.
pub(super) struct Mark {
    /// Of which call, and which attempt.
    at: Option<(u64, u8)>,
}

impl Mark {
    /// Notes that an attempt begins. The trace is that of the call, if it has one; what is returned has it in any case, if
    /// somebody takes notes.
    pub(super) fn begin(now: Instant, trace: Option<TraceId>) -> (Self, Option<Begun>) {
        let begun = with(|notes| {
            let trace = *notes.trace.get_or_insert_with(|| trace.unwrap_or_else(TraceId::random));
            let attempt =
                Attempt { began: now, ended: None, endpoint: None, outcome: Outcome::Pending, choice: None };
            let at = notes.begin(attempt).map(|number| (notes.tag, number));
            (at, Begun { trace, sampled: notes.sampled })
        });
        match begun {
            Some((at, begun)) => (Mark { at }, Some(begun)),
            None => (Mark { at: None }, None),
        }
    }

    /// Notes where it goes.
    pub(super) fn goes_to(&self, endpoint: EndpointId) {
        self.change(|attempt| attempt.endpoint = Some(endpoint));
    }

    /// Notes what could be chosen from, unless that is known.
    pub(super) fn choice(&self, say: impl FnOnce(Option<EndpointId>) -> Option<Box<str>>) {
        self.change(|attempt| {
            if attempt.choice.is_none() {
                attempt.choice = say(attempt.endpoint);
            }
        });
    }

    /// Notes how it ended.
    pub(super) fn end(&mut self, now: Instant, outcome: Outcome) {
        self.change(|attempt| {
            attempt.ended = Some(now);
            attempt.outcome = outcome;
        });
        self.at = None;
    }

    fn change(&self, change: impl FnOnce(&mut Attempt)) {
        let Some((tag, number)) = self.at else { return };
        with(|notes| if notes.tag == tag { notes.at(number).map(change) } else { None });
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.at.is_some() {
            self.end(towpath_core::Clock::now(), Outcome::GivenUp);
        }
    }
}

/// What an attempt is told of its call.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    pub(super) trace: TraceId,
    pub(super) sampled: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_own() {
        let now = Instant::now();
        let (mut outer, mut inner) = (Notes::new(None, false), Notes::new(None, false));
        within(&mut outer, || {
            let (mut one, begun) = Mark::begin(now, Some(TraceId(7)));
            assert_eq!(begun.unwrap().trace, TraceId(7));
            let two = within(&mut inner, || Mark::begin(now, None).0);
            one.goes_to(EndpointId(3));
            one.end(now, Outcome::Answered);
            // Its notes are not here: nothing is changed.
            two.goes_to(EndpointId(4));
            let (three, _) = Mark::begin(now, None);
            drop(three);
        });
        let seen: Vec<_> =
            outer.attempts().map(|attempt| (attempt.endpoint, attempt.outcome.clone())).collect();
        assert_eq!(seen, [(Some(EndpointId(3)), Outcome::Answered), (None, Outcome::GivenUp)]);
        assert_eq!((inner.made(), inner.trace.is_some()), (1, true));
        assert!(Mark::begin(now, None).1.is_none(), "nobody takes notes any more");
    }

    #[test]
    fn there_is_an_end_to_them() {
        let mut notes = Notes::default();
        within(&mut notes, || {
            for _ in 0..100 {
                Mark::begin(Instant::now(), None).0.end(Instant::now(), Outcome::Answered);
            }
        });
        assert_eq!(notes.made(), MOST);
    }

    #[test]
    fn a_panic_gives_them_back() {
        let mut notes = Notes::default();
        let blown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            within(&mut notes, || {
                let _mark = Mark::begin(Instant::now(), None);
                panic!("on purpose");
            })
        }));
        assert!(blown.is_err());
        assert_eq!(notes.made(), 1);
        assert!(NOTES.take().is_none());
    }
}
