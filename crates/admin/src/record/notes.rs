//! What the attempts of a call note for it, on the thread that polls both.
//!
//! A call is noted in a box that is handed from thread-local to future and back, so that only a pointer moves. Boxes of
//! calls that are over are used again by the thread that they ended on.

use super::methods::Place;
use std::cell::Cell;
use tokio::time::Instant;
use towpath_core::{
    Clock, Context, EndpointId, ErrorCode, Method, Priority,
    context::{SpanId, TraceContext, TraceId},
};

/// A call under way, and what is known of its attempts. The first one needs no allocation.
pub(super) struct Call {
    pub(super) began: Instant,
    /// Where its method is; if it has no place, `method` is it.
    pub(super) place: Option<Place>,
    pub(super) method: Method,
    pub(super) deadline: Option<Instant>,
    pub(super) priority: Priority,
    pub(super) idempotent: bool,
    pub(super) trace: Option<TraceId>,
    /// Whether the call is kept whatever becomes of it.
    pub(super) sampled: bool,
    /// Whether it is still being called, and not polled yet: no time has passed since it began.
    calling: bool,
    /// Which call this is: a mark of another one, that somebody has moved here, changes nothing.
    tag: u64,
    first: Option<Attempt>,
    more: Vec<Attempt>,
    /// While it is over: the next one that is.
    next: Option<Box<Call>>,
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

/// So many boxes are kept for each thread, of about a quarter of a kilobyte.
const SPARE: usize = 256;

/// A method that holds nobody's bytes.
const NOTHING: Method = Method::from_static("");

impl Call {
    /// One that begins. It is one of the sample if chance says so: `below` is that share of 2^64.
    #[inline]
    pub(super) fn begin(began: Instant, context: &Context, below: u64) -> Box<Call> {
        let tag = fastrand::u64(..);
        let mut call = SPARES.try_with(Spares::take).ok().flatten().unwrap_or_else(Call::empty);
        call.began = began;
        call.deadline = context.deadline();
        call.priority = context.priority();
        call.idempotent = context.is_idempotent();
        call.trace = context.trace().map(|trace| trace.trace_id);
        call.sampled = tag < below || below == u64::MAX;
        call.calling = true;
        call.tag = tag;
        call
    }

    #[cold]
    fn empty() -> Box<Call> {
        Box::new(Call {
            began: Clock::now(),
            place: None,
            method: NOTHING,
            deadline: None,
            priority: Priority::default(),
            idempotent: false,
            trace: None,
            sampled: false,
            calling: false,
            tag: 0,
            first: None,
            more: Vec::new(),
            next: None,
        })
    }

    /// It is over, and nobody needs to know of it any more.
    #[inline]
    pub(super) fn over(mut self: Box<Self>) {
        self.first = None;
        self.more.clear();
        if self.place.take().is_none() {
            self.method = NOTHING;
        }
        let _ = SPARES.try_with(|spares| spares.put(self));
    }

    pub(super) fn made(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    pub(super) fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.first.iter().chain(&self.more)
    }

    /// From now on time passes.
    #[inline]
    pub(super) fn called(&mut self) {
        self.calling = false;
    }

