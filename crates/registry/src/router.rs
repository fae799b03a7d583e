//! The methods of a server.

use crate::{
    Registry, RegistryFault,
    book::{Listing, Seen},
    registry::LeaseId,
    wire::{self, Answer, Deregistered, Leased, OfLease, Services, check_service},
};
use std::{sync::Arc, time::Duration};
use towpath_core::{Clock, Context, Fault};
use towpath_discover::Instance;
use towpath_transport::router::{Handler, Json, Router, State};

/// Of the time that a caller has left, a watch waits for so much: the answer has to get there.
const SHARE: f64 = 0.8;

pub(crate) fn router(registry: Registry) -> Router {
    Router::new()
        .route(wire::REGISTER, register.idempotent())
        .route(wire::HEARTBEAT, heartbeat.idempotent())
        .route(wire::DEREGISTER, deregister.idempotent())
        .route(wire::LIST, list.idempotent())
        .route(wire::WATCH, watch.idempotent())
        .route(wire::SERVICES, services.idempotent())
        .with_state(registry)
}

async fn register(
    State(registry): State<Registry>,
    Json(ask): Json<wire::Register>,
) -> Result<Json<Leased>, Fault> {
    // A lease that it does not have any more is none.
    let held: Option<LeaseId> = ask.lease.and_then(|lease| lease.parse().ok());
    let lease = registry.register(ask.service, Instance::from(ask.instance), held.as_ref())?;
    Ok(Json(leased(&registry, &lease)))
}

async fn heartbeat(
    State(registry): State<Registry>,
    Json(ask): Json<OfLease>,
) -> Result<Json<Leased>, Fault> {
    let lease = ask.lease.parse()?;
    registry.heartbeat(&lease)?;
    Ok(Json(leased(&registry, &lease)))
}

async fn deregister(State(registry): State<Registry>, Json(ask): Json<OfLease>) -> Json<Deregistered> {
    let found = ask.lease.parse().is_ok_and(|lease| registry.deregister(&lease));
    Json(Deregistered { found })
}

async fn list(State(registry): State<Registry>, Json(ask): Json<wire::List>) -> Result<Json<Answer>, Fault> {
    check(&ask.service)?;
    Ok(Json(registry.listing(&ask.service).into()))
}

async fn watch(
    State(registry): State<Registry>,
    context: Context,
    Json(ask): Json<wire::Watch>,
) -> Result<Json<Answer>, Fault> {
    check(&ask.service)?;
    let wait = Duration::from_millis(ask.wait_ms);
    let left = context.remaining(Clock::now()).map_or(wait, |left| left.mul_f64(SHARE));
    let since = Seen { epoch: ask.epoch.into(), index: ask.index, complete: ask.complete };
    let listing = registry.watch(&ask.service, &since, wait.min(left)).await?;
    Ok(Json(listing.into()))
}

async fn services(State(registry): State<Registry>) -> Json<Services> {
    Json(Services { services: registry.services(), complete: registry.is_complete() })
}

fn check(service: &Arc<str>) -> Result<(), Fault> {
    check_service(service).map_err(|why| RegistryFault::Invalid.fault_with(why))
}

fn leased(registry: &Registry, lease: &LeaseId) -> Leased {
    let config = registry.config().get();
    // At most a hundred hours, as checked when it was made.
    let ms = |time: Duration| time.as_millis() as u64;
    Leased { lease: lease.to_string(), heartbeat_ms: ms(config.heartbeat()), lease_ms: ms(config.lease()) }
}

impl From<Listing> for Answer {
    fn from(listing: Listing) -> Self {
        let Listing { seen: Seen { epoch, index, complete }, full, instances, removed } = listing;
        let instances = instances.iter().map(Into::into).collect();
        Answer { epoch: epoch.to_string(), index, complete, full, instances, removed }
    }
}
