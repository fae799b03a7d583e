//! All that a layer was told, as one value: so that service and future name one type and not six.

use crate::{Attempts, CopyRequest, Decision, Failed, Policy, Repeat, RetryEvent};
use std::fmt;
use tokio::time::Instant;
use towpath_core::{Class, Classify, Context, Error, Mode, Observe, OnReject, Spent};

/// All that a [`RetryLayer`](crate::RetryLayer) was told: policy, classifier, what is known of a call, how a
/// request is copied, what becomes of an error, who listens.
#[derive(Clone, Copy)]
pub struct Hooks<P, C, I, K, R, O> {
    pub(crate) policy: P,
    pub(crate) classify: C,
    pub(crate) info: I,
    pub(crate) copy: K,
    pub(crate) reject: R,
    pub(crate) observe: O,
    /// Whether every call may be made twice.
    pub(crate) idempotent: bool,
    /// Whether a first attempt is left to what is below to be ended in time.
    pub(crate) kept_below: bool,
}

/// [`Hooks`] that fit a service: there is no other implementation, and nothing to call.
///
/// Asked for are a [`Policy`] and a [`Classify`] for the service's outcomes, a [`Repeat`] for its requests and
/// responses, a [`CopyRequest`], an [`OnReject`], and an [`Observe`] of [`RetryEvent`]s.
#[allow(missing_docs)]
pub trait Fit<Req, Res, Err>: sealed::Sealed {
    /// What the layer's service fails with.
    type Error;

    #[doc(hidden)]
    fn start(&self, request: &mut Req) -> Instant;
    #[doc(hidden)]
    fn end(&self, response: &mut Res) -> Instant;
    #[doc(hidden)]
    fn context<'a>(&self, request: &'a Req) -> Option<&'a Context>;
    #[doc(hidden)]
    fn context_mut<'a>(&self, request: &'a mut Req) -> Option<&'a mut Context>;
    #[doc(hidden)]
    fn copy(&self, request: &Req) -> Option<Req>;
    /// Whether it may be sent again although the callee may have acted, and whether it may be hedged.
    #[doc(hidden)]
    fn may_repeat(&self, request: &Req) -> (bool, bool);
    #[doc(hidden)]
    fn kept_below(&self) -> bool;
    #[doc(hidden)]
    fn classify(&self, outcome: Result<&Res, &Err>) -> Class;
    #[doc(hidden)]
    fn decide(&self, failed: &Failed<'_, Res, Err>) -> Decision;
    #[doc(hidden)]
    fn keep(&self, response: Res) -> Option<Res>;
    #[doc(hidden)]
    fn report(&self, response: &mut Res, attempts: Attempts, stop: bool);
    #[doc(hidden)]
    fn observe(&self, event: RetryEvent);
    #[doc(hidden)]
    fn reject(&self, error: Error) -> Result<Res, Self::Error>;
    #[doc(hidden)]
    fn pass(&self, error: Err) -> Self::Error;
    #[doc(hidden)]
    fn pass_spent(&self, error: Err, spent: Spent) -> Self::Error;
}

mod sealed {
    pub trait Sealed {}
}

impl<P, C, I, K, R, O> sealed::Sealed for Hooks<P, C, I, K, R, O> {}

impl<P, C, I, K, R, O, Req, Res, Err> Fit<Req, Res, Err> for Hooks<P, C, I, K, R, O>
where
    P: Policy<Res, Err>,
    C: Classify<Res, Err>,
    I: Repeat<Req, Res>,
    K: CopyRequest<Req>,
    R: OnReject<Res, Err>,
    O: Observe<RetryEvent>,
{
    type Error = R::Error;

    #[inline]
    fn start(&self, request: &mut Req) -> Instant {
        self.info.start(request)
    }

    #[inline]
    fn end(&self, response: &mut Res) -> Instant {
        self.info.end(response)
    }

    #[inline]
    fn context<'a>(&self, request: &'a Req) -> Option<&'a Context> {
        self.info.context(request)
    }

    #[inline]
    fn context_mut<'a>(&self, request: &'a mut Req) -> Option<&'a mut Context> {
        self.info.context_mut(request)
    }

    #[inline(always)]
    fn copy(&self, request: &Req) -> Option<Req> {
        self.copy.copy(request)
    }

    #[inline]
    fn may_repeat(&self, request: &Req) -> (bool, bool) {
        let mode = self.info.mode(request);
        let idempotent = self.idempotent || self.info.is_idempotent(request);
        (idempotent && mode != Mode::OneWay, idempotent && mode == Mode::Unary)
    }

    #[inline]
    fn kept_below(&self) -> bool {
        self.kept_below
    }

    #[inline]
    fn classify(&self, outcome: Result<&Res, &Err>) -> Class {
        self.classify.classify(outcome)
    }

    fn decide(&self, failed: &Failed<'_, Res, Err>) -> Decision {
        self.policy.decide(failed)
    }

    fn keep(&self, response: Res) -> Option<Res> {
        self.info.keep(response)
    }

    fn report(&self, response: &mut Res, attempts: Attempts, stop: bool) {
        self.info.report(response, attempts, stop);
    }

    fn observe(&self, event: RetryEvent) {
        self.observe.observe(&event);
    }

    fn reject(&self, error: Error) -> Result<Res, R::Error> {
        self.reject.reject(error)
    }

    fn pass(&self, error: Err) -> R::Error {
        self.reject.pass(error)
    }

    fn pass_spent(&self, error: Err, spent: Spent) -> R::Error {
        self.reject.pass_spent(error, spent)
    }
}

impl<P, C, I, K, R, O> fmt::Debug for Hooks<P, C, I, K, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("idempotent", &self.idempotent)
            .field("kept_below", &self.kept_below)
            .finish_non_exhaustive()
    }
}