    /// The number of the attempt that begins; `None`: there are too many.
    #[inline]
    fn attempt(&mut self) -> Option<u8> {
        let number = self.made();
        // What is called at once began with the call: that saves a reading of the clock.
        let began = if self.calling && number == 0 { self.began } else { Clock::now() };
        let attempt = Attempt { began, ended: None, endpoint: None, outcome: Outcome::Pending, choice: None };
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

/// Boxes of calls that are over.
struct Spares {
    first: Cell<Option<Box<Call>>>,
    count: Cell<usize>,
}

impl Spares {
    #[inline]
    fn take(&self) -> Option<Box<Call>> {
        let mut call = self.first.take()?;
        self.first.set(call.next.take());
        self.count.set(self.count.get() - 1);
        Some(call)
    }

    #[inline]
    fn put(&self, mut call: Box<Call>) {
        if self.count.get() < SPARE {
            call.next = self.first.take();
            self.first.set(Some(call));
            self.count.set(self.count.get() + 1);
        }
    }
}

thread_local! {
    /// The call that is called or polled on this thread.
    static NOTES: Cell<Option<Box<Call>>> = const { Cell::new(None) };
    static SPARES: Spares = const { Spares { first: Cell::new(None), count: Cell::new(0) } };
}

/// Does this with the notes of the call that is polled on this thread, if there is one.
#[inline]
fn with<R>(work: impl FnOnce(&mut Call) -> R) -> Option<R> {
    let mut call = NOTES.try_with(Cell::take).ok()??;
    let result = work(&mut call);
    let _ = NOTES.try_with(|notes| notes.set(Some(call)));
    Some(result)
}

/// Lends a call's notes to what is called or polled until what is returned is dropped; those of a call further up come
/// back then. (No closure: what that would have in it is moved once more.)
#[inline]
pub(super) fn lend(call: &mut Option<Box<Call>>) -> Lent<'_> {
    // On a thread that is ending nobody takes notes.
    let outer = NOTES.try_with(|notes| notes.replace(call.take())).ok();
    Lent { call, outer }
}

/// Takes them back, after a panic as well.
pub(super) struct Lent<'a> {
    call: &'a mut Option<Box<Call>>,
    outer: Option<Option<Box<Call>>>,
}

impl Drop for Lent<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(outer) = self.outer.take() {
            let _ = NOTES.try_with(|notes| *self.call = notes.replace(outer));
        }
    }
}

/// An attempt that was begun: it has ended when this is told so, or dropped.
pub(super) struct Mark {
    /// Of which call, and which attempt.
    at: Option<(u64, u8)>,
}

