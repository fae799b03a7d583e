//! What stands around each endpoint of a client, for who looks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use towpath_breaker::BreakerHandle;
use towpath_core::{Endpoint, EndpointId, Error};
use towpath_pool::{PoolHandle, PoolState};

/// What stands around one endpoint of a client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointHandles {
    /// Which one.
    pub endpoint: Endpoint,
    /// Its connections.
    pub pool: PoolHandle,
    /// Its breaker, if there is one.
    pub breaker: Option<BreakerHandle>,
}

/// Those of all endpoints that there are. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around(Arc<Mutex<BTreeMap<EndpointId, EndpointHandles>>>);

impl Around {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<EndpointId, EndpointHandles>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, handles: EndpointHandles) {
        self.lock().insert(handles.endpoint.id(), handles);
    }

    pub(super) fn remove(&self, endpoint: EndpointId) {
        let gone = self.lock().remove(&endpoint);
        // Freed when others can go on.
        drop(gone);
    }

    pub(crate) fn all(&self) -> Vec<EndpointHandles> {
        self.lock().values().cloned().collect()
    }

    /// How the last connect to one of them failed, or how its last connection ended: of whom has none for the shortest
    /// time.
    pub(super) fn last_error(&self) -> Option<Error> {
        let errors = self.all().into_iter().filter_map(|handles| match handles.pool.state() {
            PoolState::Connecting { since, last_error: Some(error), .. } => Some((since, error)),
            _ => None,
        });
        errors.max_by_key(|(since, _)| *since).map(|(_, error)| error)
    }
}
