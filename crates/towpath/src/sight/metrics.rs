//! Metrics of clients and servers: layers at their places, observers in all policies, gauges from all handles.

use crate::{
    ClientBuilder, ServerBuilder,
    announce::Announce,
    channel::Channels,
    policies::{ClientEars, ClientHandles, ClientStack, Ears, ServerEars, ServerHandles, ServerStack},
    route::{ClusterSettings, Kind, Route},
    sight::Whereabouts,
};
use std::sync::{Arc, Mutex, PoisonError};
use tower_layer::Stack;
use towpath_core::Observe;
use towpath_discover::DirectoryBuilder;
use towpath_health::HealthEvent;
use towpath_metrics::{Gauges, Metrics, MetricsLayer, Observer, Watching};
use towpath_registry::{Happened, RegistrationEvent, RegistryEvent};
use towpath_timeout::TimedOut;
use towpath_transport::Server as Transport;

/// The layers of a client, counted as calls; and below them, as attempts.
pub type ClientMetrics<L> = Stack<MetricsLayer, Stack<L, MetricsLayer>>;

/// The layers of a server, counted as calls.
pub type ServerMetrics<L> = Stack<L, MetricsLayer>;

/// Gauges that are read while the services of a client or a server live.
#[derive(Clone, Default)]
struct Read(Arc<Mutex<Vec<Watching>>>);

impl Read {
    fn watch(&self, on: &Counted, read: impl Fn(&Gauges<'_>) + Send + Sync + 'static) {
        let watching = on.metrics.watch(on.target.clone(), read);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(watching);
    }
}

/// Where it is counted.
#[derive(Clone)]
struct Counted {
    metrics: Metrics,
    target: Arc<str>,
    observer: Observer,
    read: Read,
}

impl Counted {
    fn new(metrics: &Metrics, target: Arc<str>) -> Self {
        let observer = metrics.observer(target.clone());
        Counted { metrics: metrics.clone(), target, observer, read: Read::default() }
    }
}

/// What a client's builder knows of its metrics.
#[derive(Clone, Default)]
pub(crate) struct ClientCounting {
    on: Option<Counted>,
    policies: Option<(ClientEars, ClientHandles)>,
}

/// What a server's builder knows of its metrics.
#[derive(Clone, Default)]
pub(crate) struct ServerCounting {
    on: Option<Counted>,
    policies: Option<(ServerEars, ServerHandles)>,
}

impl ClientCounting {
    pub(crate) fn policies(&mut self, stack: &ClientStack) {
        self.policies = Some((stack.ears().clone(), stack.handles()));
        self.listen();
    }

    /// Where both are known: policies, and where to count.
    fn listen(&mut self) {
        if self.on.is_none() {
            return;
        }
        let (Some(on), Some((ears, handles))) = (&self.on, self.policies.take()) else { return };
        ears.retry.add(on.observer.clone());
        ears.breakers.add(on.observer.clone());
        ears.admission.add(on.observer.limit("admission"));
        ears.concurrency.add(on.observer.limit("concurrency"));
        ears.rate.add(on.observer.limit("rate"));
        on.read.watch(on, move |gauges| {
            handles.retry.iter().for_each(|retry| gauges.retry(retry));
            handles.breakers.iter().for_each(|breakers| gauges.breakers(breakers));
            handles.admission.iter().for_each(|limit| gauges.admission(limit));
            handles.concurrency.iter().for_each(|limit| gauges.concurrency(limit));
        });
    }

    pub(crate) fn cluster(&self, mut settings: ClusterSettings) -> ClusterSettings {
        if let Some(on) = &self.on {
            settings.observe = Arc::new((settings.observe, on.observer.clone()));
            let observer = on.observer.clone();
            settings.checked_by(move |event: &HealthEvent| match event {
                HealthEvent::Probed { took, error, .. } => observer.probed(*took, error.is_some()),
                HealthEvent::Changed { endpoint, healthy, .. } => observer.checked(endpoint, *healthy),
                _ => {}
            });
        }
        settings
    }

    pub(crate) fn channels(&self, channels: Channels) -> Channels {
        match &self.on {
            Some(on) => {
                let traffic = on.metrics.client_traffic(on.target.clone());
                channels.observe(on.observer.clone()).with_traffic(&traffic)
            }
            None => channels,
        }
    }

    /// Who hears of calls that were made too late: no layer of the client sees them.
    pub(crate) fn deadlines(&self) -> Ears<TimedOut> {
        let ears = Ears::default();
        self.on.iter().for_each(|on| ears.add(on.observer.clone()));
        ears
    }

    pub(crate) fn directory(&self, builder: DirectoryBuilder) -> DirectoryBuilder {
        match &self.on {
            Some(on) => builder.observe(on.observer.clone()),
            None => builder,
        }
    }

    /// There is a route: its gauges are read.
    pub(crate) fn route(&self, route: &Route, channels: &Channels) {
        let Some(on) = &self.on else { return };
        let pools = channels.pools().clone();
        on.read.watch(on, move |gauges| gauges.pools(pools.stats()));
        if let Kind::Many(cluster) = &route.0 {
            let (balance, source) = (cluster.handle().clone(), cluster.source().cloned());
            on.read.watch(on, move |gauges| {
                gauges.balance(&balance);
                source.iter().for_each(|source| gauges.discovery(source));
            });
        }
    }
}

impl ServerCounting {
    pub(crate) fn policies(&mut self, stack: &ServerStack) {
        self.policies = Some((stack.ears().clone(), stack.handles()));
        self.listen();
    }

