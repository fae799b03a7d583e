//! The answering side.

use crate::{
    announce::Announce,
    policies::ServerStack,
    register::Register,
    sight::{ServerCounting, ServerSight},
};
use std::{any::type_name, fmt, io, net::SocketAddr, time::Duration};
use tower_layer::{Identity, Layer, Stack};
use towpath_health::Readiness;
use towpath_transport::{Address, BindOptions, BindTo, Listener, Serve, Server as Transport, ServerConfig};

/// A listening socket that is going to serve a [`Router`](crate::Router), or any `Service<Request>`.
///
/// Out of the box it refuses work that is late already, answers for a handler that panics (MCP-E-009), bounds
/// what a peer can make it hold, and drains when it is told to.
///
/// ```
/// use towpath::{Client, Router, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder().bind("127.0.0.1:0").await?;
/// let address = format!("mcp://{}", server.local_addr());
/// let router = Router::new().route("Greeter.Hello", async || "hello");
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let serving = server.serve(router).with_graceful_shutdown(async {
///     let _ = stopped.await;
/// });
/// let serving = tokio::spawn(serving.into_future());
///
/// let hello: String = Client::connect(&address).await?.request("Greeter.Hello").raw("").send().await?;
/// assert_eq!(hello, "hello");
/// drop(stop);
/// serving.await??;
/// # Ok(())
/// # }
/// ```
pub struct Server<L = Identity> {
    transport: Transport,
    address: SocketAddr,
    announce: Announce,
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) sight: ServerSight,
    layer: L,
}

impl Server {
    /// A server with the limits of [`ServerConfig`], and with layers of one's own.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            config: ServerConfig::default(),
            options: BindOptions::new(),
            peers: false,
            announce: Announce::default(),
            counting: ServerCounting::default(),
            sight: ServerSight::default(),
            layer: Identity::new(),
        }
    }
}

impl<L> Server<L> {
    /// Where it listens, of whichever kind: as text it is a URL.
    pub fn address(&self) -> &Address {
        self.transport.address()
    }

    /// Where it listens, if that is TCP. A server on a Unix socket has no such address, and says `0.0.0.0:0`:
    /// see [`address`](Self::address).
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the returned future is dropped, or until it is told to
    /// [drain](Serve::with_graceful_shutdown). What is [registered](ServerBuilder::register) is so from the first poll on.
    pub fn serve<S>(self, service: S) -> Serve<L::Service>
    where
        L: Layer<S>,
    {
        let serve = self.transport.serve(self.layer.layer(service));
        match self.announce.is_empty() {
            true => serve,
            false => serve.beside(|told| self.announce.keep(told)),
        }
    }
}

impl<L> fmt::Debug for Server<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", self.address()).finish_non_exhaustive()
    }
}

/// Settings of a [`Server`].
#[derive(Clone)]
#[must_use = "a builder does nothing unless it is bound"]
pub struct ServerBuilder<L = Identity> {
    config: ServerConfig,
    options: BindOptions,
    peers: bool,
    announce: Announce,
    counting: ServerCounting,
    sight: ServerSight,
    layer: L,
}

impl<L> ServerBuilder<L> {
    #[cfg(feature = "metrics")]
    pub(crate) fn counting(&mut self) -> &mut ServerCounting {
        &mut self.counting
    }

    #[cfg(feature = "admin")]
    pub(crate) fn sight(&mut self) -> &mut ServerSight {
        &mut self.sight
    }

    /// The limits and times of its connections.
    pub fn config(mut self, config: ServerConfig) -> Self {
        self.config = config;
        self
    }

    /// Puts a layer, most often a whole `ServiceBuilder` stack, around what is served. As in a
    /// `ServiceBuilder`, the first one is the outermost.
    pub fn layer<M>(self, layer: M) -> ServerBuilder<Stack<M, L>> {
        let ServerBuilder { config, options, peers, announce, counting, mut sight, layer: outer } = self;
        sight.layers.push(type_name::<M>());
        ServerBuilder { config, options, peers, announce, counting, sight, layer: Stack::new(layer, outer) }
    }

    /// Puts a layer around all that were put in before.
    pub(crate) fn around<M>(self, layer: M) -> ServerBuilder<Stack<L, M>> {
        let ServerBuilder { config, options, peers, announce, counting, mut sight, layer: inner } = self;
        sight.layers.insert(0, type_name::<M>());
        ServerBuilder { config, options, peers, announce, counting, sight, layer: Stack::new(inner, layer) }
    }

    /// Puts the usual policies around what is served: admission, limits. As a [layer](Self::layer), in its place
    /// among the others.
    pub fn policies(mut self, policies: impl Into<ServerStack>) -> ServerBuilder<Stack<ServerStack, L>> {
        let policies = policies.into();
        self.counting.policies(&policies);
        self.sight.policies = Some(policies.handles());
        self.layer(policies)
    }

