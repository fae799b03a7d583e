//! The answering side.

use std::{fmt, io, net::SocketAddr};
use tokio::net::{TcpListener, ToSocketAddrs};
use tower_layer::{Identity, Layer, Stack};
use towpath_transport::{Serve, Server as Listener, ServerConfig};

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
    listener: Listener,
    address: SocketAddr,
    layer: L,
}

impl Server {
    /// A server with the limits of [`ServerConfig`], and with layers of one's own.
    pub fn builder() -> ServerBuilder {
        ServerBuilder { config: ServerConfig::default(), layer: Identity::new() }
    }
}

impl<L> Server<L> {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the returned future is dropped, or until it is told to
    /// [drain](Serve::with_graceful_shutdown).
    pub fn serve<S>(self, service: S) -> Serve<L::Service>
    where
        L: Layer<S>,
    {
        self.listener.serve(self.layer.layer(service))
    }
}

impl<L> fmt::Debug for Server<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Settings of a [`Server`].
#[derive(Clone)]
#[must_use = "a builder does nothing unless it is bound"]
pub struct ServerBuilder<L = Identity> {
    config: ServerConfig,
    layer: L,
}

impl<L> ServerBuilder<L> {
    /// The limits and times of its connections.
    pub fn config(mut self, config: ServerConfig) -> Self {
        self.config = config;
        self
    }

    /// Puts a layer, most often a whole `ServiceBuilder` stack, around what is served. As in a
    /// `ServiceBuilder`, the first one is the outermost.
    pub fn layer<M>(self, layer: M) -> ServerBuilder<Stack<M, L>> {
        ServerBuilder { config: self.config, layer: Stack::new(layer, self.layer) }
    }

    /// Listens on a TCP address; port 0 takes a free one.
    ///
    /// # Errors
    /// If the configuration is not valid, or the system refuses the address.
    pub async fn bind(self, address: impl ToSocketAddrs) -> io::Result<Server<L>> {
        Self::server(Listener::bind(address, self.config).await?, self.layer)
    }

    /// Takes a socket that listens already.
    ///
    /// # Errors
    /// If the configuration is not valid, or the system does not say where it listens.
    pub fn listener(self, listener: TcpListener) -> io::Result<Server<L>> {
        Self::server(Listener::from_listener(listener, self.config)?, self.layer)
    }

    fn server(listener: Listener, layer: L) -> io::Result<Server<L>> {
        let address = listener.local_addr()?;
        Ok(Server { listener, address, layer })
    }
}

impl<L> fmt::Debug for ServerBuilder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