    pub(crate) fn transport(&self, server: Transport) -> Transport {
        match &self.on {
            Some(on) => server.with_traffic(&on.metrics.server_traffic(on.target.clone())),
            None => server,
        }
    }

    /// What becomes of a server's registrations.
    pub(crate) fn registrations(&self, announce: &Announce) {
        let Some(on) = &self.on else { return };
        for register in &announce.register {
            let observer = on.observer.clone();
            register.ears.add(move |event: &RegistrationEvent| {
                observer.registration(match event {
                    RegistrationEvent::Registered => "registered",
                    RegistrationEvent::Lost => "lost",
                    RegistrationEvent::Failed { .. } => "failed",
                    RegistrationEvent::Deregistered => "deregistered",
                    _ => "_OTHER",
                });
            });
        }
    }

    fn listen(&mut self) {
        if self.on.is_none() {
            return;
        }
        let (Some(on), Some((ears, handles))) = (&self.on, self.policies.take()) else { return };
        ears.admission.add(on.observer.limit("admission"));
        ears.rate.add(on.observer.limit("rate"));
        ears.enough_time.add(on.observer.clone());
        ears.dedupe.add(on.observer.clone());
        on.read.watch(on, move |gauges| {
            handles.admission.iter().for_each(|limit| gauges.admission(limit));
            handles.dedupe.iter().for_each(|dedupe| gauges.dedupe(dedupe));
        });
    }
}

/// Counts what happens in a [`Registry`](crate::registry::Registry), and how many instances are in it: for
/// [`Registry::with`](crate::registry::Registry::with). `target` is the name of the registry: empty where there is one.
///
/// ```
/// use towpath::{metrics::Metrics, observe_registry, registry::{Registry, RegistryConfig}};
///
/// let metrics = Metrics::new();
/// let registry = Registry::with(RegistryConfig::default(), observe_registry(&metrics, ""));
/// # drop(registry);
/// ```
pub fn observe_registry(
    metrics: &Metrics,
    target: impl Into<Arc<str>>,
) -> impl Observe<RegistryEvent> + Send + Sync + 'static {
    let observer = metrics.observer(target);
    let instances = Mutex::new(0u64);
    move |event: &RegistryEvent| {
        // Told one after the other, so that the last one is right.
        let mut instances = instances.lock().unwrap_or_else(PoisonError::into_inner);
        let what = match event.what {
            Happened::Registered => {
                *instances += 1;
                "registered"
            }
            Happened::Described => "described",
            Happened::Replaced => "replaced",
            Happened::Deregistered => {
                *instances = instances.saturating_sub(1);
                "deregistered"
            }
            Happened::Expired => {
                *instances = instances.saturating_sub(1);
                "expired"
            }
            _ => "_OTHER",
        };
        observer.registry(what, *instances);
    }
}

impl<L> ClientBuilder<L> {
    /// Counts calls around the layers that were put in before this, attempts below them, and what the client's policies, balancer,
    /// connections and look-ups decide. So it is said after the [policies](Self::policies), and before layers of your own that
    /// belong to the connection. `target` is what is called: a name out of a small set. See
    /// [`metrics`](crate::metrics), and `docs/metrics.md` for what there is.
    ///
    /// ```
    /// use towpath::{Client, ClientPolicies, metrics::Metrics};
    ///
    /// # fn main() -> Result<(), towpath::Error> {
    /// let metrics = Metrics::new();
    /// let client = Client::builder()
    ///     .policies(ClientPolicies::default())
    ///     .metrics(&metrics, "orders")
    ///     .connect_lazy("mcp://10.0.0.7:8080,10.0.0.8:8080")?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn metrics(
        mut self,
        metrics: &Metrics,
        target: impl Into<Arc<str>>,
    ) -> ClientBuilder<ClientMetrics<L>> {
        let on = Counted::new(metrics, target.into());
        let whereabouts = Whereabouts::default();
        self.settings.whereabouts.push(whereabouts.clone());
        let client = MetricsLayer::client(metrics, on.target.clone()).keep(on.read.0.clone());
        let attempt = MetricsLayer::attempt(metrics, on.target.clone());
        let attempt = attempt.locate(move |id| whereabouts.find(Some(id)));
        self.settings.counting.on = Some(on);
        self.settings.counting.listen();
        self.settings.sight.around::<MetricsLayer, MetricsLayer>();
        ClientBuilder { settings: self.settings, layer: Stack::new(attempt, Stack::new(self.layer, client)) }
    }
}

impl<L> ServerBuilder<L> {
    /// Counts calls around the layers that were put in before this, and what the server's policies decide. `target` is who
    /// answers: empty where there is one server.
    ///
    /// ```
    /// use towpath::{Server, ServerPolicies, metrics::Metrics};
    ///
    /// let metrics = Metrics::new();
    /// let server = Server::builder().policies(ServerPolicies::default()).metrics(&metrics, "");
    /// # drop(server);
    /// ```
    pub fn metrics(
        mut self,
        metrics: &Metrics,
        target: impl Into<Arc<str>>,
    ) -> ServerBuilder<ServerMetrics<L>> {
        let on = Counted::new(metrics, target.into());
        let layer = MetricsLayer::server(metrics, on.target.clone()).keep(on.read.0.clone());
        let counting = self.counting();
        counting.on = Some(on);
        counting.listen();
        self.around(layer)
    }
}
