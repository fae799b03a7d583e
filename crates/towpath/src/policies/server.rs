//! What a server does about too much work, and about the same work twice.

use super::{
    Boxed, Maybe,
    ears::{Ears, ServerEars},
    maybe::Optional,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use tower_layer::Layer;
use tower_service::Service;
use towpath_core::{BoxError, DefaultClassify, FromContext, Request, Response};
use towpath_dedupe::{DedupeConfig, DedupeEvent, DedupeHandle, DedupeLayer, Detached};
use towpath_limit::{
    AdmissionConfig, AdmissionHandle, AdmissionLayer, LimitEvent, RateConfig, RateHandle, RateLimitLayer,
};
use towpath_timeout::{EnoughTimeConfig, EnoughTimeHandle, EnoughTimeLayer, TooLittleLeft};

/// What a server does about too much work, and about work that comes too late, as plain values: see the
/// [module](super) for what stands where.
///
/// What is `None` is left out. By default there is admission alone: it lets in what the service can take, finds
/// out how much that is, and refuses the rest (MCP-W-103) before anything is done for it, the lowest priority first. In
/// a file, what is not named has its default, and `null` leaves a policy out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ServerPolicies {
    /// How many calls are let in, by priority.
    pub admission: Option<AdmissionConfig>,
    /// How many calls in how long, whoever makes them.
    pub rate: Option<RateConfig>,
    /// Which calls have too little time left to be begun.
    pub enough_time: Option<EnoughTimeConfig>,
    /// Which calls are repetitions, by their idempotency key, and are answered with the first answer. A call that
    /// has a key is made on a task of its own, which goes on when its caller gives up.
    pub dedupe: Option<DedupeConfig>,
}

impl Default for ServerPolicies {
    /// [`AdmissionConfig::default`].
    fn default() -> Self {
        ServerPolicies { admission: Some(AdmissionConfig::default()), ..ServerPolicies::none() }
    }
}

impl ServerPolicies {
    /// None of them.
    pub fn none() -> Self {
        ServerPolicies { admission: None, rate: None, enough_time: None, dedupe: None }
    }

    /// Puts them together.
    pub fn stack(self) -> ServerStack {
        let ServerPolicies { admission, rate, enough_time, dedupe } = self;
        let ears = ServerEars::default();
        ServerStack {
            admission: admission.map(|config| {
                let admission = AdmissionLayer::new(config).honour_context();
                admission.classify(DefaultClassify::new()).observe(ears.admission.clone())
            }),
            rate: rate.map(|config| RateLimitLayer::new(config).honour_context().observe(ears.rate.clone())),
            enough_time: enough_time
                .map(|config| EnoughTimeLayer::new(config).observe(ears.enough_time.clone())),
            dedupe: dedupe.map(|config| DedupeLayer::new(config).detached().observe(ears.dedupe.clone())),
            ears,
        }
    }
}

type Admission = AdmissionLayer<FromContext, DefaultClassify, (), Ears<LimitEvent>>;
type Rate = RateLimitLayer<(), FromContext, (), Ears<LimitEvent>>;
type EnoughTime = EnoughTimeLayer<(), (), Ears<TooLittleLeft>>;
type Repeats = DedupeLayer<Response, Detached, (), DefaultClassify, (), Ears<DedupeEvent>>;

/// A service with a server's policies around it.
pub type Guarded<S> = Optional<Admission, Optional<Rate, Optional<EnoughTime, Optional<Repeats, Boxed<S>>>>>;

/// A server's policies, put together: a layer. The services that it makes share all state.
#[derive(Clone)]
pub struct ServerStack {
    admission: Option<Admission>,
    rate: Option<Rate>,
    enough_time: Option<EnoughTime>,
    dedupe: Option<Repeats>,
    ears: ServerEars,
}

/// What can be seen of a server's policies, and changed, while they run; each is there if the policy is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerHandles {
    /// How many calls are let in.
    pub admission: Option<AdmissionHandle>,
    /// Calls in a time.
    pub rate: Option<RateHandle>,
    /// What was refused because it had too little time.
    pub enough_time: Option<EnoughTimeHandle>,
    /// What is kept of calls with an idempotency key.
    pub dedupe: Option<DedupeHandle<Response>>,
}

impl ServerStack {
    /// What can be seen and changed while they run.
    pub fn handles(&self) -> ServerHandles {
        ServerHandles {
            admission: self.admission.as_ref().map(Admission::handle),
            rate: self.rate.as_ref().map(Rate::handle),
            enough_time: self.enough_time.as_ref().map(EnoughTime::handle),
            dedupe: self.dedupe.as_ref().map(Repeats::handle),
        }
    }

    /// Who hears what they decide: more can be added while they run.
    pub fn ears(&self) -> &ServerEars {
        &self.ears
    }
}

impl From<ServerPolicies> for ServerStack {
    fn from(policies: ServerPolicies) -> Self {
        policies.stack()
    }
}

impl<S> Layer<S> for ServerStack
where
    S: Service<Request>,
    S::Error: Into<BoxError>,
{
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        let inner =
            Maybe::around(self.enough_time.as_ref(), Maybe::around(self.dedupe.as_ref(), Boxed(inner)));
        Maybe::around(self.admission.as_ref(), Maybe::around(self.rate.as_ref(), inner))
    }
}

impl fmt::Debug for ServerStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerStack").field("handles", &self.handles()).finish()
    }
}
