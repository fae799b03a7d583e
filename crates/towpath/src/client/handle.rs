//! The client as a value.

use super::{
    erased::{Answer, Erased, Of},
    error::CallError,
};
use crate::{
    channel::{Channel, ClientState},
    policies::ClientHandles,
    route::{Cluster, EndpointHandles, Kind, Route},
    sight::Sight,
};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_balance::BalanceHandle;
use towpath_core::{BoxError, Error, Loan, Patterns, Request, Response, Shared};
use towpath_health::HealthChecker;
use towpath_pool::PoolHandle;

/// Calls the methods of one service.
///
/// Cheap to clone, `Send` and `Sync`, all methods take `&self`: keep it in a `static`, in a router's state or in
/// axum's. It connects, and connects again when the connection is lost, by itself; when the last clone is
/// gone the connection is closed.
///
/// ```no_run
/// use serde::Deserialize;
/// use serde_json::json;
/// use towpath::Client;
///
/// #[derive(Deserialize)]
/// struct User {
///     name: String,
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("mcp://127.0.0.1:8080").await?;
/// let user: User = client.call("UserService.GetUserInfo", &json!({"id": 1001})).await?;
/// # Ok(())
/// # }
/// ```
///
/// In axum it is a field of the state:
///
/// ```
/// use axum::{extract::{Path, State}, routing::get};
/// use serde_json::{Value, json};
/// use towpath::Client;
///
/// #[derive(Clone)]
/// struct App {
///     users: Client,
/// }
///
/// async fn user(State(app): State<App>, Path(id): Path<u64>) -> Result<axum::Json<Value>, String> {
///     let user = app.users.call("UserService.GetUserInfo", &json!({"id": id})).await;
///     user.map(axum::Json).map_err(|error| error.to_string())
/// }
///
/// # fn main() -> Result<(), towpath::Error> {
/// let app = App { users: Client::connect_lazy("mcp://127.0.0.1:8080")? };
/// let site: axum::Router = axum::Router::new().route("/users/{id}", get(user)).with_state(app);
/// # drop(site);
/// # Ok(())
/// # }
/// ```
///
/// It is a `tower::Service<Request>` as well: put layers around it, or have a router pass calls on to it.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Shared<Inner>,
}

pub(crate) struct Inner {
    /// The stack for calls that bring no deadline of their own.
    pub(super) stack: Box<dyn Erased>,
    /// The stack for calls that do: nothing shortens it but what they inherit.
    pub(super) own_deadline: Box<dyn Erased>,
    /// `None` over a service of the user's.
    pub(crate) route: Option<Route>,
    pub(super) idempotent: Patterns,
    pub(crate) sight: Sight,
}

impl Client {
    pub(super) fn new(inner: Inner) -> Self {
        Client { inner: Shared::new(inner) }
    }

    fn channel(&self) -> Option<&Channel> {
        match &self.inner.route {
            Some(Route(Kind::One(channel))) => Some(channel),
            _ => None,
        }
    }

    fn cluster(&self) -> Option<&Cluster> {
        match &self.inner.route {
            Some(Route(Kind::Many(cluster))) => Some(cluster),
            _ => None,
        }
    }

    /// What the connections are doing now; a client of many endpoints is connected while one of them takes calls. A
    /// client [over a service](super::ClientBuilder::over) is always connected.
    pub fn state(&self) -> ClientState {
        match &self.inner.route {
            Some(Route(Kind::One(channel))) => channel.state(),
            Some(Route(Kind::Many(cluster))) => cluster.state(),
            None => ClientState::Connected,
        }
    }

    /// Connects if that was not begun, and waits until it is done, with one endpoint at least, however long that takes: bound
    /// it by `tokio::time::timeout` where that matters. Calls need not wait for it, they wait themselves.
    ///
    /// # Errors
    /// If the client was [closed](Self::close).
    pub async fn ready(&self) -> Result<(), Error> {
        match &self.inner.route {
            Some(Route(Kind::One(channel))) => channel.ready().await,
            Some(Route(Kind::Many(cluster))) => cluster.ready().await,
            None => Ok(()),
        }
    }

