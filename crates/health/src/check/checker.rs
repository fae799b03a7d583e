//! Active checks, as a handle.

use super::{
    drive,
    shared::{By, Observer, Shared},
    through::Checked,
};
use crate::{
    config::HealthConfig,
    event::{EndpointHealth, HealthCounts, HealthEvent},
    probe::{Probe, Prober},
};
use std::{fmt, sync::Arc};
use towpath_core::{Discover, Endpoint, EndpointId, Live, Observe};

/// Probes endpoints, and writes into the [state](towpath_core::EndpointState) of each whether it is healthy. Clones are
/// the same.
///
/// It follows the endpoints that go [`through`](Self::through) it to a balancer, or those that it is [told of](Self::add) by
/// hand. One that is removed, or gone, is not probed any more. When the last clone and the last [`Checked`] are dropped, all
/// probes end. An endpoint that is not probed any more is not unhealthy any more either: nobody would find out
/// that it has recovered.
///
/// The probes of many endpoints are spread over the interval, and no more are under way at a time than the config
/// says. They are made by tasks on the runtime in which the first endpoint came.
///
/// ```
/// use towpath_core::{Endpoint, Fixed};
/// use towpath_health::{HealthChecker, PingProbe};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let checker = HealthChecker::new(PingProbe::new());
/// // What a balancer is given, instead of the stream itself.
/// let checked = checker.through(Fixed::new([Endpoint::new("mcp://127.0.0.1:1")]));
/// tokio::spawn(checked.run());
/// tokio::time::sleep(std::time::Duration::from_secs(30)).await;
///
/// let [one] = &checker.endpoints()[..] else { unreachable!() };
/// assert!(!one.healthy && one.endpoint.state().is_unhealthy());
/// # }
/// ```
#[derive(Clone)]
pub struct HealthChecker(Arc<Interest>);

/// Keeps the tasks going; when the last one is dropped, they end.
struct Interest(Arc<Shared>);

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Settings of a [`HealthChecker`].
#[must_use = "a builder does nothing unless it is built"]
pub struct HealthCheckerBuilder {
    prober: Box<dyn Prober>,
    live: Live<HealthConfig>,
    observe: Observer,
}

impl HealthChecker {
    /// A checker that asks by clones of this, with the default [config](HealthConfig).
    pub fn new(probe: impl Probe) -> Self {
        HealthChecker::builder(probe).build()
    }

    /// One with other settings.
    pub fn builder(probe: impl Probe) -> HealthCheckerBuilder {
        HealthCheckerBuilder { prober: Box::new(probe), live: Live::default(), observe: Arc::new(()) }
    }

    /// Has an endpoint checked until it is [removed](Self::remove) or gone; or describes one anew that is checked
    /// already.
    pub fn add(&self, endpoint: Endpoint) {
        self.insert(&endpoint, By::Hand);
    }

    /// Ends what [`add`](Self::add) began. Says whether the endpoint was checked; it still is if it came through a
    /// stream as well.
    pub fn remove(&self, id: EndpointId) -> bool {
        self.take(id, By::Hand)
    }

    /// Passes a stream of changes on, and has the endpoints checked for as long as they are in the set and the stream is
    /// held.
    ///
    /// It stands between discovery and whoever follows the endpoints, most often a balancer, since the endpoints that a
    /// stream tells of may be its own: those of another stream of the same name may have another state.
    pub fn through<D: Discover>(&self, discover: D) -> Checked<D> {
        Checked::new(self.clone(), discover)
    }

    /// How all endpoints are doing, by id.
    pub fn endpoints(&self) -> Vec<EndpointHealth> {
        self.0.0.all()
    }

    /// How one is doing, if it is checked.
    pub fn endpoint(&self, id: EndpointId) -> Option<EndpointHealth> {
        self.0.0.find(id)
    }

    /// All of them counted.
    pub fn counts(&self) -> HealthCounts {
        self.0.0.counts()
    }

    /// The settings, to be replaced while it runs. Probes that are under way end as they began.
    pub fn config(&self) -> &Live<HealthConfig> {
        &self.0.0.live
    }

    pub(super) fn insert(&self, endpoint: &Endpoint, by: By) {
        self.0.0.add(endpoint, by);
        drive::start(&self.0.0);
    }

    pub(super) fn take(&self, id: EndpointId, by: By) -> bool {
        self.0.0.remove(id, by)
    }

    /// Starts the tasks again if their runtime has ended.
    pub(super) fn keep_going(&self) {
        drive::start(&self.0.0);
    }
}

impl fmt::Debug for HealthChecker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthChecker").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl HealthCheckerBuilder {
    /// How often, and how many failures: a value, or one that can be replaced.
    pub fn config(mut self, config: impl Into<Live<HealthConfig>>) -> Self {
        self.live = config.into();
        self
    }

    /// Who hears of what happens. It is called by the task of a probe, and must neither block nor panic.
    pub fn observe(mut self, observe: impl Observe<HealthEvent> + Send + Sync + 'static) -> Self {
        self.observe = Arc::new(observe);
        self
    }

    /// The checker.
    pub fn build(self) -> HealthChecker {
        let HealthCheckerBuilder { prober, live, observe } = self;
        HealthChecker(Arc::new(Interest(Arc::new(Shared::new(prober, live, observe)))))
    }
}

impl fmt::Debug for HealthCheckerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthCheckerBuilder").field("config", &self.live).finish_non_exhaustive()
    }
}
