//! What is put into a stack.

use super::{
    Access,
    event::Listen,
    service::{About, State},
};
use crate::{Role, calls::Hooks};
use std::fmt;
use tower_layer::Layer;
use towpath_core::{DefaultClassify, FromContext, Shared};

/// Tells of each call when it has ended: to an [`AccessLog`](crate::AccessLog), to a [`Tap`](crate::Tap), or to a pair of both.
/// Around any service.
///
/// It stands where metrics stand: outermost on either side, or below retry to tell of attempts.
///
/// ```
/// use towpath_core::{BoxError, Request, Response};
/// use towpath_metrics::{AccessLayer, AccessLog, AccessLogConfig, Tap};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let (log, tap) = (AccessLog::new(AccessLogConfig::default()), Tap::new());
/// let service = ServiceBuilder::new()
///     .layer(AccessLayer::server((log, tap.clone())))
///     .service(service_fn(|_: Request| async { Ok::<_, BoxError>(Response::new("found".into())) }));
///
/// let mut orders = tap.open(16, |call| call.name().starts_with("Orders."));
/// let _: Response = service.oneshot(Request::new("Orders.Find", "".into())).await?;
/// let call = orders.next().await.unwrap();
/// assert_eq!((call.method.as_str(), call.outcome), ("Orders.Find", "ok"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AccessLayer<L, I = FromContext, C = DefaultClassify> {
    role: Role,
    listen: L,
    hooks: Hooks<I, C>,
}

impl<L: Listen> AccessLayer<L> {
    /// Of whole calls, on the side of the caller.
    pub fn client(listen: L) -> Self {
        AccessLayer::new(Role::Client, listen)
    }

    /// Of attempts.
    pub fn attempt(listen: L) -> Self {
        AccessLayer::new(Role::Attempt, listen)
    }

    /// Of calls, on the side of the callee.
    pub fn server(listen: L) -> Self {
        AccessLayer::new(Role::Server, listen)
    }

    fn new(role: Role, listen: L) -> Self {
        AccessLayer { role, listen, hooks: Hooks { info: FromContext, classify: DefaultClassify::new() } }
    }
}

impl<L, I, C> AccessLayer<L, I, C> {
    /// Asks `info` for what there is to know of a call: see [`CallInfo`](towpath_core::CallInfo).
    pub fn info<I2>(self, info: I2) -> AccessLayer<L, I2, C> {
        let hooks = Hooks { info, classify: self.hooks.classify };
        AccessLayer { role: self.role, listen: self.listen, hooks }
    }

    /// Judges outcomes by another [`Classify`](towpath_core::Classify). Give the same one to all layers.
    pub fn classify<C2>(self, classify: C2) -> AccessLayer<L, I, C2> {
        let hooks = Hooks { info: self.hooks.info, classify };
        AccessLayer { role: self.role, listen: self.listen, hooks }
    }
}

impl<S, L: Listen + Clone, I: Clone, C: Clone> Layer<S> for AccessLayer<L, I, C> {
    type Service = Access<S, Hooks<I, C>, L>;

    fn layer(&self, inner: S) -> Self::Service {
        let hooks = Hooks { info: self.hooks.info.clone(), classify: self.hooks.classify.clone() };
        let about = About { role: self.role, listen: self.listen.clone() };
        Access { inner, shared: Shared::new(State { about, hooks }) }
    }
}

impl<L, I, C> fmt::Debug for AccessLayer<L, I, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLayer").field("role", &self.role).finish_non_exhaustive()
    }
}
