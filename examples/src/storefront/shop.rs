//! The shop: four services, their replicas, their books, the registry in which they are found, and the calls between
//! them.

use super::{
    args::Policies,
    books::{OrderBook, PointsBook, StockBook},
    faults::{Conditioned, Conditions, Plan, Service},
    policy::{self, Counts, Patience, Peer},
    replica::Replica,
    services::{self, Books, InventoryFault, OrderFault, PointsFault, UserFault},
    watch::Watch,
};
use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, task::AbortHandle};
use tower::{Layer as _, ServiceBuilder};
use towpath::{
    BoxError, Fault, Register, Router, Server,
    admin::Recorder,
    discover::{Directory, Instance},
    limit::AdmissionHandle,
    metrics::MetricsLayer,
    registry::{Registration, Registry},
    sources,
};

/// Replicas of each service.
pub(crate) const REPLICAS: usize = 3;

/// How long the order service waits for another one.
const INNER: Patience =
    Patience { attempt: Duration::from_secs(1), total: Duration::from_secs(4), hedges: true };
/// How long the storefront waits for the order service: longer than that waits for one of the others. A second
/// attempt beside the first would wait for that one: an order has one handler at a time.
const OUTER: Patience =
    Patience { attempt: Duration::from_secs(10), total: Duration::from_secs(30), hedges: false };

/// What the shop is opened with.
pub(crate) struct Setup {
    /// Where its clients and servers are shown, if anybody looks.
    pub(crate) watch: Option<Watch>,
    pub(crate) stock: i64,
    pub(crate) customers: BTreeSet<u64>,
    pub(crate) policies: Policies,
    pub(crate) plan: Plan,
    pub(crate) seed: u64,
}

/// One replica, and what its calls meet.
pub(crate) struct Place {
    pub(crate) replica: Replica,
    pub(crate) conditions: Arc<Conditions>,
    admission: Option<AdmissionHandle>,
    /// One that dies is back before its lease runs out.
    _registered: Registration,
}

/// The shop, open.
pub(crate) struct Shop {
    /// By service, as in [`Service::ALL`].
    pub(crate) places: [Vec<Place>; Service::ALL.len()],
    pub(crate) stock: Arc<StockBook>,
    pub(crate) orders: Arc<OrderBook>,
    pub(crate) points: Arc<PointsBook>,
    pub(crate) counts: Arc<Counts>,
    /// The storefront's own connections to the order service.
    pub(crate) order_service: Peer,
    start: Start,
    /// One more replica for each service; dropped, it takes its leave.
    guests: [Mutex<Option<oneshot::Sender<()>>>; Service::ALL.len()],
    _registry: AbortOnDrop,
}

impl Shop {
    /// Starts the registry and all replicas on free loopback ports, and connects them.
    pub(crate) async fn open(setup: Setup) -> Result<Self, BoxError> {
        let Setup { watch, stock, customers, policies, plan, seed } = setup;
        let stock = Arc::new(StockBook::new(stock));
        let orders = Arc::new(OrderBook::default());
        let points = Arc::new(PointsBook::default());
        let counts = Arc::new(Counts::default());

        let registry = Registry::new();
        let server = Server::builder().bind("127.0.0.1:0").await?;
        let address = server.local_addr();
        let serving = tokio::spawn(server.serve(registry.router()).into_future());
        let directory = Directory::builder().sources(sources()).build();
        let peer = {
            let (counts, watch) = (counts.clone(), watch.clone());
            move |service: Service, patience| {
                let url = format!("registry://{address}/{}", service.name());
                Peer::connect(
                    &url,
                    &directory,
                    policies,
                    patience,
                    counts.clone(),
                    watch.as_ref().map(|watch| (service.name(), watch)),
                )
            }
        };

        let (user, inventory) = (services::user(Arc::new(customers)), services::inventory(stock.clone()));
        let points_router = services::points(points.clone());
        let order = {
            let (orders, peer) = (orders.clone(), peer.clone());
            move || {
                let users = peer(Service::User, INNER)?;
                let inventory = peer(Service::Inventory, INNER)?;
                let points = peer(Service::Points, INNER)?;
                let books = Books { orders: orders.clone(), users, inventory, points };
                Ok(services::order(Arc::new(books)))
            }
        };
        // In the order of `Service::ALL`.
        let routers: [Box<MakeRouter>; Service::ALL.len()] = [
            Box::new(move || Ok(user.clone())),
            Box::new(order),
            Box::new(move || Ok(inventory.clone())),
            Box::new(move || Ok(points_router.clone())),
        ];
        let start = Start { plan, seed, policies, registry, routers, watch };
        let mut places = <[Vec<Place>; Service::ALL.len()]>::default();
        for service in Service::ALL {
            places[service as usize] = start.service(service).await?;
        }
        let order_service = peer(Service::Order, OUTER)?;
        order_service.ready().await?;
        let (guests, _registry) = (Default::default(), AbortOnDrop(serving.abort_handle()));
        Ok(Shop { places, stock, orders, points, counts, order_service, start, guests, _registry })
    }

