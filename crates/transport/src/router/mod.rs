//! Methods and the functions that answer them.
//!
//! A [`Router`] is a service from [`Request`] to [`Response`], made of `async fn`s:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use std::{collections::HashMap, sync::Arc};
//! use tower::ServiceExt;
//! use towpath_core::{CodecId, Fault, Request, fault_codes};
//! use towpath_transport::router::{Json, Router, State};
//!
//! fault_codes! {
//!     /// What the user service fails with.
//!     pub enum UserFault {
//!         /// Nobody has this id.
//!         NoSuchUser = "USR-E-001", "no such user";
//!     }
//! }
//!
//! #[derive(Deserialize)]
//! struct GetUser {
//!     id: u64,
//! }
//!
//! #[derive(Clone, Serialize)]
//! struct User {
//!     name: String,
//! }
//!
//! type Db = Arc<HashMap<u64, User>>;
//!
//! async fn get_user(State(db): State<Db>, Json(ask): Json<GetUser>) -> Result<Json<User>, UserFault> {
//!     db.get(&ask.id).cloned().map(Json).ok_or(UserFault::NoSuchUser)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), towpath_core::BoxError> {
//! let users = Router::new().route("GetUserInfo", get_user);
//! let db = Db::new(HashMap::from([(1001, User { name: "Ada".into() })]));
//! let router: Router = Router::new().nest("UserService", users).with_state(db).checked()?;
//!
//! let mut request = Request::new("UserService.GetUserInfo", r#"{"id":1001}"#.into());
//! request.set_codec(CodecId::JSON);
//! let response = router.clone().oneshot(request).await?;
//! assert_eq!(&response.body()[..], br#"{"name":"Ada"}"#);
//!
//! let mut request = Request::new("UserService.GetUserInfo", r#"{"id":1}"#.into());
//! request.set_codec(CodecId::JSON);
//! let response = router.oneshot(request).await?;
//! assert_eq!(Fault::from_response(&response)?.code(), "USR-E-001");
//! # Ok(())
//! # }
//! ```
//!
//! What a handler takes is described at [`Handler`], what it returns at [`IntoResponse`].
//!
//! # What is refused
//! Before a handler runs, and said to be not processed, so that it may be sent again without harm:
//!
//! | code | why |
//! | --- | --- |
//! | MCP-E-004 | no route has the method's name, and no fallback stands above it |
//! | MCP-E-005 | the body is in a codec that the handler does not take |
//! | MCP-E-006 | the body is not what the handler takes |
//! | MCP-E-009 | the router is put together wrongly: see [`Router::checked`] |
//!
//! # What it costs
//! A look-up of the name's bytes, which allocates nothing, and one allocation for the handler's future; a
//! refused call has none of its own beside its answer. Arguments are read within
//! [`call`](tower_service::Service::call), before the future is made.

mod body;
mod endpoint;
mod error;
mod extract;
mod future;
mod handler;
mod hash;
mod listing;
mod reject;
mod reply;
mod table;

pub use body::{Encoded, Json, Protobuf, Raw, Typed};
pub use error::{InvalidRoute, InvalidRoutes};
pub use extract::{Extension, FromParts, FromRef, FromRequest, State, ViaParts, ViaRequest};
pub use future::{HandlerFuture, ResponseFuture};
pub use handler::{Handler, Idempotent, Spawned, SpawnedFuture};
pub use listing::{About, METHODS, MethodInfo};
pub use reply::{IntoResponse, ReplyTo};

use endpoint::{Handled, Served};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use table::{Found, Table};
use tower_service::Service;
use towpath_core::{BoxError, Method, Request, Response};

