//! How a client is put together.

use super::{
    erased::erase,
    handle::{Client, Inner},
};
use crate::{
    channel::{Channels, Connector, default_pool},
    policies::ClientStack,
    route::{Checks, Cluster, ClusterSettings, Goal, Kind, Route, sources},
    sight::{ClientCounting, Sight, Whereabouts},
};
use std::{fmt, future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};
use tower_layer::{Identity, Layer, Stack};
use tower_service::Service;
use towpath_balance::{BalanceConfig, BalanceEvent, Pick};
use towpath_core::{
    Backoff, BoxError, Discover, Error, ErrorKind, Live, Observe, Patterns, Request, Response,
};
use towpath_discover::Directory;
use towpath_health::{HealthChecker, HealthConfig};
use towpath_pool::PoolConfig;
use towpath_timeout::{DeadlineLayer, TimeoutConfig};
use towpath_transport::{Address, ClientConfig, Compression, Connection};

impl Client {
    /// Connects to `mcp://host:port` or `mcp+unix:/path`, with the defaults of [`ClientBuilder`].
    ///
    /// # Errors
    /// MCP-E-011 if the address is none, or no connection can be made within 5 s. Once it has connected, a
    /// client goes on by itself when the connection is lost.
    pub async fn connect(address: impl AsRef<str>) -> Result<Client, Error> {
        Client::builder().connect(address).await
    }

    /// A client that connects at its first call, or when [`ready`](Client::ready) is asked for. It need not
    /// be made inside a runtime.
    ///
    /// # Errors
    /// MCP-E-011 if the address is none.
    pub fn connect_lazy(address: impl AsRef<str>) -> Result<Client, Error> {
        Client::builder().connect_lazy(address)
    }

    /// A client with other settings, and with layers of one's own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder { settings: Settings::default(), layer: Identity::new() }
    }
}

/// Settings of a [`Client`]. The defaults are fit for production:
///
/// - a deadline of 10 s on every call that brings none of its own,
/// - a reconnect that is immediate after a loss, and from then on waits up to 2.5 s, doubling to 5 s, with full jitter,
///   so that many clients that have lost one server do not come back to it together,
/// - one connection, and up to four when there are more than 1 024 calls under way, or bodies above 256 KiB,
/// - the limits of [`ClientConfig`].
///
/// Layers are put between the deadline and the connection, so that what they wait for (a retry's backoff, a
/// permit) is within it:
///
/// ```
/// use std::time::Duration;
/// use tower::{ServiceBuilder, limit::ConcurrencyLimitLayer};
/// use towpath::Client;
///
/// # fn main() -> Result<(), towpath::Error> {
/// let client = Client::builder()
///     .timeout(Duration::from_secs(2))
///     .idempotent("UserService.Get*")
///     .layer(ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(64)))
///     .connect_lazy("mcp://127.0.0.1:8080")?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
///
/// [`without_defaults`](Self::without_defaults) leaves the whole stack to your layers.
#[derive(Clone)]
#[must_use = "a builder does nothing unless it connects"]
pub struct ClientBuilder<L = Identity> {
    pub(crate) settings: Settings,
    pub(crate) layer: L,
}

#[derive(Clone)]
pub(crate) struct Settings {
    /// Who is to know where attempts go.
    pub(crate) whereabouts: Vec<Whereabouts>,
    pub(crate) sight: Sight,
    pub(crate) counting: ClientCounting,
    config: ClientConfig,
    timeout: Option<TimeoutConfig>,
    pool: PoolConfig,
    connector: Connector,
    idempotent: Patterns,
    cluster: ClusterSettings,
    directory: Option<Directory>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            whereabouts: Vec::new(),
            sight: Sight::default(),
            counting: ClientCounting::default(),
            config: ClientConfig::default(),
            timeout: Some(TimeoutConfig::default()),
            pool: default_pool(),
            connector: Connector::default(),
            idempotent: Patterns::default(),
            cluster: ClusterSettings::default(),
            directory: None,
        }
    }
}

