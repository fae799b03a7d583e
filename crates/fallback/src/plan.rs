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

impl<A, C, W, M, O> Plan<A, C, W, M, O> {
    /// A call is over: whether it was answered well. Then there may be something to learn from it.
    ///
    /// # Errors
    /// What its outcome means, if it is no success.
    #[inline]
    pub(crate) fn pass<Req, Res, Err>(
        &self,
        outcome: &Result<Res, Err>,
        kept: &mut Option<A::Kept>,
    ) -> Result<(), Class>
    where
        A: Substitute<Req, Res, Err>,
        C: Classify<Res, Err>,
        M: Mark<Res>,
    {
        let class = self.classify.classify(outcome.as_ref());
        if !class.is_success() {
            return Err(class);
        }
        if let (true, Ok(response)) = (A::LEARNS, outcome)
            && !self.mark.is_marked(response)
            && let Some(kept) = kept.take()
        {
            self.substitute.learn(kept, response);
        }
        Ok(())
    }

    /// A call has failed: what answers it, if anything is to. Takes what was kept of its request.
    pub(crate) fn answer<Req, Res, Err>(
        &self,
        outcome: &Result<Res, Err>,
        class: &Class,
        kept: &mut Option<A::Kept>,
    ) -> Option<A::Future>
    where
        A: Substitute<Req, Res, Err>,
        W: When<Res, Err>,
    {
        let kept = kept.take()?;
        let applies = self.when.applies(class, outcome.as_ref());
        let failure = Failure { class, outcome: outcome.as_ref() };
        applies.then(|| self.substitute.substitute(kept, failure))
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
