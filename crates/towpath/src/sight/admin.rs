//! Clients and servers, as the admin interface looks at them.

use super::{ServerSight, Sight};
use crate::{
    Client, ClientBuilder, Server, ServerBuilder,
    policies::{ClientHandles, ClientStack, ServerHandles, ServerStack},
    route::{ClusterSettings, Kind, Route},
};
use std::{any::type_name, sync::Arc};
use tower_layer::Stack;
use towpath_admin::{AttemptsLayer, CallsLayer, EndpointHandles, Per, Recorder, ServerState, Step, Target};
use towpath_health::ReadyState;

/// The layers of a stack, recorded as calls and as attempts.
type Recorded<L> = Stack<AttemptsLayer, Stack<L, CallsLayer>>;

impl<L> ClientBuilder<L> {
    /// Records the calls for the [admin](crate::admin) interface: around the layers that were put in before this, and the
    /// attempts below them. So it is said after the policies, and before layers of your own that belong to the
    /// connection.
    ///
    /// ```
    /// use towpath::{Client, ClientPolicies, admin::{Admin, Recorder}};
    ///
    /// # fn main() -> Result<(), towpath::Error> {
    /// let client = Client::builder()
    ///     .policies(ClientPolicies::default())
    ///     .admin(Recorder::default())
    ///     .connect_lazy("mcp://10.0.0.7:8080,10.0.0.8:8080")?;
    /// let admin = Admin::new().target("orders", &client);
    /// let app: axum::Router = axum::Router::new().nest("/admin", admin.router());
    /// assert!(admin.snapshot().targets[0].warnings.is_empty());
    /// # drop(app);
    /// # Ok(())
    /// # }
    /// ```
    pub fn admin(self, recorder: Recorder) -> ClientBuilder<Recorded<L>> {
        let ClientBuilder { mut settings, layer } = self;
        let layer = Stack::new(recorder.attempts(), Stack::new(layer, recorder.calls()));
        settings.sight.around::<CallsLayer, AttemptsLayer>();
        settings.sight.recorder = Some(recorder);
        settings.sight.listen();
        ClientBuilder { settings, layer }
    }
}

impl Sight {
    /// Has the recorder hear of breakers, where both are known.
    pub(super) fn listen(&mut self) {
        if let (Some(recorder), Some(ears)) = (&self.recorder, &self.ears) {
            ears.breakers.add(recorder.clone());
            self.ears = None;
        }
    }

    /// Has the recorder hear of endpoints.
    pub(super) fn hears(&self, settings: &mut ClusterSettings) {
        if let Some(recorder) = self.recorder.clone() {
            settings.observe = Arc::new((settings.observe.clone(), recorder));
        }
    }

    /// Has the recorder know where calls go.
    pub(super) fn follow(&self, route: Option<&Route>) {
        if let (Some(recorder), Some(Route(Kind::Many(cluster)))) = (&self.recorder, route) {
            recorder.follow(cluster.handle().clone());
        }
    }

    fn steps(&self, route: Option<&Route>) -> Vec<Step> {
        let timeout = self.timeout.iter().map(|config| {
            Step::new("DeadlineLayer")
                .about(format!("{:?} for a call that brings no deadline", config.timeout()))
        });
        let layers = self.layers.iter().flat_map(|name| match (&self.policies, *name) {
            (Some(policies), name) if name == type_name::<ClientStack>() => of_policies(policies),
            (_, name) => Step::of_type(name),
        });
        let route = route.into_iter().flat_map(|Route(kind)| match kind {
            Kind::One(_) => vec![Step::new("Pool").per(Per::Endpoint)],
            Kind::Many(_) => {
                let breaker =
                    self.endpoint_breaker.then(|| Step::new("BreakerLayer").about("of each endpoint"));
                let balance = Step::new("Balance").about("picks an endpoint");
                let below = breaker.into_iter().chain([Step::new("Pool")]);
                [balance].into_iter().chain(below.map(|step| step.per(Per::Endpoint))).collect()
            }
        });
        timeout.chain(layers).chain(route).collect()
    }
}

