//! What the calls of a layer need to know when they end.

use crate::{
    Declined, Degraded, End, Failure, FellBack, Mark, Substitute, Substituted, When, handle::Counts,
};
use std::sync::Arc;
use towpath_core::{BoxError, Class, Classify, Observe};

/// Shared by all services that a layer makes, and lent to their calls.
#[derive(Debug)]
pub(crate) struct Plan<A, C, W, M, O> {
    pub(crate) substitute: Arc<A>,
    pub(crate) classify: C,
    pub(crate) when: W,
    pub(crate) mark: M,
    pub(crate) observe: O,
    pub(crate) counts: Arc<Counts>,
}

/// What is to be done about an outcome.
pub(crate) enum Verdict<F> {
    /// It is passed on.
    Pass,
    /// It is answered by something else, which is being made.
    Answer(F, Class),
}

impl<A, C, W, M, O> Plan<A, C, W, M, O> {
    /// A call is over. Takes what was kept of its request.
    #[inline]
    pub(crate) fn judge<Req, Res, Err>(
        &self,
        outcome: &Result<Res, Err>,
        kept: &mut Option<A::Kept>,
    ) -> Verdict<A::Future>
    where
        A: Substitute<Req, Res, Err>,
        C: Classify<Res, Err>,
        W: When<Res, Err>,
        M: Mark<Res>,
    {
        let class = self.classify.classify(outcome.as_ref());
        if class.is_success() {
            if let (true, Ok(response)) = (A::LEARNS, outcome)
                && !self.mark.is_marked(response)
                && let Some(kept) = kept.take()
            {
                self.substitute.learn(kept, response);
            }
            return Verdict::Pass;
        }
        self.judge_failure(outcome, class, kept)
    }

    #[cold]
    fn judge_failure<Req, Res, Err>(
        &self,
        outcome: &Result<Res, Err>,
        class: Class,
        kept: &mut Option<A::Kept>,
    ) -> Verdict<A::Future>
    where
        A: Substitute<Req, Res, Err>,
        W: When<Res, Err>,
    {
        match kept.take() {
            Some(kept) if self.when.applies(&class, outcome.as_ref()) => {
                let failure = Failure { class: &class, outcome: outcome.as_ref() };
                Verdict::Answer(self.substitute.substitute(kept, failure), class)
            }
            _ => Verdict::Pass,
        }
    }

    /// The fallback is done, or out of time (`None`): what the caller gets.
    pub(crate) fn settle<Req, Res, Err>(
        &self,
        answer: Option<Result<Substituted<Res>, Declined>>,
        outcome: Result<Res, Err>,
        class: Class,
    ) -> Result<Res, Err>
    where
        A: Substitute<Req, Res, Err>,
        M: Mark<Res>,
        O: Observe<FellBack>,
        Err: Into<BoxError>,
    {
        let source = self.substitute.source();
        let (end, error) = match answer {
            Some(Ok(Substituted { mut response, age })) => {
                let error = match outcome {
                    Ok(failure) => self.mark.reads(&failure),
                    Err(error) => Some(error.into()),
                };
                let degraded = Degraded::new(source, class, age, error);
                let (end, error) = (End::Answered, degraded.shared_error());
                self.mark.mark(&mut response, degraded);
                self.counts.add(end);
                self.observe.observe(&FellBack { source, class, end, error, age });
                return Ok(response);
            }
            Some(Err(Declined::Nothing)) => (End::Nothing, None),
            Some(Err(Declined::Failed(error))) => (End::Failed, Some(Arc::from(error))),
            None => (End::OutOfTime, None),
        };
        self.counts.add(end);
        self.observe.observe(&FellBack { source, class, end, error, age: None });
        outcome
    }
}
