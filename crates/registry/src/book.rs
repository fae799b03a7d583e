//! Who is registered, until when, and what has changed: a pure machine, which is told the time.

use crate::{
    RegistryConfig,
    event::{Happened, RegistryEvent},
    fault::RegistryFault,
    shelf::{Shelf, Since},
    wire::{ServiceSummary, check_service},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use tokio::time::Instant;
use towpath_core::Fault;
use towpath_discover::Instance;

/// All services, all leases.
#[derive(Debug)]
pub(crate) struct Book {
    /// Which registry this is: another one, after a restart, has another number of each change.
    epoch: Arc<str>,
    /// The number of the last change; the first one is 2, so that 0 is before everything there is.
    index: u64,
    /// From when on everybody has had the time to register again.
    complete_at: Instant,
    services: BTreeMap<Arc<str>, Shelf>,
    leases: HashMap<u128, Lease>,
    expiry: BTreeSet<(Instant, u128)>,
    instances: usize,
    /// The last change of a service of which nothing is remembered.
    forgotten: u64,
}

#[derive(Debug)]
struct Lease {
    service: Arc<str>,
    id: Arc<str>,
    until: Instant,
}

/// How far somebody who watches has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) epoch: Arc<str>,
    pub(crate) index: u64,
    pub(crate) complete: bool,
}

/// The instances of a service, or what has changed of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) seen: Seen,
    pub(crate) full: bool,
    pub(crate) instances: Vec<Instance>,
    pub(crate) removed: Vec<Arc<str>>,
}

impl Book {
    pub(crate) fn new(epoch: Arc<str>, complete_at: Instant) -> Self {
        Book {
            epoch,
            index: 1,
            complete_at,
            services: BTreeMap::new(),
            leases: HashMap::new(),
            expiry: BTreeSet::new(),
            instances: 0,
            forgotten: 0,
        }
    }

    /// Takes an instance, or another description of it, under the lease that it has or under `new`. Says under which,
    /// and what happened.
    pub(crate) fn register(
        &mut self,
        service: Arc<str>,
        instance: Instance,
        (held, new): (Option<u128>, u128),
        now: Instant,
        config: &RegistryConfig,
    ) -> Result<(u128, Option<RegistryEvent>), Fault> {
        check_service(&service).map_err(|why| RegistryFault::Invalid.fault_with(why))?;
        instance.check().map_err(|why| RegistryFault::Invalid.fault_with(why.to_string()))?;
        let id = instance.key().clone();
        self.room(&service, &instance, config)?;
        // The name as it is kept already: one text for all.
        let service = self.services.get_key_value(&service).map_or(service, |(known, _)| known.clone());
        let forgotten = self.forgotten;
        let shelf = self.services.entry(service.clone()).or_insert_with(|| Shelf::new(forgotten));
        let before = shelf.get(&id).map(|entry| (entry.lease, entry.instance == instance));
        let (lease, what) = match before {
            None => (new, Some(Happened::Registered)),
            Some((lease, same)) if held == Some(lease) => (lease, (!same).then_some(Happened::Described)),
            Some((lease, _)) => {
                self.end_lease(lease);
                (new, Some(Happened::Replaced))
            }
        };
        let shelf = self.services.entry(service.clone()).or_insert_with(|| Shelf::new(forgotten));
        if before.is_some_and(|(_, same)| same) {
            shelf.set_lease(&id, lease);
        } else {
            self.index += 1;
            shelf.put(instance.clone(), lease, self.index);
        }
        self.instances += usize::from(before.is_none());
        self.end_lease(lease);
        let until = now + config.lease();
        self.leases.insert(lease, Lease { service: service.clone(), id, until });
        self.expiry.insert((until, lease));
        Ok((lease, what.map(|what| RegistryEvent { service, instance, what })))
    }

    fn room(&mut self, service: &str, instance: &Instance, config: &RegistryConfig) -> Result<(), Fault> {
        let full = |why: String| RegistryFault::Full.fault_with(format!("the registry is full: {why}"));
        let shelf = self.services.get(service);
        let is_known = shelf.is_some_and(|shelf| shelf.get(instance.key()).is_some());
        if !is_known && self.instances >= config.max_instances() {
            return Err(full(format!("max_instances is {}", config.max_instances())));
        }
        let bytes = match shelf {
            Some(shelf) => shelf.bytes_with(instance),
            None => Shelf::new(0).bytes_with(instance),
        };
        if bytes > config.max_service_bytes() {
            return Err(full(format!("max_service_bytes is {}", config.max_service_bytes())));
        }
        if shelf.is_none() && self.services.len() >= config.max_services() {
            self.forget_empty();
            if self.services.len() >= config.max_services() {
                return Err(full(format!("max_services is {}", config.max_services())));
            }
        }
        Ok(())
    }