/// From outside to inside, as [`ClientStack`] puts them.
fn of_policies(policies: &ClientHandles) -> Vec<Step> {
    let ClientHandles { admission, breakers, retry, concurrency, rate } = policies;
    [
        admission.is_some().then(|| Step::new("AdmissionLayer")),
        breakers.is_some().then(|| Step::new("BreakerLayer").about("of each method")),
        retry.as_ref().map(|retry| {
            let attempts = retry.config().get().max_attempts();
            Step::new("RetryLayer").about(format!("up to {attempts} attempts"))
        }),
        concurrency.is_some().then(|| Step::new("ConcurrencyLimitLayer")),
        rate.is_some().then(|| Step::new("RateLimitLayer")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All that there is to see of it. The target does not keep the client alive, but for what it has in common with it.
impl From<&Client> for Target {
    fn from(client: &Client) -> Self {
        let sight = &client.inner.sight;
        let mut target = Target::client().stack(sight.steps(client.inner.route.as_ref()));
        if let Some(recorder) = &sight.recorder {
            target = target.recorder(recorder.clone());
        }
        if let Some(endpoints) = client.endpoints() {
            target = target.endpoints(endpoints);
        }
        if let Some(Route(Kind::Many(cluster))) = &client.inner.route {
            let around = cluster.around().clone();
            target = target.around(move || {
                let handles = around.all().into_iter();
                handles
                    .map(|one| EndpointHandles {
                        endpoint: one.endpoint,
                        pool: one.pool,
                        breaker: one.breaker,
                    })
                    .collect()
            });
        }
        if let Some(pool) = client.pool() {
            target = target.pool(pool);
        }
        let Some(policies) = client.policies() else { return target };
        let ClientHandles { admission, breakers, retry, concurrency, rate } = policies.clone();
        if let Some(breakers) = breakers {
            target = target.breakers(breakers);
        }
        if let Some(retry) = retry {
            target = target.retry(retry);
        }
        with_limits(target, admission, concurrency, rate)
    }
}

impl<L> ServerBuilder<L> {
    /// Records the calls for the [admin](crate::admin) interface: around the layers that were put in before this, so that
    /// what they refuse is seen. From then on the server tells whether it takes calls, as the interface's
    /// `/health/ready` does.
    ///
    /// ```
    /// use towpath::{Server, ServerPolicies, admin::{Admin, Recorder}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let server = Server::builder()
    ///     .policies(ServerPolicies::default())
    ///     .admin(Recorder::default())
    ///     .bind("127.0.0.1:0")
    ///     .await?;
    /// let admin = Admin::new().target("orders", &server);
    /// assert_eq!(admin.snapshot().targets[0].state, "starting", "it is not served yet");
    /// # Ok(())
    /// # }
    /// ```
    pub fn admin(mut self, recorder: Recorder) -> ServerBuilder<Stack<L, CallsLayer>> {
        let layer = recorder.calls();
        self.sight().recorder = Some(recorder);
        self.around(layer)
    }
}

impl ServerSight {
    fn steps(&self) -> Vec<Step> {
        let of_layer = |name: &&'static str| match &self.policies {
            Some(policies) if *name == type_name::<ServerStack>() => of_server_policies(policies),
            _ => Step::of_type(name),
        };
        self.layers.iter().flat_map(of_layer).collect()
    }
}

/// From outside to inside, as [`ServerStack`] puts them.
fn of_server_policies(policies: &ServerHandles) -> Vec<Step> {
    let ServerHandles { admission, rate, enough_time, dedupe } = policies;
    let steps = [
        admission.is_some().then(|| Step::new("AdmissionLayer")),
        rate.is_some().then(|| Step::new("RateLimitLayer")),
        enough_time.is_some().then(|| Step::new("EnoughTimeLayer")),
        dedupe.is_some().then(|| Step::new("DedupeLayer")),
    ];
    steps.into_iter().flatten().collect()
}

/// All that there is to see of it: to be taken before it is served. The target does not keep the server alive.
impl<L> From<&Server<L>> for Target {
    fn from(server: &Server<L>) -> Self {
        let sight = &server.sight;
        let mut target = Target::server().stack(sight.steps());
        if let Some(recorder) = &sight.recorder {
            target = target.recorder(recorder.clone());
        }
        if let Some(readiness) = sight.readiness.clone() {
            target = target.server_state(move || match readiness.state() {
                ReadyState::Ready => ServerState::Serving,
                ReadyState::NotReady => ServerState::Starting,
                ReadyState::Draining => ServerState::Draining,
            });
        }
        let Some(policies) = &sight.policies else { return target };
        with_limits(target, policies.admission.clone(), None, policies.rate.clone())
    }
}

/// The policies of a server: to be completed with its stack and its recorder. Where [`ServerBuilder::admin`] can be
/// said, `&Server` has both.
impl From<&ServerHandles> for Target {
    fn from(policies: &ServerHandles) -> Self {
        let target = Target::server().stack(of_server_policies(policies));
        with_limits(target, policies.admission.clone(), None, policies.rate.clone())
    }
}

fn with_limits(
    mut target: Target,
    admission: Option<towpath_limit::AdmissionHandle>,
    concurrency: Option<towpath_limit::ConcurrencyHandle>,
    rate: Option<towpath_limit::RateHandle>,
) -> Target {
    if let Some(admission) = admission {
        target = target.admission(admission);
    }
    if let Some(concurrency) = concurrency {
        target = target.concurrency(concurrency);
    }
    if let Some(rate) = rate {
        target = target.rate(rate);
    }
    target
}
