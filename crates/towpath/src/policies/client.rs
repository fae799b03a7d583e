//! What a client does about failure.

use super::{
    Boxed, Maybe,
    ears::{ClientEars, Ears},
    maybe::Optional,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use tower_layer::Layer;
use tower_service::Service;
use towpath_breaker::{BreakerConfig, BreakerEvent, BreakerLayer, Breakers, ByMethod};
use towpath_core::{BoxError, DefaultClassify, FromContext, Observe, Request};
use towpath_limit::{
    AdmissionConfig, AdmissionHandle, AdmissionLayer, ConcurrencyConfig, ConcurrencyHandle,
    ConcurrencyLimitLayer, LimitEvent, RateConfig, RateHandle, RateLimitLayer,
};
use towpath_retry::{ByClone, RetryConfig, RetryEvent, RetryHandle, RetryLayer};

/// What a client does about failure, as plain values: see the [module](super) for what stands where.
///
/// What is `None` is left out. By default there are the breaker of each method and retry, in their own defaults; in a
/// file, what is not named has its default, and `null` leaves a policy out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientPolicies {
    /// How many calls are let in, by priority.
    pub admission: Option<AdmissionConfig>,
    /// A breaker for each method.
    pub breaker: Option<BreakerConfig>,
    /// A breaker for each endpoint of a client that has many: one that fails gets no calls for a while, as far as the
    /// balancer grants it.
    pub endpoint_breaker: Option<BreakerConfig>,
    /// All attempts of a call.
    pub retry: Option<RetryConfig>,
    /// How many attempts are under way.
    pub concurrency: Option<ConcurrencyConfig>,
    /// How many attempts in how long.
    pub rate: Option<RateConfig>,
}

impl Default for ClientPolicies {
    /// [`BreakerConfig::prompt`] and [`RetryConfig::default`]. The others depend on the service that is called.
    fn default() -> Self {
        ClientPolicies {
            breaker: Some(BreakerConfig::prompt()),
            endpoint_breaker: Some(BreakerConfig::prompt()),
            retry: Some(RetryConfig::default()),
            ..ClientPolicies::none()
        }
    }
}

impl ClientPolicies {
    /// None of them.
    pub fn none() -> Self {
        ClientPolicies {
            admission: None,
            breaker: None,
            endpoint_breaker: None,
            retry: None,
            concurrency: None,
            rate: None,
        }
    }

    /// Puts them together.
    pub fn stack(self) -> ClientStack {
        self.stack_with(DefaultClassify::new())
    }

    /// Puts them together, with an idea of failure that knows the codes of the services that are called
    /// ([`DefaultClassify::declare`]).
    pub fn stack_with(self, classify: DefaultClassify) -> ClientStack {
        let ClientPolicies { admission, breaker, endpoint_breaker, retry, concurrency, rate } = self;
        let ears = ClientEars::default();
        let (of_admission, of_breaker, of_endpoint) = (classify.clone(), classify.clone(), classify.clone());
        ClientStack {
            endpoint_breaker: endpoint_breaker.map(|config| {
                let breaker = BreakerLayer::new(config).honour_context().classify(of_endpoint).as_gate();
                breaker.observe(ears.breakers.clone())
            }),
            classify: classify.clone(),
            admission: admission.map(|config| {
                let admission = AdmissionLayer::new(config).honour_context().classify(of_admission);
                admission.observe(ears.admission.clone())
            }),
            breaker: breaker.map(|config| {
                let breaker = BreakerLayer::new(config).per_method().honour_context().classify(of_breaker);
                breaker.observe(ears.breakers.clone())
            }),
            retry: retry.map(|config| {
                let retry = RetryLayer::new(config).honour_context().classify(classify);
                retry.inner_keeps_deadlines().observe(ears.retry.clone())
            }),
            concurrency: concurrency.map(|config| {
                ConcurrencyLimitLayer::new(config).honour_context().observe(ears.concurrency.clone())
            }),
            rate: rate.map(|config| RateLimitLayer::new(config).honour_context().observe(ears.rate.clone())),
            ears,
        }
    }
}