    /// Makes room: what was of services that are no more need not be remembered.
    fn forget_empty(&mut self) {
        let forgotten = &mut self.forgotten;
        self.services.retain(|_, shelf| {
            if shelf.is_empty() {
                *forgotten = shelf.last().max(*forgotten);
            }
            !shelf.is_empty()
        });
    }

    fn end_lease(&mut self, lease: u128) -> Option<Lease> {
        let ended = self.leases.remove(&lease)?;
        self.expiry.remove(&(ended.until, lease));
        Some(ended)
    }

    /// Renews a lease.
    pub(crate) fn heartbeat(
        &mut self,
        lease: u128,
        now: Instant,
        config: &RegistryConfig,
    ) -> Result<(), Fault> {
        let Some(known) = self.leases.get_mut(&lease) else {
            return Err(RegistryFault::UnknownLease.fault());
        };
        self.expiry.remove(&(known.until, lease));
        known.until = now + config.lease();
        self.expiry.insert((known.until, lease));
        Ok(())
    }

    /// Ends a lease and takes its instance out; `None`: there is none such.
    pub(crate) fn deregister(&mut self, lease: u128) -> Option<RegistryEvent> {
        self.take_out(lease, Happened::Deregistered)
    }

    fn take_out(&mut self, lease: u128, what: Happened) -> Option<RegistryEvent> {
        let Lease { service, id, .. } = self.end_lease(lease)?;
        let shelf = self.services.get_mut(&service)?;
        self.index += 1;
        let instance = shelf.remove(&id, self.index)?;
        self.instances -= 1;
        Some(RegistryEvent { service, instance, what })
    }

    /// Takes out those whose lease has run out.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<RegistryEvent> {
        let mut expired = Vec::new();
        while let Some((until, lease)) = self.expiry.first().copied() {
            if until > now {
                break;
            }
            expired.extend(self.take_out(lease, Happened::Expired));
        }
        expired
    }

    /// When something may happen by itself.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let lease = self.expiry.first().map(|(until, _)| *until);
        let complete = (now < self.complete_at).then_some(self.complete_at);
        lease.into_iter().chain(complete).min()
    }

    fn is_complete(&self, now: Instant) -> bool {
        now >= self.complete_at
    }

    /// All instances of a service.
    pub(crate) fn list(&self, service: &str, now: Instant) -> Listing {
        let instances = self.services.get(service).map(|shelf| shelf.instances().cloned().collect());
        let (instances, removed) = (instances.unwrap_or_default(), Vec::new());
        Listing { seen: self.seen(now), full: true, instances, removed }
    }

    /// What is new since then; `None`: nothing.
    pub(crate) fn news(&self, service: &str, since: &Seen, now: Instant) -> Option<Listing> {
        // Of another registry; before everything; after everything: then the count has begun again.
        let strange = since.epoch != self.epoch || since.index == 0 || since.index > self.index;
        if strange || (!since.complete && self.is_complete(now)) {
            return Some(self.list(service, now));
        }
        let known = match self.services.get(service) {
            Some(shelf) => shelf.since(since.index),
            None if since.index < self.forgotten => Since::All,
            None => Since::Nothing,
        };
        match known {
            Since::Nothing => None,
            Since::All => Some(self.list(service, now)),
            Since::Some { changed, removed } => {
                Some(Listing { seen: self.seen(now), full: false, instances: changed, removed })
            }
        }
    }

    /// Where somebody is who knows all there is.
    pub(crate) fn seen(&self, now: Instant) -> Seen {
        Seen { epoch: self.epoch.clone(), index: self.index, complete: self.is_complete(now) }
    }

    /// The services of which something is registered.
    pub(crate) fn services(&self) -> Vec<ServiceSummary> {
        let full = self.services.iter().filter(|(_, shelf)| !shelf.is_empty());
        full.map(|(service, shelf)| ServiceSummary {
            service: service.to_string(),
            instances: shelf.len(),
            draining: shelf.instances().filter(|one| one.is_draining()).count(),
        })
        .collect()
    }
}