impl<L> ClientBuilder<L> {
    /// How long a call may take that says nothing else; 10 s by default. Under 1 ms is 1 ms; above about 49
    /// days is that.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        let timeout = timeout.clamp(TimeoutConfig::MIN, TimeoutConfig::MAX);
        self.settings.timeout = Some(TimeoutConfig::try_new(timeout).unwrap_or_default());
        self
    }

    /// Leaves out the layers that are there by default (the deadline): calls have a deadline only if they
    /// bring one, inherit one, or get one from a [layer](Self::layer) of yours
    /// ([`DeadlineLayer`](towpath_timeout::DeadlineLayer), say). A call without one may wait for ever, but
    /// not for a connection.
    pub fn without_defaults(mut self) -> Self {
        self.settings.timeout = None;
        self
    }

    /// How long to wait before connects: after one that failed, and after the peer has said that it goes away. The shorter
    /// it is, the sooner a single client is back, and the more of many clients come at once.
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.settings.pool = self.settings.pool.with_reconnect(backoff);
        self
    }

    /// How many connections there are and for how long, in place of what was said by [`reconnect`](Self::reconnect) as well.
    /// By default: one from the first use on, up to four by demand; a call waits for one until its deadline. How long a
    /// connect may take is said by [`connect_timeout`](Self::connect_timeout).
    ///
    /// ```
    /// use std::time::Duration;
    /// use towpath::{Client, pool::{PoolConfig, PoolOptions}};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = PoolOptions { min: 2, max_age: Some(Duration::from_secs(600)), ..PoolOptions::default() };
    /// let client = Client::builder().pool(PoolConfig::try_new(pool)?).connect_lazy("mcp://127.0.0.1:8080")?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pool(mut self, pool: PoolConfig) -> Self {
        self.settings.pool = pool;
        self
    }

    /// How long a connect may take; 5 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.config.connect_timeout = timeout;
        self
    }

    /// Compressed bodies, each way, if the service wants them too; by default there are none.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.settings.config.compression = Some(compression);
        self
    }

    /// The connection's limits and times.
    pub fn config(mut self, config: ClientConfig) -> Self {
        self.settings.config = config;
        self
    }

    /// Makes the connections in a way of one's own: through a proxy, over a stream that the transport does
    /// not know, in memory for a test. `connect` is given the address and the settings of the connection,
    /// and most often ends with [`Connection::new`] and a spawned driver. It is dropped at the connect
    /// timeout; what it fails with counts as a failed connect (MCP-E-011).
    ///
    /// ```
    /// use tokio::net::TcpStream;
    /// use towpath::{Client, Connection, Error, ErrorKind};
    ///
    /// # fn main() -> Result<(), Error> {
    /// let client = Client::builder()
    ///     .connector(|address, config| async move {
    ///         let failed = |why: String| Error::new(ErrorKind::ConnectFailed).because(why);
    ///         let stream = TcpStream::connect("127.0.0.1:1080").await.map_err(|error| failed(error.to_string()))?;
    ///         let (connection, driver) = Connection::new(stream, address.to_string(), &config)
    ///             .map_err(|error| failed(error.to_string()))?;
    ///         tokio::spawn(driver);
    ///         Ok(connection)
    ///     })
    ///     .connect_lazy("mcp://orders.example:8080")?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn connector<F, R>(mut self, connect: F) -> Self
    where
        F: Fn(Address, ClientConfig) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Connection, Error>> + Send + 'static,
    {
        self.settings.connector = Connector::new(connect);
        self
    }

    /// Whom to trust, and who this client is, on addresses of `mcps://`. Has no effect beside a
    /// [`connector`](Self::connector) of one's own.
    ///
    /// ```no_run
    /// use towpath::{Client, ClientTls};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let tls = ClientTls::builder().ca_file("ca.pem").build()?;
    /// let client = Client::builder().tls(tls).connect("mcps://orders:8443").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: towpath_transport::ClientTls) -> Self {
        self.settings.connector = self.settings.connector.with_tls(tls);
        self
    }

    /// Declares methods that may be called twice without harm. In the pattern, `*` stands for any run of
    /// characters: `"UserService.Get*"`. Can be used more than once.
    pub fn idempotent(mut self, pattern: impl AsRef<str>) -> Self {
        self.settings.idempotent.add(pattern.as_ref());
        self
    }

    /// Puts a layer, most often a whole `ServiceBuilder` stack, around the connection. As in a
    /// `ServiceBuilder`, the first one is the outermost.
    pub fn layer<M>(self, layer: M) -> ClientBuilder<Stack<M, L>> {
        let ClientBuilder { mut settings, layer: outer } = self;
        settings.sight.layer::<M>();
        ClientBuilder { settings, layer: Stack::new(layer, outer) }
    }

    /// Puts the usual policies around the connection: a breaker for each method, retry, limits. As a
    /// [layer](Self::layer), in its place among the others.
    ///
    /// ```
    /// use towpath::{Client, ClientPolicies};
    ///
    /// # fn main() -> Result<(), towpath::Error> {
    /// let client = Client::builder()
    ///     .idempotent("UserService.Get*")
    ///     .policies(ClientPolicies::default())
    ///     .connect_lazy("mcp://127.0.0.1:8080")?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn policies(mut self, policies: impl Into<ClientStack>) -> ClientBuilder<Stack<ClientStack, L>> {
        let policies = policies.into();
        self.settings.cluster.breaker = policies.endpoint_breaker();
        self.settings.cluster.classify = policies.classifier();
        self.settings.sight.policies(&policies, self.settings.cluster.breaker.is_some());
        self.settings.counting.policies(&policies);
        self.layer(policies)
    }

    /// How calls are shared out among the endpoints of a name: who is out, how long a call waits for one. A value, or one
    /// that is replaced while the client is used. Of no effect on a client of one address.
    pub fn balance(mut self, config: impl Into<Live<BalanceConfig>>) -> Self {
        self.settings.cluster.balance = config.into();
        self
    }

    /// Who says which endpoint a call goes to, in place of the [better one of two](towpath_balance::PowerOfTwo): another
    /// picker of [`balance`](crate::balance), or one's own.
    ///
    /// ```
    /// use towpath::{Client, balance::LeastRequest};
    ///
    /// # fn main() -> Result<(), towpath::Error> {
    /// let client = Client::builder().pick_by(LeastRequest).connect_lazy("mcp://10.0.0.7:8080,10.0.0.8:8080")?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pick_by(mut self, picker: impl Pick) -> Self {
        self.settings.cluster.pick_by(picker);
        self
    }

    /// Who hears what the balancer decides.
    pub fn observe_balance(mut self, observe: impl Observe<BalanceEvent> + Send + Sync + 'static) -> Self {
        self.settings.cluster.observe = Arc::new(observe);
        self
    }

    /// Has the endpoints of a name checked by PING, so that one that is dead or frozen gets no calls though none has failed
    /// there yet, and one that has recovered gets them again: by default every 5 s, three failures take it out, two successes
    /// bring it back. The connections for it are made as the client makes its own. A value, or one that is
    /// replaced while the client is used. Of no effect on a client of one address, whose connection has its keep-alive.
    ///
    /// ```
    /// use towpath::{Client, health::HealthConfig};
    ///
    /// # fn main() -> Result<(), towpath::Error> {
    /// let client = Client::builder()
    ///     .health(HealthConfig::default())
    ///     .connect_lazy("mcp://10.0.0.7:8080,10.0.0.8:8080")?;
    /// for one in client.health().iter().flat_map(|checker| checker.endpoints()) {
    ///     println!("{} {}", one.endpoint, if one.healthy { "is well" } else { "gets no calls" });
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn health(mut self, config: impl Into<Live<HealthConfig>>) -> Self {
        self.settings.cluster.checks = Some(Checks::Ping(config.into()));
        self
    }

    /// The same by a checker of one's own making: another [probe](crate::health::Probe), one who hears what it finds out.
    pub fn health_by(mut self, checker: HealthChecker) -> Self {
        self.settings.cluster.checks = Some(Checks::Own(checker));
        self
    }

    /// Where names are looked up. Clients with the same directory share their look-ups; without one, a client has its own,
    /// with the [usual sources](crate::sources).
    pub fn directory(mut self, directory: Directory) -> Self {
        self.settings.directory = Some(directory);
        self
    }

    /// Connects: to one address (`mcp://host:port`, `mcps://host:port`, `mcp+unix:/path`), or to the endpoints of a name, which
    /// are [found](crate::sources), followed while they change, and shared out among calls:
    ///
    /// | | |
    /// | --- | --- |
    /// | `mcp://a:8080,b:8080` | these |
    /// | `file:/etc/orders.toml` | those in a file, which is watched |
    /// | `dns://orders:8080`, `dns+srv://_mcp._tcp.orders` | those of a name in the DNS (feature `dns`) |
    /// | `registry://10.0.0.2:7700/orders` | those that are registered there |
    ///
    /// # Errors
    /// MCP-E-011 if the address is none, a setting makes no sense, or no connection can be made within the
    /// connect timeout; MCP-W-106 if within that time no endpoint of a name is found and connected.
    pub async fn connect<S>(self, address: impl AsRef<str>) -> Result<Client, Error>
    where
        L: Layer<Route, Service = S>,
        S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        let patience = self.settings.config.connect_timeout;
        let (client, route) = self.route(address.as_ref())?;
        match &route.0 {
            Kind::One(channel) => drop(channel.connection().await?),
            Kind::Many(cluster) => match timeout_at(Instant::now() + patience, cluster.ready()).await {
                Ok(outcome) => outcome?,
                Err(_) => return Err(cluster.not_ready(patience)),
            },
        }
        Ok(client)
    }

    /// Connects at the first call. Nothing is spawned before.
    ///
    /// # Errors
    /// MCP-E-011 if the address is none or a setting makes no sense.
    pub fn connect_lazy<S>(self, address: impl AsRef<str>) -> Result<Client, Error>
    where
        L: Layer<Route, Service = S>,
        S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        self.route(address.as_ref()).map(|(client, _)| client)
    }

    /// Connects, at the first call, to the endpoints that `discover` tells of: a watch of a
    /// [`Directory`](crate::discover::Directory), the list of a registry in this process, one's own. `name` is for errors.
    /// Each endpoint's state is this client's: `discover` must not be one that shares its endpoints with others.
    ///
    /// # Errors
    /// MCP-E-011 if a setting makes no sense.
    pub fn follow<D, S>(self, name: impl Into<Arc<str>>, discover: D) -> Result<Client, Error>
    where
        D: Discover + Unpin + Send + 'static,
        L: Layer<Route, Service = S>,
        S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        let (counting, channels) = (self.settings.counting.clone(), self.channels()?);
        let settings = self.settings.sight.cluster(counting.cluster(self.settings.cluster.clone()));
        let cluster = Cluster::new(name, discover, channels.clone(), settings, None);
        let route = Route(Kind::Many(cluster));
        counting.route(&route, &channels);
        Ok(self.build(route).0)
    }

    /// A client over any service in place of a connection: a balancer of one's own, a router in this process
    /// for a test. The settings of the connection have no effect.
    pub fn over<T, S>(self, service: T) -> Client
    where
        L: Layer<T, Service = S>,
        S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        let stack = self.layer.layer(service);
        build(stack, None, self.settings)
    }

    /// Makes channels for endpoints, with these settings and without layers: the bottom of each endpoint's stack, for a balancer
    /// of one's own that is put in place of a connection by [`over`](Self::over).
    ///
    /// # Errors
    /// MCP-E-011 if a setting makes no sense.
    pub fn channels(&self) -> Result<Channels, Error> {
        let channels = Channels::of(
            self.settings.config.clone(),
            self.settings.pool.clone(),
            self.settings.connector.clone(),
        );
        channels.map(|channels| self.settings.counting.channels(channels))
    }

    fn route<S>(self, url: &str) -> Result<(Client, Route), Error>
    where
        L: Layer<Route, Service = S>,
        S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        let directory = self.settings.directory.clone();
        let counting = self.settings.counting.clone();
        let own = || counting.directory(Directory::builder().sources(sources())).build();
        let (directory, channels) = (directory.unwrap_or_else(own), self.channels()?);
        let route = match Goal::of(url, directory.sources())? {
            Goal::One(address) => Kind::One(channels.to(address)),
            Goal::Many => {
                let refuse = |why: String| Error::new(ErrorKind::ConnectFailed).because(why);
                let watch = directory.watch(url).map_err(|error| refuse(error.to_string()))?;
                let (settings, found_by) = (self.settings.cluster.clone(), Some(watch.handle()));
                let settings = self.settings.sight.cluster(counting.cluster(settings));
                Kind::Many(Cluster::new(url, watch, channels.clone(), settings, found_by))
            }
        };
        let route = Route(route);
        counting.route(&route, &channels);
        Ok(self.build(route))
    }

    fn build<S>(self, route: Route) -> (Client, Route)
    where
        L: Layer<Route, Service = S>,
        S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        self.settings.whereabouts.iter().for_each(|whereabouts| whereabouts.set(&route));
        let stack = self.layer.layer(route.clone());
        (build(stack, Some(route.clone()), self.settings), route)
    }
}

fn build<S>(stack: S, route: Option<Route>, settings: Settings) -> Client
where
    S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    let Settings { timeout, idempotent, counting, mut sight, .. } = settings;
    sight.built(timeout, route.as_ref());
    let late = counting.deadlines();
    let (stack, own_deadline) = match timeout {
        Some(config) => (
            erase(DeadlineLayer::new(config).observe(late.clone()).layer(stack.clone())),
            erase(DeadlineLayer::inherited().observe(late).layer(stack)),
        ),
        None => (erase(stack.clone()), erase(stack)),
    };
    Client::new(Inner { stack, own_deadline, route, idempotent, sight })
}

impl<L> fmt::Debug for ClientBuilder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("config", &self.settings.config)
            .field("timeout", &self.settings.timeout)
            .field("pool", &self.settings.pool)
            .field("idempotent", &self.settings.idempotent)
            .finish_non_exhaustive()
    }
}
