//! Traces of a client's and of a server's calls.

use crate::{
    ClientBuilder, ServerBuilder,
    route::{Kind, Route},
};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};
use tower_layer::Stack;
use towpath_balance::BalanceHandle;
use towpath_core::{DefaultClassify, EndpointId, Live, Observe};
use towpath_trace::{Recorded, Rpc, TraceConfig, TraceLayer};

type Observer = dyn for<'a> Observe<Recorded<'a>> + Send + Sync;

/// A trace layer as clients and servers have it.
type Traced = TraceLayer<Rpc, DefaultClassify, Option<Arc<Observer>>>;

/// The layers of a client, in a span for each call; and below them a span for each attempt.
pub type ClientTrace<L> = Stack<Traced, Stack<L, Traced>>;

/// The layers of a server, in a span for each call.
pub type ServerTrace<L> = Stack<L, Traced>;

/// How calls are traced, by clients and servers alike: which are recorded, and who hears of it.
///
/// The default samples one trace in a hundred that begins here, as `tracing` spans. With somebody who
/// [observes](Self::observe), failures and slow calls are kept as well that were not sampled.
///
/// ```
/// use towpath::{Tracing, trace::{Recorded, TraceConfig}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tracing = Tracing::new(TraceConfig::sampled(0.05)?)
///     .observe(|recorded: &Recorded<'_>| println!("{} took {:?}", recorded.name, recorded.took));
/// # drop(tracing);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Tracing {
    config: Live<TraceConfig>,
    observe: Option<Arc<Observer>>,
}

impl Tracing {
    /// With a config, or one that [can be replaced](Live) while calls are traced.
    pub fn new(config: impl Into<Live<TraceConfig>>) -> Self {
        Tracing { config: config.into(), observe: None }
    }

    /// Tells `observe` about each call that was [`Recorded`], when it has ended. With the feature `otlp` that may be
    /// `Export::keeper`, by which what was kept goes to the collector.
    #[must_use]
    pub fn observe(mut self, observe: impl for<'a> Observe<Recorded<'a>> + Send + Sync + 'static) -> Self {
        self.observe = Some(match self.observe.take() {
            None => Arc::new(observe),
            Some(before) => Arc::new((before, observe)),
        });
        self
    }

    /// The config, to read it or to replace it while calls are traced.
    pub fn config(&self) -> &Live<TraceConfig> {
        &self.config
    }

    fn layer(&self, of: fn(Live<TraceConfig>) -> TraceLayer) -> Traced {
        of(self.config.clone()).observe_if(self.observe.clone())
    }
}

impl From<TraceConfig> for Tracing {
    fn from(config: TraceConfig) -> Self {
        Tracing::new(config)
    }
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing")
            .field("config", &self.config)
            .field("observed", &self.observe.is_some())
            .finish()
    }
}

/// Where the attempts of a client go, for those who tell of them: known when the client is made.
#[derive(Clone, Default)]
pub(crate) struct Whereabouts(Arc<OnceLock<Place>>);

enum Place {
    One(Arc<str>),
    Many(BalanceHandle),
}

impl Whereabouts {
    pub(crate) fn set(&self, route: &Route) {
        let place = match &route.0 {
            Kind::One(channel) => Place::One(channel.pool().name().clone()),
            Kind::Many(cluster) => Place::Many(cluster.handle().clone()),
        };
        // Once for each client, and a builder makes one.
        let _ = self.0.set(place);
    }

    pub(super) fn find(&self, endpoint: Option<EndpointId>) -> Option<Arc<str>> {
        match (self.0.get()?, endpoint) {
            (Place::One(address), _) => Some(address.clone()),
            (Place::Many(balance), Some(id)) => Some(balance.endpoint(id)?.address().clone()),
            (Place::Many(_), None) => None,
        }
    }
}

impl<L> ClientBuilder<L> {
    /// Traces calls: a span for each, around the layers that were put in before this, and a span for each of its attempts,
    /// below them. So it is said after the [policies](Self::policies), and before layers of your own that belong
    /// to the connection. Calls that are made inside a handler go on with the trace of the call that is handled.
    ///
    /// ```
    /// use towpath::{Client, ClientPolicies, Tracing};
    ///
    /// # fn main() -> Result<(), towpath::Error> {
    /// let client = Client::builder()
    ///     .policies(ClientPolicies::default())
    ///     .trace(Tracing::default())
    ///     .connect_lazy("mcp://10.0.0.7:8080,10.0.0.8:8080")?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn trace(mut self, tracing: impl Into<Tracing>) -> ClientBuilder<ClientTrace<L>> {
        let tracing = tracing.into();
        let whereabouts = Whereabouts::default();
        self.settings.whereabouts.push(whereabouts.clone());
        self.settings.sight.around::<Traced, Traced>();
        let traced = |of| {
            let whereabouts = whereabouts.clone();
            tracing.layer(of).locate(move |id| whereabouts.find(id))
        };
        let (client, attempt) = (traced(TraceLayer::client), traced(TraceLayer::attempt));
        ClientBuilder { settings: self.settings, layer: Stack::new(attempt, Stack::new(self.layer, client)) }
    }
}

impl<L> ServerBuilder<L> {
    /// Traces calls: a span for each, around the layers that were put in before this. What its handler calls and logs is in
    /// it.
    pub fn trace(self, tracing: impl Into<Tracing>) -> ServerBuilder<ServerTrace<L>> {
        let layer = tracing.into().layer(TraceLayer::server);
        self.around(layer)
    }
}