    /// Asks the peer for a sign of life; resolves to the round trip's time. Zero over a service of one's own.
    ///
    /// A client of many endpoints asks all that take calls, at the same time, and resolves to the slowest one's time; where
    /// there is none yet, it waits for the first, up to 5 s.
    ///
    /// # Errors
    /// If there is no connection and the next connect fails, or if the connection is lost; of many endpoints, if one
    /// does not answer, and the error names each that did not. There is no limit on the waiting for an answer but the
    /// connection's keep-alive.
    pub async fn ping(&self) -> Result<Duration, Error> {
        match &self.inner.route {
            Some(Route(Kind::One(channel))) => channel.connection().await?.ping().await,
            Some(Route(Kind::Many(cluster))) => cluster.ping().await,
            None => Ok(Duration::ZERO),
        }
    }

    /// The connections to one address in numbers, and their config, which can be replaced while they are used; `None` if
    /// there are many endpoints, and over a service of one's own.
    pub fn pool(&self) -> Option<PoolHandle> {
        self.channel().map(Channel::pool)
    }

    /// The endpoints of a name: what is known of each, and the config of the balancer, which can be replaced while it runs.
    /// `None` if there is one address, and over a service of one's own.
    ///
    /// ```
    /// # fn main() -> Result<(), towpath::Error> {
    /// let client = towpath::Client::connect_lazy("mcp://10.0.0.7:8080,10.0.0.8:8080")?;
    /// for one in client.endpoints().iter().flat_map(|endpoints| endpoints.endpoints()) {
    ///     println!("{} {:?} {} in flight", one.endpoint, one.status, one.in_flight);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn endpoints(&self) -> Option<BalanceHandle> {
        self.cluster().map(|cluster| cluster.handle().clone())
    }

    /// What the [checks](super::ClientBuilder::health) of the endpoints of a name have found out. `None` if there are none.
    pub fn health(&self) -> Option<HealthChecker> {
        self.cluster().and_then(|cluster| cluster.checker().cloned())
    }

    /// What stands around each endpoint of a name: its connections and its breaker. Empty if there is one address, and over
    /// a service of one's own.
    pub fn endpoint_handles(&self) -> Vec<EndpointHandles> {
        self.cluster().map(|cluster| cluster.around().all()).unwrap_or_default()
    }

    /// What can be seen of the [policies](super::ClientBuilder::policies), and changed, while they run; `None` if there are
    /// none. Where policies were said more than once, the last ones.
    pub fn policies(&self) -> Option<&ClientHandles> {
        self.inner.sight.policies.as_ref()
    }

    /// Makes no new calls from now on, from any clone; the connections end when the outstanding ones are
    /// answered. Dropping all clones does the same.
    pub fn close(&self) {
        match &self.inner.route {
            Some(Route(Kind::One(channel))) => channel.close(),
            Some(Route(Kind::Many(cluster))) => cluster.close(),
            None => {}
        }
    }
}

impl Inner {
    #[inline]
    pub(super) fn stack(&self, of: Of) -> &dyn Erased {
        match of {
            Of::Client => &*self.stack,
            Of::Call => &*self.own_deadline,
        }
    }
}

/// A call, with its own deadline or with the client's. Nothing happens before the first poll.
#[inline]
pub(super) fn start(client: Loan<Inner>, mut request: Request, timeout: Option<Duration>) -> Answer {
    if client.idempotent.matches(request.method().as_bytes()) {
        request.context_mut().set_idempotent(true);
    }
    let Some(timeout) = timeout else { return Answer::new(client, Of::Client, request) };
    // A deadline beyond what the clock can say is none.
    if let Some(deadline) = Instant::now().checked_add(timeout) {
        request.context_mut().tighten_deadline(deadline);
    }
    Answer::new(client, Of::Call, request)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("route", &self.inner.route).finish_non_exhaustive()
    }
}

impl Service<Request> for Client {
    type Response = Response;
    type Error = BoxError;
    type Future = ClientFuture;

    /// Always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// An application's fault is an answer; the client's deadline holds, or an earlier one of the request's.
    fn call(&mut self, request: Request) -> ClientFuture {
        ClientFuture(start(self.inner.lend(), request, None))
    }
}

/// The answer of one call of a [`Client`] as a service.
///
/// Cancel safety: dropping it gives the call up; if it was sent, the callee is told.
#[must_use = "futures do nothing unless polled"]
pub struct ClientFuture(Answer);

impl Future for ClientFuture {
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().0).poll(cx)
    }
}

impl fmt::Debug for ClientFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientFuture")
    }
}

/// The answer of a call that failed before it was begun, or of one that was begun.
pub(super) type Started = Result<Answer, CallError>;