/// Finds who answers a call by the method's name. See the [module](self) for an example.
///
/// `S` is the state that its handlers still lack; a `Router<()>` is a service, always ready. It fails only
/// where a service behind [`route_service`](Self::route_service) does. A clone is one reference count.
///
/// Names are compared as they are. A route's own name comes before every fallback, and of the fallbacks
/// the one with the longest prefix.
#[must_use = "a router does nothing until a server has it"]
pub struct Router<S = ()> {
    table: Arc<Table<S>>,
}

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// No routes: every method is unknown.
    pub fn new() -> Self {
        Router { table: Arc::default() }
    }

    fn change(mut self, change: impl FnOnce(&mut Table<S>)) -> Self {
        change(Arc::make_mut(&mut self.table));
        self
    }

    /// Has a handler answer a method, `Service.Method` (or `Method`, for a router that will be
    /// [nested](Self::nest)).
    ///
    /// A name that is already there is a mistake that no order of lines should decide: neither handler is
    /// taken, and [`checked`](Self::checked) tells.
    pub fn route<T: 'static>(self, method: impl Into<Method>, handler: impl Handler<T, S>) -> Self {
        let method = method.into();
        self.change(|table| table.insert(method, Arc::new(Handled::new(handler))))
    }

    /// Has a service answer a method: a client (a proxy), or a handler within layers of its own.
    ///
    /// Each call readies a clone, and calls that one. The service gets the request as it came; an
    /// asynchronous call is accepted when it says so ([`Request::accept`]) or answers.
    pub fn route_service<T>(self, method: impl Into<Method>, service: T) -> Self
    where
        T: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        T::Error: Into<BoxError>,
        T::Future: Send + 'static,
    {
        let method = method.into();
        self.change(|table| table.insert(method, Arc::new(Served(service))))
    }

    /// Has a handler answer what no route does, instead of MCP-E-004. A second one is a mistake, as a
    /// second [route](Self::route) is.
    pub fn fallback<T: 'static>(self, handler: impl Handler<T, S>) -> Self {
        self.change(|table| table.insert_fallback(String::new(), Arc::new(Handled::new(handler))))
    }

    /// Has a service answer what no route does: see [`fallback`](Self::fallback) and
    /// [`route_service`](Self::route_service).
    pub fn fallback_service<T>(self, service: T) -> Self
    where
        T: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        T::Error: Into<BoxError>,
        T::Future: Send + 'static,
    {
        self.change(|table| table.insert_fallback(String::new(), Arc::new(Served(service))))
    }

    /// Takes over the routes and the fallbacks of another router.
    pub fn merge(self, other: Router<S>) -> Self {
        self.nest("", other)
    }

    /// Takes over the routes of another router under a prefix: its `GetUserInfo` becomes
    /// `UserService.GetUserInfo` under `UserService`. Its fallback answers for what begins with the prefix
    /// and a dot. Requests keep their full name.
    pub fn nest(self, prefix: impl AsRef<str>, other: Router<S>) -> Self {
        self.change(|table| table.take(prefix.as_ref(), &other.table))
    }

    /// Gives the handlers their state. What comes back may lack another state, for routes that are added
    /// later; usually it is `Router<()>`, a service.
    pub fn with_state<Other>(self, state: S) -> Router<Other>
    where
        Other: Clone + Send + Sync + 'static,
    {
        Router { table: Arc::new(self.table.with_state(state)) }
    }

    /// The names of all routes, sorted.
    pub fn methods(&self) -> Vec<&str> {
        self.table.methods()
    }

    /// All routes and what is known of them, sorted by name.
    pub fn describe(&self) -> Vec<MethodInfo> {
        self.table.describe()
    }

    /// Does not answer the reserved method [`METHODS`] any more, by which a peer learns what
    /// [`describe`](Self::describe) says: the method is as unknown as any other then.
    ///
    /// It is answered by default, before the fallbacks; a route of that name comes before it. Of nested and
    /// merged routers the outermost decides.
    pub fn without_listing(self) -> Self {
        self.change(Table::unlist)
    }

    /// Checks what [`route`](Self::route) and its kin cannot refuse without breaking the chain: that each
    /// name is there once and can be called. A server's `main` does well to ask.
    ///
    /// A router that was not checked serves its sound routes all the same, and answers the calls of a
    /// contested name MCP-E-009, not processed.
    ///
    /// # Errors
    /// All that is wrong.
    ///
    /// ```
    /// use towpath_transport::router::Router;
    ///
    /// let router: Router = Router::new().route("A.B", async || "one").route("A.B", async || "two");
    /// assert_eq!(router.checked().unwrap_err().to_string(), "A.B is registered twice");
    /// ```
    pub fn checked(self) -> Result<Self, InvalidRoutes> {
        match self.table.errors() {
            [] => Ok(self),
            errors => Err(InvalidRoutes(errors.to_vec())),
        }
    }
}

impl Service<Request> for Router<()> {
    type Response = Response;
    type Error = BoxError;
    type Future = ResponseFuture;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        match self.table.find(request.method()) {
            Found::Endpoint(endpoint) => endpoint.call(request, &()),
            Found::Listing => ResponseFuture::refused(listing::answer(&request, self.table.describe())),
            Found::Nobody => {
                let fault = reject::unknown_method(request.method());
                ResponseFuture::refused(ReplyTo::new(&request).fault(fault))
            }
        }
    }
}

impl<S> Clone for Router<S> {
    fn clone(&self) -> Self {
        Router { table: self.table.clone() }
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Router<S> {
    fn default() -> Self {
        Router::new()
    }
}

impl<S: 'static> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("methods", &self.table.methods()).finish_non_exhaustive()
    }
}