    /// How to listen: the permissions of a Unix socket, a port that several processes share, a listener that is
    /// taken over from the process before. It replaces all options that were said before it, TLS among them.
    pub fn options(mut self, options: BindOptions) -> Self {
        self.options = options;
        self
    }

    /// Serves TLS: on an address of `mcps://`, or one without a scheme.
    ///
    /// ```no_run
    /// use towpath::{Router, Server, ServerTls};
    ///
    /// # async fn example(router: Router) -> Result<(), Box<dyn std::error::Error>> {
    /// let tls = ServerTls::builder().identity_files("server.pem", "server.key").client_ca_file("ca.pem").build()?;
    /// Server::builder().tls(tls).bind("mcps://0.0.0.0:8443").await?.serve(router).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: towpath_transport::ServerTls) -> Self {
        self.options = self.options.tls(tls);
        self
    }

    /// Registers the server in a registry while it serves, so that clients which follow the service find it. It is
    /// registered when it begins to serve, and taken out before connections are told that it drains; a registry
    /// that cannot be reached is tried again in the background, and never holds up a call. Can be used more than once.
    ///
    /// ```no_run
    /// use towpath::{Register, Router, Server};
    ///
    /// # async fn example(router: Router) -> Result<(), Box<dyn std::error::Error>> {
    /// let orders = Register::at("registry://10.0.0.2:7700/orders")?.advertise("mcp://10.0.0.7:8080").zone("eu-1a");
    /// Server::builder().register(orders).bind("0.0.0.0:8080").await?.serve(router).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn register(mut self, register: Register) -> Self {
        self.announce.register.push(register);
        self
    }

    /// Has a [`Readiness`] follow the server: ready from when it serves, draining from when it is told to drain, which comes
    /// before its connections are told. What answers `/readyz` shows it: see [`Health`](towpath_health::Health). Can be
    /// used more than once.
    ///
    /// ```
    /// use towpath::{Router, Server, health::Readiness};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let readiness = Readiness::starting();
    /// let server = Server::builder().readiness(readiness.clone()).bind("127.0.0.1:0").await?;
    /// assert!(!readiness.is_ready());
    /// let serving = tokio::spawn(server.serve(Router::new()).into_future());
    /// # tokio::task::yield_now().await;
    /// assert!(readiness.is_ready());
    /// # serving.abort();
    /// # Ok(())
    /// # }
    /// ```
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.announce.readiness.push(readiness);
        self
    }

    /// For how long the server accepts and serves on when it is told to drain and has let registries and readiness know, so
    /// that balancers which ask only from time to time notice before its socket closes. None by default: clients of
    /// ours hear of a drain on their connections, and lose no call.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.announce.delay = delay;
        self
    }

    /// Whether every request says who is at the other end ([`Peer`](crate::Peer), in its extensions). Over TLS it
    /// always does; elsewhere it does not unless asked, as it costs a reference count for each request.
    pub fn peers(mut self, peers: bool) -> Self {
        self.peers = peers;
        self
    }

    /// Listens: on a TCP address (`127.0.0.1:8080`, `mcp://[::]:8080`; port 0 takes a free one), or on a Unix
    /// socket (`mcp+unix:/run/orders.sock`).
    ///
    /// # Errors
    /// If the configuration is not valid, or the system refuses the address; or if the server is to be
    /// [registered](Self::register), and nobody could connect to what it would be registered with.
    pub async fn bind(self, address: impl Into<BindTo>) -> io::Result<Server<L>> {
        let transport = Transport::bind_with(address, self.options, self.config).await?;
        let transport = self.counting.transport(transport.with_peers(self.peers));
        self.counting.registrations(&self.announce);
        Self::server(transport, self.announce, self.sight, self.layer)
    }

    /// Takes a socket that listens already: one of tokio's, or a [`Listener`].
    ///
    /// # Errors
    /// If the configuration is not valid.
    pub fn listener(self, listener: impl Into<Listener>) -> io::Result<Server<L>> {
        let transport = Transport::from_listener_with(listener, self.options, self.config)?;
        let transport = self.counting.transport(transport.with_peers(self.peers));
        self.counting.registrations(&self.announce);
        Self::server(transport, self.announce, self.sight, self.layer)
    }

    fn server(
        transport: Transport,
        mut announce: Announce,
        mut sight: ServerSight,
        layer: L,
    ) -> io::Result<Server<L>> {
        announce.readiness.extend(sight.bound());
        for register in &mut announce.register {
            register.complete(transport.address())?;
        }
        let address = transport.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        Ok(Server { transport, address, announce, sight, layer })
    }
}

impl<L> fmt::Debug for ServerBuilder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