type Admission = AdmissionLayer<FromContext, DefaultClassify, (), Ears<LimitEvent>>;
/// The breaker of one endpoint: it asks to be ejected, and turns away what comes all the same.
pub(crate) type EndpointBreaker = BreakerLayer<(), DefaultClassify, FromContext>;
type MethodBreaker = BreakerLayer<ByMethod, DefaultClassify, FromContext>;
type Attempts = RetryLayer<(), DefaultClassify, FromContext, ByClone, (), Ears<RetryEvent>>;
type Concurrency = ConcurrencyLimitLayer<FromContext, (), Ears<LimitEvent>>;
type Rate = RateLimitLayer<(), FromContext, (), Ears<LimitEvent>>;

/// A service with a client's policies around it.
pub type Policed<S> = Optional<
    Admission,
    Optional<MethodBreaker, Optional<Attempts, Optional<Concurrency, Optional<Rate, Boxed<S>>>>>,
>;

/// A client's policies, put together: a layer. The services that it makes share all state.
///
/// The service below has to keep the deadline in each request's context, as a connection does; in front of one that
/// does not, put a [`TimeoutLayer`](crate::timeout::TimeoutLayer).
#[derive(Clone)]
pub struct ClientStack {
    admission: Option<Admission>,
    breaker: Option<MethodBreaker>,
    endpoint_breaker: Option<EndpointBreaker>,
    classify: DefaultClassify,
    retry: Option<Attempts>,
    concurrency: Option<Concurrency>,
    rate: Option<Rate>,
    ears: ClientEars,
}

/// What can be seen of a client's policies, and changed, while they run; each is there if the policy is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientHandles {
    /// How many calls are let in.
    pub admission: Option<AdmissionHandle>,
    /// The breakers of all methods.
    pub breakers: Option<Breakers>,
    /// Budget, counts, config.
    pub retry: Option<RetryHandle>,
    /// Attempts under way.
    pub concurrency: Option<ConcurrencyHandle>,
    /// Attempts in a time.
    pub rate: Option<RateHandle>,
}

impl ClientStack {
    /// What can be seen and changed while they run.
    pub fn handles(&self) -> ClientHandles {
        ClientHandles {
            admission: self.admission.as_ref().map(Admission::handle),
            breakers: self.breaker.as_ref().map(MethodBreaker::handle),
            retry: self.retry.as_ref().map(Attempts::handle),
            concurrency: self.concurrency.as_ref().map(Concurrency::handle),
            rate: self.rate.as_ref().map(Rate::handle),
        }
    }

    /// Tells `observe` what the breakers do, those of methods and those of endpoints.
    #[must_use]
    pub fn observe_breakers(
        self,
        observe: impl Observe<BreakerEvent> + Clone + Send + Sync + 'static,
    ) -> Self {
        self.ears.breakers.add(observe);
        self
    }

    /// Who hears what they decide: more can be added while they run.
    pub fn ears(&self) -> &ClientEars {
        &self.ears
    }

    /// What stands around each endpoint.
    pub(crate) fn endpoint_breaker(&self) -> Option<EndpointBreaker> {
        self.endpoint_breaker.clone()
    }

    /// What counts as a failure.
    pub(crate) fn classifier(&self) -> DefaultClassify {
        self.classify.clone()
    }
}

impl From<ClientPolicies> for ClientStack {
    fn from(policies: ClientPolicies) -> Self {
        policies.stack()
    }
}

impl<S> Layer<S> for ClientStack
where
    S: Service<Request> + Clone,
    S::Error: Into<BoxError>,
{
    type Service = Policed<S>;

    fn layer(&self, inner: S) -> Policed<S> {
        let attempt = Maybe::around(self.rate.as_ref(), Boxed(inner));
        let attempt = Maybe::around(self.concurrency.as_ref(), attempt);
        let call = Maybe::around(self.breaker.as_ref(), Maybe::around(self.retry.as_ref(), attempt));
        Maybe::around(self.admission.as_ref(), call)
    }
}

impl fmt::Debug for ClientStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStack").field("handles", &self.handles()).finish()
    }
}
