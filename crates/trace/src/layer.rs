//! What is put into a stack.

use crate::{
    Recorded, Role, Rpc, Trace, TraceConfig,
    handle::TraceHandle,
    hooks::Hooks,
    service::Known,
    state::{About, State},
};
use std::{fmt, sync::Arc};
use tower_layer::Layer;
use towpath_core::{DefaultClassify, EndpointId, Live, Shared};

/// Gives each call its place in a trace, and records those that are to be recorded. Around any service.
///
/// | made by | stands | makes |
/// | --- | --- | --- |
/// | [`client`](Self::client) | outermost on the side of the caller | a span for the call, with all its attempts |
/// | [`attempt`](Self::attempt) | below retry, above what picks endpoints | a span for each attempt, a child of the call's: numbered, with its endpoint |
/// | [`server`](Self::server) | outermost on the side of the callee | a span for the call; what its handler calls and logs is in it |
///
/// It is for towpath's own requests unless [told otherwise](Self::describe_by). See the [crate](crate) for what is
/// recorded and what it costs, and [`Trace`] for what the service promises.
pub struct TraceLayer<D = Rpc, C = DefaultClassify, O = ()> {
    about: About,
    hooks: Hooks<D, C, O>,
}

impl TraceLayer {
    /// For a whole call, on the side of the caller. With a config, or one that [can be replaced](Live).
    pub fn client(config: impl Into<Live<TraceConfig>>) -> Self {
        TraceLayer::new(Role::Client, config.into())
    }

    /// For one attempt of a call. Give it the config of the layer for the whole call.
    pub fn attempt(config: impl Into<Live<TraceConfig>>) -> Self {
        TraceLayer::new(Role::Attempt, config.into())
    }

    /// For a call, on the side of the callee.
    pub fn server(config: impl Into<Live<TraceConfig>>) -> Self {
        TraceLayer::new(Role::Server, config.into())
    }

    fn new(role: Role, config: Live<TraceConfig>) -> Self {
        TraceLayer {
            about: About::new(role, config),
            hooks: Hooks { describe: Rpc::new(), classify: DefaultClassify::new(), observe: () },
        }
    }
}

impl<D, C, O> TraceLayer<D, C, O> {
    /// Reads and writes traces of other requests than towpath's own, or describes them in another way: by `Http`
    /// (feature `http`), or a [`Describe`](crate::Describe) of your own.
    pub fn describe_by<D2>(self, describe: D2) -> TraceLayer<D2, C, O> {
        let Hooks { describe: _, classify, observe } = self.hooks;
        TraceLayer { about: self.about, hooks: Hooks { describe, classify, observe } }
    }

    /// For requests of `http`, around axum, hyper and others: [`describe_by`](Self::describe_by) an
    /// [`Http`](crate::Http).
    #[cfg(feature = "http")]
    pub fn over_http(self) -> TraceLayer<crate::Http, C, O> {
        self.describe_by(crate::Http::new())
    }

    /// Judges outcomes by another [`Classify`](towpath_core::Classify). Give the same one to all layers.
    pub fn classify<C2>(self, classify: C2) -> TraceLayer<D, C2, O> {
        let Hooks { describe, classify: _, observe } = self.hooks;
        TraceLayer { about: self.about, hooks: Hooks { describe, classify, observe } }
    }

    /// Tells `observe` about each call that is [`Recorded`], when it has ended. Only then are calls kept that are not
    /// sampled. A closure is written with its type: `|recorded: &Recorded<'_>| …`.
    pub fn observe<O2>(mut self, observe: O2) -> TraceLayer<D, C, O2>
    where
        O2: for<'a> towpath_core::Observe<Recorded<'a>>,
    {
        self.about.listens = true;
        let Hooks { describe, classify, observe: _ } = self.hooks;
        TraceLayer { about: self.about, hooks: Hooks { describe, classify, observe } }
    }

    /// As [`observe`](Self::observe), if there is somebody.
    pub fn observe_if<O2>(self, observe: Option<O2>) -> TraceLayer<D, C, Option<O2>>
    where
        O2: for<'a> towpath_core::Observe<Recorded<'a>>,
    {
        let listens = self.about.listens || observe.is_some();
        let mut layer = self.observe(observe);
        layer.about.listens = listens;
        layer
    }

    /// What is called, where that is one place: `mcp://orders:8080`. Spans say it, unless whoever
    /// [picks](towpath_core::context::pick) endpoints has said another one.
    #[must_use]
    pub fn target(mut self, address: impl Into<Arc<str>>) -> Self {
        self.about.target = Some(address.into());
        self
    }

    /// Finds the address of the endpoint that was [picked](towpath_core::context::pick) (`None`: nobody has said that one
    /// was), for spans of attempts. It is asked for calls that are recorded.
    #[must_use]
    pub fn locate(
        mut self,
        locate: impl Fn(Option<EndpointId>) -> Option<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        self.about.locate = Some(Arc::new(locate));
        self
    }

    /// The config, to read it or to replace it while the layer's services are used.
    pub fn config(&self) -> &Live<TraceConfig> {
        &self.about.config
    }

    /// A handle to what all services of this layer share.
    pub fn handle(&self) -> TraceHandle {
        TraceHandle { config: self.about.config.clone(), counts: self.about.counts.clone() }
    }
}

impl<S, D, C, O> Layer<S> for TraceLayer<D, C, O>
where
    Hooks<D, C, O>: Clone,
{
    type Service = Trace<S, Hooks<D, C, O>>;

    fn layer(&self, inner: S) -> Self::Service {
        let known = Known::new(&self.about);
        let shared = Shared::new(State { about: self.about.clone(), hooks: self.hooks.clone() });
        Trace { inner, known, shared }
    }
}

impl<D, C, O> Clone for TraceLayer<D, C, O>
where
    Hooks<D, C, O>: Clone,
{
    fn clone(&self) -> Self {
        TraceLayer { about: self.about.clone(), hooks: self.hooks.clone() }
    }
}

impl<D: fmt::Debug, C, O> fmt::Debug for TraceLayer<D, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceLayer")
            .field("role", &self.about.role)
            .field("config", &self.about.config)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}
