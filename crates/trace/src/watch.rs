//! One call that is recorded, or may be: what is known of it until it ends.

use crate::{
    Put, Recorded, Role, Subject, Why,
    event::Outcome,
    hooks::{Fit, Sink},
    sample::Keep,
    span,
    state::State,
};
use std::cell::Cell;
use tokio::time::Instant;
use towpath_core::{
    Class, Clock, EndpointId, Loan, Verdict,
    context::{SpanId, TraceContext},
};
use tracing::Span;

thread_local! {
    /// Goes up when a call is kept: whoever polls what is below finds that it has changed meanwhile.
    static KEPT: Cell<u64> = const { Cell::new(0) };
}

/// How many calls were kept on this thread.
#[inline]
pub(crate) fn kept() -> u64 {
    KEPT.get()
}

/// What a call has to say when it ends. Dropped before that, it says that nobody waited.
pub(crate) struct Watch<K: Subject, H: Sink> {
    pub(crate) state: Loan<State<H>>,
    pub(crate) subject: K,
    pub(crate) own: TraceContext,
    pub(crate) parent: Option<SpanId>,
    pub(crate) start: Instant,
    pub(crate) keep: Keep,
    pub(crate) attempt: u16,
    pub(crate) endpoint: Option<EndpointId>,
    /// Whether something below it was kept.
    pub(crate) below: bool,
    pub(crate) ended: bool,
    /// Only of a call that is sampled, and only if somebody subscribes to it.
    pub(crate) span: Option<Box<Span>>,
}

impl<K: Subject, H: Sink> Watch<K, H> {
    /// The call has an outcome.
    #[inline]
    pub(crate) fn end<Req, Res, Err>(&mut self, outcome: &mut Result<Res, Err>)
    where
        H: Fit<Req, Res, Err>,
    {
        self.ended = true;
        let hooks = &self.state.hooks;
        let class = hooks.classify(outcome.as_ref());
        if self.own.is_sampled() {
            return self.tell(&class, outcome);
        }
        let failed = class.verdict != Verdict::Success && self.counts_as_failed(class.verdict);
        // The clock is read only for who wants to know.
        let mut slow = || self.keep.slow.is_some_and(|slow| hooks.end(outcome) - self.start >= slow);
        if failed || self.below || slow() {
            self.tell(&class, outcome);
        }
    }

    fn counts_as_failed(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Answer => self.keep.faults,
            verdict => self.keep.failures && is_error(self.state.about.role, verdict),
        }
    }

    #[cold]
    fn tell<Req, Res, Err>(&mut self, class: &Class, outcome: &mut Result<Res, Err>)
    where
        H: Fit<Req, Res, Err>,
    {
        let state = self.state.clone();
        let hooks = &state.hooks;
        let end = hooks.end(outcome);
        let is_error = is_error(state.about.role, class.verdict);
        let message = outcome.as_ref().err().filter(|_| is_error).map(|error| hooks.message(error));
        let error_type = match (&class.code, &*outcome) {
            (Some(code), _) => Some(code.as_str()),
            (None, Err(_)) => Some("_OTHER"),
            // What it has to say it says itself.
            (None, Ok(_)) => None,
        };
        let told = Outcome {
            verdict: Some(class.verdict),
            is_error,
            code: class.code,
            error_type: error_type.filter(|_| is_error),
            message: message.as_deref(),
        };
        let role = state.about.role;
        let failed = self.counts_as_failed(class.verdict);
        self.record(end, told, failed, &|put| {
            if let Ok(response) = &*outcome {
                hooks.answered(role, response, put);
            }
        });
    }

    /// The call is dropped: its caller has given it up, or a panic takes it along.
    #[cold]
    fn abandon(&mut self) {
        let panics = std::thread::panicking();
        let outcome = Outcome {
            verdict: None,
            is_error: panics,
            code: None,
            error_type: Some(if panics { "panic" } else { "cancelled" }),
            message: panics.then_some("panicked"),
        };
        self.record(Clock::now(), outcome, panics && self.keep.failures, &|_| ());
    }

    fn record(&mut self, end: Instant, outcome: Outcome<'_>, failed: bool, answered: &dyn Fn(&mut Put<'_>)) {
        let took = end.saturating_duration_since(self.start);
        let (state, span) = (&self.state, self.span.take());
        let (about, keep) = (&state.about, self.keep);
        let why = if self.own.is_sampled() {
            Why::Sampled
        } else if failed {
            Why::Failed
        } else if keep.slow.is_some_and(|slow| took >= slow) {
            Why::Slow
        } else if self.below {
            Why::Below
        } else {
            return;
        };
        if why != Why::Sampled {
            if !about.keeps(end, self.below) {
                return;
            }
            KEPT.set(KEPT.get().wrapping_add(1));
        }
        if let Some(span) = span {
            let put: &mut Put<'_> = &mut |name, value| span::put(&span, name, value);
            answered(put);
            about.attributes(self.attempt, self.endpoint, &outcome, put);
            span::close(*span, &outcome);
        }
        if about.listens {
            state.hooks.observe(&Recorded {
                role: about.role,
                trace: self.own,
                parent: self.parent,
                name: &self.subject.name(),
                attempt: self.attempt,
                endpoint: self.endpoint,
                start: self.start,
                took,
                outcome,
                why,
                attributes: &|put| {
                    self.subject.attributes(put);
                    answered(put);
                    about.attributes(self.attempt, self.endpoint, &outcome, put);
                },
            });
        }
    }
}

/// To its caller a fault is an error, and so is a call that is wrong; its server has done well then.
fn is_error(role: Role, verdict: Verdict) -> bool {
    match verdict {
        Verdict::Success => false,
        Verdict::Failure => true,
        Verdict::Answer | Verdict::Caller | Verdict::Nothing => role != Role::Server,
    }
}

impl<K: Subject, H: Sink> Drop for Watch<K, H> {
    #[inline]
    fn drop(&mut self) {
        if !self.ended {
            self.abandon();
        }
    }
}
