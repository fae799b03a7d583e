//! What the layer makes of the inner service.

use crate::{
    Came, Fit, ResponseFuture, Role, Sink, Subject,
    bridge::{self, Made, Place},
    foreign,
    future::{Kind, Scope, Watched},
    ids::Ids,
    sample::Settings,
    span,
    state::{About, State},
    watch::Watch,
};
use std::{
    fmt,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{
    Shared,
    context::{Field, SpanId, TraceContext, TraceId, enter_trace},
};
use tracing::Span;

/// A service whose calls have their place in a trace; [`TraceLayer`](crate::TraceLayer) makes it.
///
/// It is ready when the inner service is, and passes on what that answers or fails with, as it is. A call whose
/// request can have no context is not traced.
///
/// # Cancel safety
/// A call that is dropped before it is answered is recorded as cancelled.
pub struct Trace<S, H> {
    pub(crate) inner: S,
    pub(crate) known: Known,
    pub(crate) shared: Shared<State<H>>,
}

/// What is each service's own.
#[derive(Clone)]
pub(crate) struct Known {
    ids: Ids,
    version: u64,
    settings: Settings,
}

impl Known {
    pub(crate) fn new(about: &About) -> Self {
        let version = about.config.version();
        Known { ids: Ids::new(), version, settings: Settings::new(&about.config.get(), about.listens) }
    }

    #[inline]
    fn look(&mut self, about: &About) {
        if about.config.version() != self.version {
            self.refresh(about);
        }
    }

    #[cold]
    fn refresh(&mut self, about: &About) {
        self.version = about.config.version();
        self.settings = Settings::new(&about.config.get(), about.listens);
    }

    /// Whether a call is sampled whose trace came with it.
    #[inline]
    fn samples(&self, parent: TraceContext, came: Came, role: Role) -> bool {
        let decides = came == Came::Undecided || (role == Role::Server && !self.settings.trusts);
        if decides { self.settings.samples(parent.trace_id) } else { parent.is_sampled() }
    }

    /// The place of a call with which a trace begins; where others have begun it with an id of their own kind, with
    /// one that is made of that.
    #[inline]
    fn root(&mut self, text: Option<TraceId>, came: Came, role: Role) -> TraceContext {
        let trace_id = text.unwrap_or_else(|| self.ids.trace_id());
        let sampled = match came {
            Came::Sampled(sampled) if role != Role::Server || self.settings.trusts => sampled,
            _ => self.settings.samples(trace_id),
        };
        TraceContext { trace_id, span_id: self.ids.span_id(), flags: sampled.into() }
    }
}

impl<S, H, Req> Service<Req> for Trace<S, H>
where
    S: Service<Req>,
    H: Fit<Req, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, H>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.known.look(&self.shared.about);
        self.inner.poll_ready(cx)
    }

    #[inline(never)]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let State { about, hooks } = &*self.shared;
        let role = about.role;
        let came = if role == Role::Server { hooks.receive(&mut request) } else { Came::Decided };
        let Some(context) = hooks.context(&mut request) else {
            return ResponseFuture::new(self.inner.call(request), Kind::Bare);
        };
        let mut parent = context.trace();
        if parent.is_none() && role != Role::Server {
            parent = bridge::around();
        }
        let watches = self.known.settings.keep.any();
        // Written where it belongs, arm by arm: a place that is put together elsewhere is copied in other pieces than it was
        // written in, and the processor waits for its own stores.
        let sampled = match parent {
            // Nobody is to know of the attempt: it is where its call is.
            Some(parent) if role == Role::Attempt && !watches && !parent.is_sampled() => false,
            Some(parent) => {
                let sampled = self.known.samples(parent, came, role);
                let flags = if sampled == parent.is_sampled() { parent.flags } else { sampled.into() };
                context.set_trace(Some(TraceContext { span_id: self.known.ids.span_id(), flags, ..parent }));
                sampled
            }
            None => {
                let text = context.field(Field::TraceText).map(|text| foreign::trace_id(text));
                let root = self.known.root(text, came, role);
                context.set_trace(Some(root));
                root.is_sampled()
            }
        };
        let parent = parent.map(|parent| parent.span_id);
        if watches || sampled {
            return self.watched(request, parent);
        }
        if role == Role::Server {
            return match context.trace().filter(|_| !H::SCOPES) {
                Some(trace) => self.in_span(request, trace),
                None => self.scoped(request),
            };
        }
        hooks.send(&mut request, parent);
        ResponseFuture::new(self.inner.call(request), Kind::Bare)
    }
}

