//! The shop: four services, their replicas, their books, and the connections between them.

use super::{
    args::Policies,
    books::{OrderBook, PointsBook, StockBook},
    faults::{Conditioned, Conditions, Plan, Service},
    policy::{self, Counts, Patience, Peer},
    replica::Replica,
    services::{self, Books, InventoryFault, OrderFault, PointsFault, UserFault},
};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};
use tower::Layer as _;
use towpath::{BoxError, Fault, Router, limit::AdmissionHandle};

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
}

impl Shop {
    /// Starts all replicas on free loopback ports and connects them.
    pub(crate) async fn open(setup: Setup) -> Result<Self, BoxError> {
        let Setup { stock, customers, policies, plan, seed } = setup;
        let stock = Arc::new(StockBook::new(stock));
        let orders = Arc::new(OrderBook::default());
        let points = Arc::new(PointsBook::default());
        let counts = Arc::new(Counts::default());
        let start = Start { plan, seed, policies };

        let user = services::user(Arc::new(customers));
        let user = start.service(Service::User, || UserFault::Busy.into(), |_| Ok(user.clone())).await?;
        let inventory = services::inventory(stock.clone());
        let inventory = start
            .service(Service::Inventory, || InventoryFault::Busy.into(), |_| Ok(inventory.clone()))
            .await?;
        let router = services::points(points.clone());
        let points_service =
            start.service(Service::Points, || PointsFault::Busy.into(), |_| Ok(router.clone())).await?;

        let peer = |places: &[Place], patience| {
            let addresses: Vec<SocketAddr> = places.iter().map(|place| place.replica.address()).collect();
            Peer::connect(&addresses, policies, patience, counts.clone())
        };
        let mut inner = Vec::new();
        let order = |_| {
            let books = Arc::new(Books {
                orders: orders.clone(),
                users: peer(&user, INNER)?,
                inventory: peer(&inventory, INNER)?,
                points: peer(&points_service, INNER)?,
            });
            inner.push(books.clone());
            Ok(services::order(books))
        };
        let order = start.service(Service::Order, || OrderFault::Busy.into(), order).await?;
        let order_service = peer(&order, OUTER)?;
        order_service.ready().await?;
        for books in inner {
            for peer in [&books.users, &books.inventory, &books.points] {
                peer.ready().await?;
            }
        }
        let places = [user, order, inventory, points_service];
        Ok(Shop { places, stock, orders, points, counts, order_service })
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

struct Start {
    plan: Plan,
    seed: u64,
    policies: Policies,
}

impl Start {
    async fn service(
        &self,
        service: Service,
        transient: fn() -> Fault,
        mut router: impl FnMut(usize) -> Result<Router, BoxError>,
    ) -> Result<Vec<Place>, BoxError> {
        let knobs = self.plan[service];
        let mut places = Vec::with_capacity(REPLICAS);
        for number in 0..REPLICAS {
            let seed = self.seed.wrapping_add((service as usize * REPLICAS + number) as u64 + 1);
            let conditions = Conditions::new(knobs.slow_factor, knobs.transient_rate, transient, seed);
            let conditions = Arc::new(conditions);
            let conditioned = Conditioned { router: router(number)?, conditions: conditions.clone() };
            let guard = policy::of_servers(self.policies)?;
            let replica = Replica::start(guard.layer(conditioned)).await?;
            places.push(Place { replica, conditions, admission: guard.handles().admission });
        }
        Ok(places)
    }
}
