//! What is put into a stack.

use crate::{
    Breaker, BreakerConfig, BreakerEvent, BreakerHandle, Breakers, By, ByMethod, TripPolicy,
    settings::Settings, table::Table, ticket::Common,
};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};
use tower_layer::Layer;
use towpath_core::{DefaultClassify, Endpoint, FromContext, Live, Observe};

/// Puts a breaker, or one for each key, in front of a service. Around any service.
///
/// The services that it makes share its breakers, and so do those of its clones. A layer that is set up
/// further has breakers of its own: first set up, then take the [handle](Self::handle). See the
/// [crate](crate) for where it stands in a stack, and [`Breaker`] for what the service promises.
#[derive(Clone)]
pub struct BreakerLayer<K = (), C = DefaultClassify, I = (), R = ()> {
    settings: Settings,
    keys: usize,
    endpoint: Option<Endpoint>,
    gate: bool,
    key: K,
    classify: C,
    info: I,
    reject: R,
    /// Made at the first use.
    table: Arc<OnceLock<Arc<Table>>>,
}

impl BreakerLayer {
    /// How many keys have a breaker of their own unless said otherwise: 256.
    pub const KEYS: usize = 256;

    /// One breaker for all calls. The config can be a [`Live`] one that is replaced while breakers run.
    pub fn new(config: impl Into<Live<BreakerConfig>>) -> Self {
        BreakerLayer {
            settings: Settings { config: config.into(), trip: None, observe: None },
            keys: 0,
            endpoint: None,
            gate: false,
            key: (),
            classify: DefaultClassify::new(),
            info: (),
            reject: (),
            table: Arc::default(),
        }
    }
}

impl<C, I, R> BreakerLayer<(), C, I, R> {
    /// A breaker for each method of towpath's requests, [256](BreakerLayer::KEYS) at most.
    pub fn per_method(self) -> BreakerLayer<ByMethod, C, I, R> {
        self.keyed(ByMethod, BreakerLayer::KEYS)
    }

    /// A breaker for each text that the closure finds in a request, at most so many.
    ///
    /// ```
    /// use towpath_breaker::{BreakerConfig, BreakerLayer};
    /// struct Query { table: String }
    /// let layer = BreakerLayer::new(BreakerConfig::prompt()).keyed_by(|query: &Query| &query.table, 20);
    /// assert!(layer.handle().keys().is_empty());
    /// ```
    pub fn keyed_by<Req, F>(self, key: F, keys: usize) -> BreakerLayer<By<F>, C, I, R>
    where
        F: Fn(&Req) -> &str,
    {
        self.keyed(By(key), keys)
    }

    /// A breaker for each key, at most so many (and a million). The calls of all other keys share one breaker more;
    /// that this has begun is [reported](BreakerEvent::KeysExhausted) once. A breaker stays for as long as the
    /// layer: keys are to be of a small set. Each takes about 2 KiB.
    pub fn keyed<K>(self, key: K, keys: usize) -> BreakerLayer<K, C, I, R> {
        let Self { settings, endpoint, gate, classify, info, reject, .. } = self;
        let (keys, table) = (keys.min(1_000_000), Arc::default());
        BreakerLayer { settings, keys, endpoint, gate, key, classify, info, reject, table }
    }

    /// The breaker of an endpoint: it asks for the endpoint's ejection while it is open, names it in errors, and
    /// lets calls through, open or not, while the balancer [says](towpath_core::EndpointState::set_panic) that
    /// too many are out. Each call of this makes a breaker of its own, with the same config.
    pub fn for_endpoint(&self, endpoint: &Endpoint) -> Self
    where
        Self: Clone,
    {
        BreakerLayer { endpoint: Some(endpoint.clone()), table: Arc::default(), ..self.clone() }
    }

    /// Is not ready where it would turn a call away, for who then takes another endpoint. It never fails with
    /// MCP-W-105; who has no other endpoint waits until a probe is let through.
    pub fn as_gate(mut self) -> Self {
        self.gate = true;
        self.renew()
    }

    /// The breaker.
    pub fn handle(&self) -> BreakerHandle {
        BreakerHandle::new(self.table(), 0)
    }
}

impl<C, I, R> BreakerLayer<ByMethod, C, I, R> {
    /// The breakers.
    pub fn handle(&self) -> Breakers {
        self.breakers()
    }
}

impl<F, C, I, R> BreakerLayer<By<F>, C, I, R> {
    /// The breakers.
    pub fn handle(&self) -> Breakers {
        self.breakers()
    }
}

impl<K, C, I, R> BreakerLayer<K, C, I, R> {
    /// The breakers of all keys.
    pub fn breakers(&self) -> Breakers {
        Breakers::new(self.table())
    }

    /// Opens when `policy` says so, and not when the config does: a [`TripPolicy`], or a closure from
    /// [`Seen`](crate::Seen) to `bool`.
    pub fn trip_when(mut self, policy: impl TripPolicy + 'static) -> Self {
        self.settings.trip = Some(Arc::new(policy));
        self.renew()
    }

    /// Tells `observe` about each [`BreakerEvent`].
    pub fn observe(mut self, observe: impl Observe<BreakerEvent> + Send + Sync + 'static) -> Self {
        self.settings.observe = Some(Arc::new(observe));
        self.renew()
    }

    /// Judges outcomes in another way: a [`Classify`](towpath_core::Classify), or a closure.
    pub fn classify<C2>(self, classify: C2) -> BreakerLayer<K, C2, I, R> {
        let Self { settings, keys, endpoint, gate, key, info, reject, .. } = self;
        let table = Arc::default();
        BreakerLayer { settings, keys, endpoint, gate, key, classify, info, reject, table }
    }

    /// Takes the reading of the clock that the request's context has, and leaves its own there. The request must
    /// be one that [has a context](towpath_core::HasContext).
    pub fn honour_context(self) -> BreakerLayer<K, C, FromContext, R> {
        let Self { settings, keys, endpoint, gate, key, classify, reject, .. } = self;
        let (info, table) = (FromContext, Arc::default());
        BreakerLayer { settings, keys, endpoint, gate, key, classify, info, reject, table }
    }

    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject).
    pub fn on_reject<R2>(self, reject: R2) -> BreakerLayer<K, C, I, R2> {
        let Self { settings, keys, endpoint, gate, key, classify, info, .. } = self;
        let table = Arc::default();
        BreakerLayer { settings, keys, endpoint, gate, key, classify, info, reject, table }
    }

    fn renew(mut self) -> Self {
        self.table = Arc::default();
        self
    }

    fn table(&self) -> Arc<Table> {
        let make = || Arc::new(Table::new(self.settings.clone(), self.keys, self.endpoint.clone()));
        self.table.get_or_init(make).clone()
    }
}

impl<S, K, C, I, R> Layer<S> for BreakerLayer<K, C, I, R>
where
    K: Clone,
    C: Clone,
    I: Clone,
    R: Clone,
{
    type Service = Breaker<S, K, C, I, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { key, classify, info, reject, .. } = self.clone();
        Breaker::new(inner, Common { table: self.table(), key, classify, info, reject, gate: self.gate })
    }
}

impl<K: fmt::Debug, C, I, R> fmt::Debug for BreakerLayer<K, C, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerLayer")
            .field("config", &self.settings.config)
            .field("key", &self.key)
            .field("endpoint", &self.endpoint.as_ref().map(Endpoint::address))
            .finish_non_exhaustive()
    }
}
