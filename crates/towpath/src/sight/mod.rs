//! What others see of calls: traces, metrics; and what a client knows of itself, for who looks at it.

#[cfg(feature = "admin")]
mod admin;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "no_metrics.rs"]
mod metrics;
mod trace;

pub(crate) use metrics::{ClientCounting, ServerCounting};
#[cfg(feature = "metrics")]
pub use metrics::{ClientMetrics, ServerMetrics, observe_registry};
pub(crate) use trace::Whereabouts;
pub use trace::{ClientTrace, ServerTrace, Tracing};

use crate::{
    policies::{ClientHandles, ClientStack, ServerHandles},
    route::{ClusterSettings, Route},
};
use std::any::type_name;
use towpath_health::Readiness;
use towpath_timeout::TimeoutConfig;

/// What a client knows of itself: written down by its builder.
#[derive(Clone, Default)]
#[cfg_attr(not(feature = "admin"), allow(dead_code))]
pub(crate) struct Sight {
    /// The types of its layers, from outside to inside.
    pub(crate) layers: Vec<&'static str>,
    pub(crate) policies: Option<ClientHandles>,
    /// Whether each endpoint has a breaker.
    pub(crate) endpoint_breaker: bool,
    pub(crate) timeout: Option<TimeoutConfig>,
    #[cfg(feature = "admin")]
    pub(crate) recorder: Option<towpath_admin::Recorder>,
    /// Of policies that nobody has been told of yet.
    #[cfg(feature = "admin")]
    pub(crate) ears: Option<crate::policies::ClientEars>,
}

impl Sight {
    /// There are policies.
    pub(crate) fn policies(&mut self, stack: &ClientStack, endpoint_breaker: bool) {
        (self.policies, self.endpoint_breaker) = (Some(stack.handles()), endpoint_breaker);
        #[cfg(feature = "admin")]
        {
            self.ears = Some(stack.ears().clone());
            self.listen();
        }
    }

    /// Endpoints are to be seen.
    pub(crate) fn cluster(&self, mut settings: ClusterSettings) -> ClusterSettings {
        #[cfg(feature = "admin")]
        self.hears(&mut settings);
        #[cfg(not(feature = "admin"))]
        let _ = &mut settings;
        settings
    }

    pub(crate) fn layer<M>(&mut self) {
        self.layers.push(type_name::<M>());
    }

    /// Two more: around those that were put in before, and below them.
    pub(crate) fn around<M, N>(&mut self) {
        self.layers.insert(0, type_name::<M>());
        self.layers.push(type_name::<N>());
    }

    /// The client is made.
    pub(crate) fn built(&mut self, timeout: Option<TimeoutConfig>, route: Option<&Route>) {
        self.timeout = timeout;
        #[cfg(feature = "admin")]
        self.follow(route);
        #[cfg(not(feature = "admin"))]
        let _ = route;
    }
}

/// What a server knows of itself: written down by its builder.
#[derive(Clone, Default)]
#[cfg_attr(not(feature = "admin"), allow(dead_code))]
pub(crate) struct ServerSight {
    /// The types of its layers, from outside to inside.
    pub(crate) layers: Vec<&'static str>,
    pub(crate) policies: Option<ServerHandles>,
    /// Follows the server, if somebody looks at it.
    pub(crate) readiness: Option<Readiness>,
    #[cfg(feature = "admin")]
    pub(crate) recorder: Option<towpath_admin::Recorder>,
}

impl ServerSight {
    /// The server is bound. Each one has a readiness of its own, also where a builder makes several.
    pub(crate) fn bound(&mut self) -> Option<Readiness> {
        #[cfg(feature = "admin")]
        if self.recorder.is_some() {
            self.readiness = Some(Readiness::starting());
        }
        self.readiness.clone()
    }
}