impl Mark {
    /// Notes that an attempt begins. The trace is that of the call, if it has one; where somebody takes notes, a call that has
    /// none gets one, which is not sampled.
    #[inline]
    pub(super) fn begin(context: &mut Context) -> (Self, bool) {
        let begun = with(|call| {
            let known = context.trace();
            let trace = match (call.trace, known) {
                (Some(trace), _) => trace,
                (None, Some(known)) => *call.trace.insert(known.trace_id),
                (None, None) => *call.trace.insert(random()),
            };
            if known.is_none() {
                context.set_trace(Some(TraceContext {
                    trace_id: trace,
                    span_id: SpanId(fastrand::u64(..) | 1),
                    flags: 0,
                }));
            }
            (call.attempt().map(|number| (call.tag, number)), call.sampled)
        });
        match begun {
            Some((at, sampled)) => (Mark { at }, sampled),
            None => (Mark { at: None }, false),
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
        with(|call| if call.tag == tag { call.at(number).map(change) } else { None });
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.at.is_some() {
            self.end(towpath_core::Clock::now(), Outcome::GivenUp);
        }
    }
}

/// As [`TraceId::random`], without the search for a number in a range.
#[inline]
fn random() -> TraceId {
    TraceId(u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..) | 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within<R>(call: &mut Option<Box<Call>>, work: impl FnOnce() -> R) -> R {
        let _lent = lend(call);
        work()
    }

    fn call() -> Option<Box<Call>> {
        Some(Call::begin(Instant::now(), &Context::new(), 0))
    }

    fn of(trace: Option<TraceId>) -> Context {
        let mut context = Context::new();
        context.set_trace(trace.map(|trace_id| TraceContext { trace_id, ..TraceContext::random(false) }));
        context
    }

    fn mark(trace: Option<TraceId>) -> Mark {
        Mark::begin(&mut of(trace)).0
    }

    #[test]
    fn each_call_has_its_own() {
        let now = Instant::now();
        let (mut outer, mut inner) = (call(), call());
        within(&mut outer, || {
            let mut context = of(Some(TraceId(7)));
            let (mut one, _) = Mark::begin(&mut context);
            assert_eq!(context.trace().unwrap().trace_id, TraceId(7));
            let two = within(&mut inner, || mark(None));
            one.goes_to(EndpointId(3));
            one.end(now, Outcome::Answered);
            // Its notes are not here: nothing is changed.
            two.goes_to(EndpointId(4));
            let mut later = of(None);
            drop(Mark::begin(&mut later));
            assert_eq!(later.trace().unwrap().trace_id, TraceId(7), "the trace is that of the call");
        });
        let seen: Vec<_> = outer
            .iter()
            .flat_map(|call| call.attempts())
            .map(|attempt| (attempt.endpoint, attempt.outcome.clone()))
            .collect();
        assert_eq!(seen, [(Some(EndpointId(3)), Outcome::Answered), (None, Outcome::GivenUp)]);
        let inner = inner.unwrap();
        assert_eq!((inner.made(), inner.trace.is_some()), (1, true));
        let mut context = of(None);
        assert!(Mark::begin(&mut context).0.at.is_none(), "nobody takes notes any more");
        assert!(context.trace().is_none());
    }

    #[test]
    fn there_is_an_end_to_them() {
        let mut call = call();
        within(&mut call, || (0..100).for_each(|_| mark(None).end(Instant::now(), Outcome::Answered)));
        assert_eq!(call.unwrap().made(), MOST);
    }

    #[test]
    fn a_panic_gives_them_back() {
        let mut call = call();
        let blown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            within(&mut call, || {
                let _mark = mark(None);
                panic!("on purpose");
            })
        }));
        assert!(blown.is_err());
        assert_eq!(call.unwrap().made(), 1);
        assert!(NOTES.take().is_none());
    }

    #[test]
    fn a_box_that_is_used_again_knows_nothing_of_the_call_before() {
        let mut first = call();
        within(&mut first, || {
            mark(Some(TraceId(7))).end(Instant::now(), Outcome::Answered);
            mark(None).end(Instant::now(), Outcome::Answered);
        });
        let first = first.unwrap();
        let at: *const Call = &*first;
        first.over();
        let again = call().unwrap();
        assert!(std::ptr::eq(at, &*again), "it is another one");
        assert_eq!((again.made(), again.trace, again.sampled), (0, None, false));
        assert!(again.next.is_none());
        again.over();
        // Nor are there more of them than there is room for.
        let all: Vec<_> = (0..SPARE + 10).map(|_| call().unwrap()).collect();
        all.into_iter().for_each(Call::over);
        assert_eq!(SPARES.with(|spares| spares.count.get()), SPARE);
    }

    #[test]
    fn only_an_attempt_that_is_made_at_once_began_with_its_call() {
        let before = Instant::now() - std::time::Duration::from_secs(1);
        let begin = || Some(Call::begin(before, &Context::new(), 0));
        let (mut at_once, mut later) = (begin(), begin());
        within(&mut at_once, || drop((mark(None), mark(None))));
        later.as_mut().unwrap().called();
        within(&mut later, || drop(mark(None)));
        let waited = |call: Option<Box<Call>>| {
            call.unwrap().attempts().map(|attempt| attempt.began > before).collect::<Vec<_>>()
        };
        assert_eq!((waited(at_once), waited(later)), (vec![false, true], vec![true]));
    }

    #[test]
    fn chance_takes_that_share() {
        let sampled = |below: u64| {
            let call = |_: &u32| {
                let call = Call::begin(Instant::now(), &Context::new(), below);
                let sampled = call.sampled;
                call.over();
                sampled
            };
            (0..10_000u32).filter(call).count()
        };
        assert_eq!((sampled(0), sampled(u64::MAX)), (0, 10_000));
        assert!((4_000..6_000).contains(&sampled(u64::MAX / 2)));
    }
}
