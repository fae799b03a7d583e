//! All that a layer was told of the types of its calls, as one value: so that service and future name one type.

use std::fmt;
use tokio::time::Instant;
use towpath_core::{CallInfo, Class, Classify, Clock, Context, Method};

/// What a [`MetricsLayer`](crate::MetricsLayer) was told: what is known of a call, and what an outcome means.
#[derive(Clone, Copy)]
pub struct Hooks<I, C> {
    pub(crate) info: I,
    pub(crate) classify: C,
}

/// [`Hooks`] that fit a service: there is no other implementation, and nothing to call.
///
/// Asked for are a [`CallInfo`] for the service's requests and responses, and a [`Classify`].
#[allow(missing_docs)]
pub trait Fit<Req, Res, Err>: sealed::Sealed {
    #[doc(hidden)]
    fn start(&self, request: &mut Req) -> Instant;
    #[doc(hidden)]
    fn method<'a>(&self, request: &'a Req) -> Option<&'a Method>;
    #[doc(hidden)]
    fn context<'a>(&self, request: &'a Req) -> Option<&'a Context>;
    #[doc(hidden)]
    fn end(&self, outcome: &mut Result<Res, Err>) -> Instant;
    #[doc(hidden)]
    fn unless_success(&self, outcome: Result<&Res, &Err>) -> Option<Class>;
}

mod sealed {
    pub trait Sealed {}
}

impl<I, C> sealed::Sealed for Hooks<I, C> {}

impl<I, C, Req, Res, Err> Fit<Req, Res, Err> for Hooks<I, C>
where
    I: CallInfo<Req, Res>,
    C: Classify<Res, Err>,
{
    #[inline]
    fn start(&self, request: &mut Req) -> Instant {
        self.info.start(request)
    }

    #[inline]
    fn method<'a>(&self, request: &'a Req) -> Option<&'a Method> {
        self.info.method(request)
    }

    #[inline]
    fn context<'a>(&self, request: &'a Req) -> Option<&'a Context> {
        self.info.context(request)
    }

    #[inline]
    fn end(&self, outcome: &mut Result<Res, Err>) -> Instant {
        match outcome {
            Ok(response) => self.info.end(response),
            Err(_) => Clock::now(),
        }
    }

    #[inline]
    fn unless_success(&self, outcome: Result<&Res, &Err>) -> Option<Class> {
        self.classify.unless_success(outcome)
    }
}

impl<I, C> fmt::Debug for Hooks<I, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
