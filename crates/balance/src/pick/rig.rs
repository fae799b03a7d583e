//! Endpoints to try a picker on, without a balancer.

use super::{Base, Pick, Tuning, View};
use crate::gauge::{Arena, Gauge, Key, USABLE, WELL};
use std::sync::Arc;
use towpath_core::{Context, Endpoint, EndpointId};

pub(crate) struct Rig<P: Pick> {
    pub(crate) picker: P,
    arena: Arena,
    keys: Vec<Key>,
    endpoints: Vec<Arc<Endpoint>>,
    table: P::Table,
    pub(crate) tuning: Tuning,
    pub(crate) usual: f32,
    pub(crate) now: u32,
    pub(crate) context: Context,
    pub(crate) passed: Vec<EndpointId>,
}

impl<P: Pick> Rig<P> {
    /// All of them ready.
    pub(crate) fn new(picker: P, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let arena = Arena::new();
        let endpoints: Vec<_> = endpoints.into_iter().map(Arc::new).collect();
        let key = |endpoint: &Arc<Endpoint>| {
            let key = arena.take().unwrap();
            arena.at(key.slot).assign(endpoint.id(), endpoint.weight() as f32);
            arena.at(key.slot).set_flags(USABLE | WELL);
            key
        };
        let keys = endpoints.iter().map(key).collect();
        let table = picker.table(&endpoints.iter().map(|endpoint| &**endpoint).collect::<Vec<_>>());
        let tuning = Tuning { per_tick: 1.0 / 5_000.0, penalty: 100.0, ramp: None };
        let (context, passed) = (Context::new(), Vec::new());
        Rig { picker, arena, keys, endpoints, table, tuning, usual: 1e6, now: 1, context, passed }
    }

    /// So many of weight 1.
    pub(crate) fn of(picker: P, endpoints: usize) -> Self {
        Rig::new(picker, (0..endpoints).map(|n| Endpoint::new(format!("mcp://10.0.0.{n}:1"))))
    }

    pub(crate) fn gauge(&self, index: usize) -> &Gauge {
        self.arena.at(self.keys[index].slot)
    }

    pub(crate) fn endpoint(&self, index: usize) -> &Endpoint {
        &self.endpoints[index]
    }

    pub(crate) fn set_ready(&self, index: usize, ready: bool) {
        self.gauge(index).set_flags(if ready { USABLE | WELL } else { 0 });
    }

    pub(crate) fn see<T>(&self, f: impl FnOnce(&View<'_>) -> T) -> T {
        let base = Base {
            arena: &self.arena,
            keys: &self.keys,
            endpoints: &self.endpoints,
            takes: USABLE,
            tuning: &self.tuning,
            usual: self.usual,
            now: self.now,
            context: Some(&self.context),
            method: None,
            tried: self.context.tried(),
            passed: &self.passed,
        };
        f(&View::new(&base))
    }

    pub(crate) fn refresh(&self) {
        self.see(|view| self.picker.refresh(&self.table, view));
    }

    pub(crate) fn wanted(&self) -> Option<Vec<usize>> {
        self.see(|view| self.picker.wanted(&self.table, view))
    }

    pub(crate) fn pick(&self) -> Option<usize> {
        self.see(|view| self.picker.pick(&self.table, view))
    }

    /// How often each one is picked.
    pub(crate) fn shares(&self, picks: usize) -> Vec<usize> {
        let mut shares = vec![0; self.keys.len()];
        for _ in 0..picks {
            if let Some(index) = self.pick() {
                shares[index] += 1;
            }
        }
        shares
    }
}
