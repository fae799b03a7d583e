//! All that a layer was told of the types of its calls, as one value: so that service and future name one type and
//! not three.

use crate::{Came, Describe, Put, Recorded, Role, Subject};
use std::fmt;
use tokio::time::Instant;
use towpath_core::{Class, Classify, Clock, Context, Observe, context::SpanId};

/// What a [`TraceLayer`](crate::TraceLayer) was told: what is known of a call, what an outcome means, who listens.
#[derive(Clone, Copy)]
pub struct Hooks<D, C, O> {
    pub(crate) describe: D,
    pub(crate) classify: C,
    pub(crate) observe: O,
}

/// [`Hooks`], as far as they concern a call of whatever type.
pub trait Sink: sealed::Sealed {
    #[doc(hidden)]
    fn observe(&self, recorded: &Recorded<'_>);
}

/// [`Hooks`] that fit a service: there is no other implementation, and nothing to call.
///
/// Asked for are a [`Describe`] for the service's requests and outcomes, a [`Classify`], and an [`Observe`] of
/// [`Recorded`].
#[allow(missing_docs)]
pub trait Fit<Req, Res, Err>: Sink {
    /// What is kept of a request.
    type Subject: Subject;

    #[doc(hidden)]
    const SCOPES: bool;
    #[doc(hidden)]
    fn context<'a>(&self, request: &'a mut Req) -> Option<&'a mut Context>;
    #[doc(hidden)]
    fn receive(&self, request: &mut Req) -> Came;
    #[doc(hidden)]
    fn send(&self, request: &mut Req, parent: Option<SpanId>);
    #[doc(hidden)]
    fn start(&self, request: &mut Req) -> Instant;
    #[doc(hidden)]
    fn subject(&self, request: &Req) -> Self::Subject;
    #[doc(hidden)]
    fn end(&self, outcome: &mut Result<Res, Err>) -> Instant;
    #[doc(hidden)]
    fn classify(&self, outcome: Result<&Res, &Err>) -> Class;
    #[doc(hidden)]
    fn answered(&self, role: Role, response: &Res, put: &mut Put<'_>);
    #[doc(hidden)]
    fn message(&self, error: &Err) -> String;
}

mod sealed {
    pub trait Sealed {}
}

impl<D, C, O> sealed::Sealed for Hooks<D, C, O> {}

impl<D, C, O> Sink for Hooks<D, C, O>
where
    O: for<'a> Observe<Recorded<'a>>,
{
    fn observe(&self, recorded: &Recorded<'_>) {
        self.observe.observe(recorded);
    }
}

impl<D, C, O, Req, Res, Err> Fit<Req, Res, Err> for Hooks<D, C, O>
where
    D: Describe<Req, Res, Err>,
    C: Classify<Res, Err>,
    O: for<'a> Observe<Recorded<'a>>,
{
    type Subject = D::Subject;

    const SCOPES: bool = D::SCOPES;

    #[inline]
    fn context<'a>(&self, request: &'a mut Req) -> Option<&'a mut Context> {
        self.describe.context(request)
    }

    #[inline]
    fn receive(&self, request: &mut Req) -> Came {
        self.describe.receive(request)
    }

    #[inline]
    fn send(&self, request: &mut Req, parent: Option<SpanId>) {
        self.describe.send(request, parent);
    }

    #[inline]
    fn start(&self, request: &mut Req) -> Instant {
        self.describe.start(request)
    }

    #[inline]
    fn subject(&self, request: &Req) -> D::Subject {
        self.describe.subject(request)
    }

    #[inline]
    fn end(&self, outcome: &mut Result<Res, Err>) -> Instant {
        match outcome {
            Ok(response) => self.describe.end(response),
            Err(_) => Clock::now(),
        }
    }

    #[inline]
    fn classify(&self, outcome: Result<&Res, &Err>) -> Class {
        self.classify.classify(outcome)
    }

    fn answered(&self, role: Role, response: &Res, put: &mut Put<'_>) {
        self.describe.answered(role, response, put);
    }

    fn message(&self, error: &Err) -> String {
        self.describe.message(error)
    }
}

impl<D: fmt::Debug, C, O> fmt::Debug for Hooks<D, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("describe", &self.describe).finish_non_exhaustive()
    }
}