impl<S, H> Trace<S, H> {
    /// A server's call that is not recorded, whose context the server has entered.
    #[inline]
    fn in_span<Req>(&mut self, request: Req, trace: TraceContext) -> ResponseFuture<S, Req, H>
    where
        S: Service<Req>,
        H: Fit<Req, S::Response, S::Error>,
    {
        /// Nothing is alive in it that would have to be dropped if the inner service panicked, and what it makes is returned
        /// without a name: so its future is written where it stays.
        #[inline(never)]
        fn call<S, Req, H>(inner: &mut S, request: Req, trace: TraceContext) -> ResponseFuture<S, Req, H>
        where
            S: Service<Req>,
            H: Fit<Req, S::Response, S::Error>,
        {
            ResponseFuture::new(inner.call(request), Kind::Scoped(Scope::Span(trace)))
        }
        let _inside = enter_trace(trace);
        call(&mut self.inner, request, trace)
    }

    /// A server's call that is not recorded, and whose context nobody else enters.
    #[inline(never)]
    fn scoped<Req>(&mut self, mut request: Req) -> ResponseFuture<S, Req, H>
    where
        S: Service<Req>,
        H: Fit<Req, S::Response, S::Error>,
    {
        let scope = Scope::of::<H, _, _, _>(&self.shared.hooks, &mut request);
        let entered = scope.enter();
        let future = self.inner.call(request);
        drop(entered);
        ResponseFuture::new(future, Kind::Scoped(scope))
    }

    /// A call that is recorded, or may be.
    #[inline(never)]
    fn watched<Req>(&mut self, mut request: Req, parent: Option<SpanId>) -> ResponseFuture<S, Req, H>
    where
        S: Service<Req>,
        H: Fit<Req, S::Response, S::Error>,
    {
        let State { about, hooks } = &*self.shared;
        let (role, keep) = (about.role, self.known.settings.keep);
        let start = hooks.start(&mut request);
        let subject = hooks.subject(&request);
        let Some(own) = hooks.context(&mut request).and_then(|context| context.trace()) else {
            return ResponseFuture::new(self.inner.call(request), Kind::Bare);
        };
        let (mut place, mut span) = (Place { own, parent }, None);
        if own.is_sampled() {
            span = open::<H, S, Req>(hooks, about, &mut request, &subject, &mut place);
        }
        let Place { own, parent } = place;
        let recorded = span.is_some() || if own.is_sampled() { about.listens } else { keep.any() };
        if role != Role::Server {
            hooks.send(&mut request, parent);
        }
        let attempt = hooks.context(&mut request).map_or(0, |context| context.attempt());
        let scope = match role {
            Role::Server => Scope::of::<H, _, _, _>(hooks, &mut request),
            Role::Client | Role::Attempt => Scope::Outer,
        };
        if !recorded {
            let entered = scope.enter();
            let future = self.inner.call(request);
            drop(entered);
            return ResponseFuture::new(future, Kind::Scoped(scope));
        }
        let mut watch = Watch {
            state: self.shared.lend(),
            subject,
            own,
            parent,
            start,
            keep,
            attempt,
            endpoint: None,
            below: false,
            ended: false,
            span,
        };
        let future = watch.within(&scope, || self.inner.call(request));
        ResponseFuture::new(future, Kind::Watched(Box::new(Watched { scope, watch })))
    }
}

/// Makes the span of a call that is sampled, if somebody subscribes to it. The ids are that one's then.
#[cold]
fn open<H, S, Req>(
    hooks: &H,
    about: &About,
    request: &mut Req,
    subject: &H::Subject,
    place: &mut Place,
) -> Option<Box<Span>>
where
    S: Service<Req>,
    H: Fit<Req, S::Response, S::Error>,
{
    // The span that is around it says nothing about whether this one is to be.
    let inside = (about.role == Role::Server).then(|| enter_trace(place.own));
    let span = span::open(about.role, &subject.name());
    drop(inside);
    if span.is_disabled() {
        return None;
    }
    subject.attributes(&mut |name, value| span::put(&span, name, value));
    let context = hooks.context(request)?;
    let tracestate = context.field(Field::Tracestate).cloned();
    let (role, tracestate) = (about.role, tracestate.as_deref());
    *place = bridge::cross(Made { span: &span, role, own: place.own, parent: place.parent, tracestate });
    context.set_trace(Some(place.own));
    place.own.is_sampled().then(|| Box::new(span))
}

impl<S: Clone, H> Clone for Trace<S, H> {
    fn clone(&self) -> Self {
        Trace { inner: self.inner.clone(), known: self.known.clone(), shared: self.shared.clone() }
    }
}

impl<S: fmt::Debug, H: Sink> fmt::Debug for Trace<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("inner", &self.inner)
            .field("role", &self.shared.about.role)
            .finish_non_exhaustive()
    }
}
