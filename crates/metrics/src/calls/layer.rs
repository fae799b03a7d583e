//! What is put into a stack.

use super::{
    Calls,
    hooks::Hooks,
    state::{About, Role, State},
};
use crate::Metrics;
use std::{any::Any, fmt, sync::Arc};
use tower_layer::Layer;
use towpath_core::{DefaultClassify, EndpointId, FromContext, Shared};

/// Counts calls and times them, by method and outcome. Around any service.
///
/// | made by | stands | counts |
/// | --- | --- | --- |
/// | [`client`](Self::client) | outermost on the side of the caller | calls, with all their attempts and waits |
/// | [`attempt`](Self::attempt) | below retry, above what picks endpoints | attempts, by endpoint as well |
/// | [`server`](Self::server) | outermost on the side of the callee | calls that are answered |
///
/// Layers of one kind and one target count together. See the [crate] for what it costs, and [`Calls`] for what the
/// service promises.
#[derive(Clone)]
pub struct MetricsLayer<I = FromContext, C = DefaultClassify> {
    about: About,
    hooks: Hooks<I, C>,
}

impl MetricsLayer {
    /// For whole calls, on the side of the caller. `target` is what is called: a name out of a small set.
    pub fn client(metrics: &Metrics, target: impl Into<Arc<str>>) -> Self {
        MetricsLayer::new(metrics, Role::Client, target.into())
    }

    /// For attempts.
    pub fn attempt(metrics: &Metrics, target: impl Into<Arc<str>>) -> Self {
        MetricsLayer::new(metrics, Role::Attempt, target.into())
    }

    /// For calls, on the side of the callee. `target` is who answers, where a process has more than one server; may be empty.
    pub fn server(metrics: &Metrics, target: impl Into<Arc<str>>) -> Self {
        MetricsLayer::new(metrics, Role::Server, target.into())
    }

    fn new(metrics: &Metrics, role: Role, target: Arc<str>) -> Self {
        let about = About {
            metrics: metrics.clone(),
            book: metrics.0.book(role, target),
            locate: None,
            kept: Vec::new(),
        };
        MetricsLayer { about, hooks: Hooks { info: FromContext, classify: DefaultClassify::new() } }
    }
}

impl<I, C> MetricsLayer<I, C> {
    /// Asks `info` for the method of a request and for its times: see [`CallInfo`](towpath_core::CallInfo). By default it is the
    /// request's own context that says so.
    pub fn info<I2>(self, info: I2) -> MetricsLayer<I2, C> {
        let Hooks { info: _, classify } = self.hooks;
        MetricsLayer { about: self.about, hooks: Hooks { info, classify } }
    }

    /// Judges outcomes by another [`Classify`](towpath_core::Classify). Give the same one to all layers.
    pub fn classify<C2>(self, classify: C2) -> MetricsLayer<I, C2> {
        let Hooks { info, classify: _ } = self.hooks;
        MetricsLayer { about: self.about, hooks: Hooks { info, classify } }
    }

    /// Finds the address of an endpoint that was [picked](towpath_core::context::pick), for attempts. It is asked once for
    /// each method and endpoint; who is not found is named by the number of the id.
    #[must_use]
    pub fn locate(mut self, locate: impl Fn(EndpointId) -> Option<Arc<str>> + Send + Sync + 'static) -> Self {
        self.about.locate = Some(Arc::new(locate));
        self
    }
}

impl<I, C> MetricsLayer<I, C> {
    /// Keeps something for as long as there are services of this layer: what [`Metrics::watch`] returns, so that gauges are read
    /// for as long as there is what they are read from.
    #[must_use]
    pub fn keep<T: Any + Send + Sync>(mut self, what: Arc<T>) -> Self {
        self.about.kept.push(what);
        self
    }
}

impl<S, I: Clone, C: Clone> Layer<S> for MetricsLayer<I, C> {
    type Service = Calls<S, Hooks<I, C>>;

    fn layer(&self, inner: S) -> Self::Service {
        let hooks = Hooks { info: self.hooks.info.clone(), classify: self.hooks.classify.clone() };
        Calls::new(inner, Shared::new(State { about: self.about.clone(), hooks }))
    }
}

impl<I, C> fmt::Debug for MetricsLayer<I, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer")
            .field("role", &self.about.book.role)
            .field("target", &self.about.book.target)
            .finish_non_exhaustive()
    }
}