    /// One more replica of a service comes, if there is none yet. It is a server as towpath makes them: registered while it
    /// serves.
    pub(crate) async fn join(&self, service: usize) -> io::Result<()> {
        let name = Service::ALL[service].name();
        let router = (self.start.routers[service])().map_err(io::Error::other)?;
        let guard = policy::of_servers(self.start.policies).map_err(io::Error::other)?;
        let register = Register::over(self.start.registry.router(), name);
        let server = Server::builder().register(register).bind("127.0.0.1:0").await?;
        let (stay, gone) = oneshot::channel::<()>();
        let serving = server.serve(guard.layer(router)).with_graceful_shutdown(async {
            let _ = gone.await;
        });
        tokio::spawn(serving.into_future());
        *self.guest(service) = Some(stay);
        Ok(())
    }

    /// It takes its leave, and drains.
    pub(crate) fn leave(&self, service: usize) {
        *self.guest(service) = None;
    }

    fn guest(&self, service: usize) -> std::sync::MutexGuard<'_, Option<oneshot::Sender<()>>> {
        self.guests[service].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls that the servers did not let in.
    pub(crate) fn shed(&self) -> u64 {
        let handles = self.places.iter().flatten().filter_map(|place| place.admission.as_ref());
        handles.flat_map(AdmissionHandle::refused).sum()
    }

    /// Calls that met a transient fault on purpose.
    pub(crate) fn transient_faults(&self) -> u64 {
        self.places.iter().flatten().map(|place| place.conditions.failed()).sum()
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type MakeRouter = dyn Fn() -> Result<Router, BoxError> + Send + Sync;

/// What is needed to start a replica.
struct Start {
    plan: Plan,
    seed: u64,
    policies: Policies,
    registry: Registry,
    /// By service: what one replica serves.
    routers: [Box<MakeRouter>; Service::ALL.len()],
    /// Where servers are shown, if anybody looks.
    watch: Option<Watch>,
}

impl Start {
    async fn service(&self, service: Service) -> Result<Vec<Place>, BoxError> {
        let knobs = self.plan[service];
        let transient: fn() -> Fault = match service {
            Service::User => || UserFault::Busy.into(),
            Service::Order => || OrderFault::Busy.into(),
            Service::Inventory => || InventoryFault::Busy.into(),
            Service::Points => || PointsFault::Busy.into(),
        };
        let mut places = Vec::with_capacity(REPLICAS);
        for number in 0..REPLICAS {
            let seed = self.seed.wrapping_add((service as usize * REPLICAS + number) as u64 + 1);
            let conditions = Conditions::new(knobs.slow_factor, knobs.transient_rate, transient, seed);
            let conditions = Arc::new(conditions);
            let router = (self.routers[service as usize])()?;
            let conditioned = Conditioned { router, conditions: conditions.clone() };
            let guard = policy::of_servers(self.policies)?;
            // All are counted. One of each service is shown, as one client of each is.
            let recorder = self.watch.as_ref().filter(|_| number == 0).map(|_| Recorder::default());
            let counted =
                self.watch.as_ref().map(|watch| MetricsLayer::server(watch.metrics(), service.name()));
            let served = ServiceBuilder::new()
                .option_layer(recorder.as_ref().map(Recorder::calls))
                .option_layer(counted)
                .service(guard.layer(conditioned));
            let replica = Replica::start(served).await?;
            if let (Some(watch), Some(recorder)) = (&self.watch, recorder) {
                watch.show_server(service.name(), recorder, &guard, replica.is_up());
            }
            let instance = Instance::new(format!("mcp://{}", replica.address()));
            let registered = Registration::start(self.registry.client(), service.name(), instance)?;
            registered.registered().await?;
            let admission = guard.handles().admission;
            places.push(Place { replica, conditions, admission, _registered: registered });
        }
        Ok(places)
    }
}
