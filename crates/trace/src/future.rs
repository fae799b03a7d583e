//! One call.

use crate::{Fit, Sink, Subject, watch::Watch, watch::kept};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{self, Poll},
};
use tower_service::Service;
use towpath_core::{
    Context,
    context::{self, Entered, EnteredTrace, Listen, TraceContext},
};

pin_project! {
    /// A call of a [`Trace`](crate::Trace): what the inner service answers, or fails with.
    ///
    /// Dropped before that, it says that the call was cancelled, if the call is recorded.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, H>
    where
        S: Service<Req>,
        H: Fit<Req, S::Response, S::Error>,
    {
        // Dropped first: what is below ends before what is around it.
        #[pin]
        future: S::Future,
        kind: Kind<H::Subject, H>,
    }
}

/// What there is to do around the inner future.
pub(crate) enum Kind<K: Subject, H: Sink> {
    /// Nothing: a client's call that nobody records. Its trace is in its request.
    Bare,
    /// A server's call that nobody records.
    Scoped(Scope),
    /// A call that is recorded, or may be. A box: most calls are not, and all would be as large.
    Watched(Box<Watched<K, H>>),
}

/// A call that is recorded, and what it is polled in.
pub(crate) struct Watched<K: Subject, H: Sink> {
    pub(crate) scope: Scope,
    pub(crate) watch: Watch<K, H>,
}

/// What the inner service is polled in.
pub(crate) enum Scope {
    /// What there is: the trace of a client's call is in its request.
    Outer,
    /// The call's context, which a server has entered, with the span of this layer.
    Span(TraceContext),
    /// The call's context as a whole, which nobody else enters.
    Whole(Box<Context>),
}

/// Left when it is dropped.
pub(crate) struct Inside(#[allow(dead_code)] Option<EnteredTrace>, #[allow(dead_code)] Option<Entered>);

impl Scope {
    pub(crate) fn of<H, Req, Res, Err>(hooks: &H, request: &mut Req) -> Self
    where
        H: Fit<Req, Res, Err>,
    {
        match hooks.context(request) {
            Some(context) if H::SCOPES => Scope::Whole(Box::new(context.clone())),
            Some(context) => context.trace().map_or(Scope::Outer, Scope::Span),
            None => Scope::Outer,
        }
    }

    #[inline]
    pub(crate) fn enter(&self) -> Inside {
        match self {
            Scope::Outer => Inside(None, None),
            Scope::Span(trace) => Inside(Some(context::enter_trace(*trace)), None),
            Scope::Whole(context) => Inside(None, Some(context::enter(context))),
        }
    }
}

impl<K: Subject, H: Sink> Watch<K, H> {
    /// Does something of what is below: in the call's scope and span, and with an ear to which endpoint it goes to,
    /// and whether something below was kept.
    #[inline]
    pub(crate) fn within<R>(&mut self, scope: &Scope, below: impl FnOnce() -> R) -> R {
        let before = kept();
        let listen = Listen::new();
        let inside = scope.enter();
        let entered = self.span.as_deref().map(tracing::Span::enter);
        let result = below();
        drop(entered);
        drop(inside);
        let heard = listen.heard();
        drop(listen);
        if let Some(endpoint) = heard {
            // Who listens further up is to hear it as well.
            context::pick(endpoint);
            self.endpoint = heard;
        }
        self.below |= kept() != before;
        result
    }
}

impl<S, Req, H> ResponseFuture<S, Req, H>
where
    S: Service<Req>,
    H: Fit<Req, S::Response, S::Error>,
{
    #[inline]
    pub(crate) fn new(future: S::Future, kind: Kind<H::Subject, H>) -> Self {
        ResponseFuture { future, kind }
    }
}

impl<S, Req, H> Future for ResponseFuture<S, Req, H>
where
    S: Service<Req>,
    H: Fit<Req, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.kind {
            Kind::Bare => this.future.poll(cx),
            Kind::Scoped(scope) => {
                let _inside = scope.enter();
                this.future.poll(cx)
            }
            Kind::Watched(watched) => {
                let Watched { scope, watch } = &mut **watched;
                let mut polled = watch.within(scope, || this.future.poll(cx));
                if let Poll::Ready(outcome) = &mut polled {
                    watch.end(outcome);
                }
                polled
            }
        }
    }
}

impl<S, Req, H> fmt::Debug for ResponseFuture<S, Req, H>
where
    S: Service<Req>,
    H: Fit<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace = match &self.kind {
            Kind::Watched(watched) => Some(watched.watch.own),
            Kind::Scoped(Scope::Span(trace)) => Some(*trace),
            Kind::Scoped(_) | Kind::Bare => None,
        };
        let watched = matches!(self.kind, Kind::Watched(..));
        f.debug_struct("ResponseFuture").field("trace", &trace).field("watched", &watched).finish()
    }
}
