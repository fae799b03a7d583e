//! What is shown to whom.

use crate::{
    Force, Recorder, ServerState, Target, http,
    text::now_ms,
    timeline::{Seen, Timeline},
    view::{EventView, Explanation, Snapshot},
};
use axum::{
    Router,
    response::{IntoResponse, Response},
};
use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use towpath_core::Clock;

/// How often [`Admin::watch`] looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is shown, and to whom: makes an axum router. Clones that are made later are told of later targets only by
/// themselves.
///
/// Read-only, and without a token, unless said otherwise. See the [crate](crate) for what is where.
#[derive(Clone)]
#[must_use = "it shows nothing unless its router is served"]
pub struct Admin {
    began: Instant,
    targets: Vec<(Arc<str>, Target, Seen)>,
    timeline: Timeline,
    writable: bool,
    token: Option<Arc<str>>,
    hosts: Vec<Box<str>>,
    metrics: Option<Router>,
    live: Option<Ask>,
    ready: Option<Ask>,
    closed: Arc<watch::Sender<bool>>,
}

/// Answers a question about health.
pub(crate) type Ask = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync>;

fn ask<F, Fut>(ask: F) -> Ask
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoResponse> + Send + 'static,
{
    Arc::new(move || {
        let asked = ask();
        Box::pin(async move { asked.await.into_response() })
    })
}

impl Admin {
    /// Shows nothing yet.
    pub fn new() -> Self {
        Admin {
            began: Clock::now(),
            targets: Vec::new(),
            timeline: Timeline::default(),
            writable: false,
            token: None,
            hosts: Vec::new(),
            metrics: None,
            live: None,
            ready: None,
            closed: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Shows a client or a server, under this name: a [`Target`], or with the facade a `&Client` or a `&Server`.
    pub fn target(mut self, name: impl Into<Arc<str>>, target: impl Into<Target>) -> Self {
        self.targets.push((name.into(), target.into(), Seen::default()));
        self
    }

    /// Whether breakers can be opened and closed by hand here. By default nothing can be changed.
    pub fn writable(mut self, writable: bool) -> Self {
        self.writable = writable;
        self
    }

    /// Answers only who sends `authorization: Bearer <token>`. A browser is asked for it once by the console, which keeps it
    /// for the tab. The page itself, which shows nothing of its own, and the answers of `/health` are for all.
    pub fn token(mut self, token: impl Into<Arc<str>>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Answers under this name too while there is no token: the host of the URL under which an app of yours serves the
    /// router, without the port. `localhost` and addresses are answered in any case, other names are not: a page of
    /// somebody else's can have its own name point to this machine. Can be used more than once.
    pub fn host(mut self, name: impl Into<Box<str>>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// Serves this at `/metrics`: a router whose `/` tells metrics.
    pub fn metrics(mut self, metrics: Router) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Answers `/health/live` and `/health/ready` by checks of your own: with what a [`Health`] of the facade says, for
    /// example.
    ///
    /// Without this, the first one says that the process answers, and the second one that all servers take calls which
    /// [tell](Target::server_state); while one of them drains or has not begun, it is 503. `ready` is asked only when they do: it cannot
    /// call back what a drain has sent away.
    ///
    /// ```
    /// use towpath_admin::Admin;
    /// let admin = Admin::new().health(async || "alive", async || (axum::http::StatusCode::SERVICE_UNAVAILABLE, "warming up"));
    /// # drop(admin);
    /// ```
    ///
    /// [`Health`]: https://docs.rs/towpath-health
    pub fn health<L, LF, R, RF>(mut self, live: L, ready: R) -> Self
    where
        L: Fn() -> LF + Send + Sync + 'static,
        LF: Future<Output: IntoResponse> + Send + 'static,
        R: Fn() -> RF + Send + Sync + 'static,
        RF: Future<Output: IntoResponse> + Send + 'static,
    {
        (self.live, self.ready) = (Some(ask(live)), Some(ask(ready)));
        self
    }

    /// All that is seen at this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.look();
        Snapshot {
            at_ms: now_ms(),
            up_ms: Clock::now().saturating_duration_since(self.began).as_millis() as u64,
            writable: self.writable,
            metrics: self.metrics.is_some(),
            targets: self.targets.iter().map(|(name, target, _)| target.view(name)).collect(),
            events: self.timeline.newest(),
        }
    }

    /// Looks once a second at what happens (breakers opened, endpoints ejected, limits that refuse), until this is
    /// [closed](Self::close), so that the time line knows of it when somebody comes. [`Serving::until`](crate::Serving::until) does it;
    /// where an app of yours serves the router, spawn it. Without it, only what happens while somebody looks is known, and what a
    /// [`Recorder`] has heard of: the last 256 times that a breaker opened or closed, an endpoint was ejected or returned, or
    /// panic began or ended.
    pub async fn watch(&self) {
        let mut closed = self.closed();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = closed.wait_for(|closed| *closed) => return,
                _ = ticks.tick() => self.look(),
            }
        }
    }

    fn look(&self) {
        let (now, at_ms) = (Clock::now(), now_ms());
        for (name, target, seen) in &self.targets {
            self.timeline
                .look(seen, now, at_ms, target.recorded().map(Recorder::heard), || target.look(name));
        }
    }

    pub(crate) fn events(&self) -> Vec<EventView> {
        self.look();
        self.timeline.newest()
    }

    /// What was decided about a call, if one of the targets has kept it.
    pub fn explain(&self, trace_id: &str) -> Vec<Explanation> {
        let of = |(name, target, _): &(Arc<str>, Target, Seen)| {
            let found = target.recorded()?.explain(trace_id)?;
            Some(Explanation { target: name.to_string(), ..(*found).clone() })
        };
        self.targets.iter().filter_map(of).collect()
    }

    /// The router, to be nested into any app. The app's server is to end what streams when it ends: see
    /// [`close`](Self::close).
    pub fn router(&self) -> Router {
        http::router(self)
    }

    /// Ends the streams of `/events`, now and later, so that a server which waits for all answers to be complete can end.
    /// (Without this they end within a minute, and browsers come back.)
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    pub(crate) fn force(&self, target: &str, breaker: &str, force: Force) -> bool {
        let found = self.targets.iter().filter(|(name, ..)| **name == *target);
        found.fold(false, |done, (_, target, _)| target.force(breaker, force) || done)
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    pub(crate) fn has_token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(crate) fn knows(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }

    pub(crate) fn metrics_router(&self) -> Option<Router> {
        self.metrics.clone()
    }

    /// The worst of the servers that tell: what keeps this process from being ready.
    pub(crate) fn servers(&self) -> Option<ServerState> {
        self.targets.iter().filter_map(|(_, target, _)| target.told()).max()
    }

    pub(crate) fn asks(&self) -> (Option<Ask>, Option<Ask>) {
        (self.live.clone(), self.ready.clone())
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin::new()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.targets.iter().map(|(name, ..)| &**name).collect();
        f.debug_struct("Admin")
            .field("targets", &names)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}
