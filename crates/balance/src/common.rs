//! What the services of a balancer share, and how it is set going.

use crate::{
    fleet::{Fleet, Snapshot},
    gauge::{Key, USABLE},
    look::Look,
    pick::{Base, Pick, View},
};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use tokio::{runtime::Handle, time::Instant};
use towpath_core::{CallInfo, Context, EndpointId};

/// What the services of a balancer share.
pub(crate) struct Common<S, P: Pick, C, I, R> {
    pub(crate) fleet: Arc<Fleet<S, P>>,
    pub(crate) classify: C,
    pub(crate) info: I,
    pub(crate) reject: R,
    pub(crate) look: Look<S>,
    pub(crate) start: Start,
}

/// Starts the driver, once.
pub(crate) struct Start {
    started: AtomicBool,
    driver: Mutex<Option<Starter>>,
}

/// Spawns the driver.
pub(crate) type Starter = Box<dyn FnOnce(&Handle) + Send>;

impl Start {
    /// `None`: there is no driver.
    pub(crate) fn new(driver: Option<Starter>) -> Self {
        Start { started: AtomicBool::new(driver.is_none()), driver: Mutex::new(driver) }
    }

    /// Starts the driver if it was not started and there is a runtime; says whether it is started.
    pub(crate) fn start(&self) -> bool {
        if !self.started.load(Relaxed) {
            let Ok(runtime) = Handle::try_current() else { return false };
            let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(driver) = driver {
                driver(&runtime);
                self.started.store(true, Relaxed);
            }
        }
        true
    }
}

impl<S: Clone, P: Pick, C, I, R> Common<S, P, C, I, R> {
    /// Does what is due. Answers with an endpoint that is out and wants this call as a probe.
    #[cold]
    pub(crate) fn tend(&self, now: Instant) -> Option<Key> {
        if self.start.start() {
            self.fleet.bell.wake();
        }
        self.fleet.tend();
        self.fleet.look_around(self.look, now);
        self.fleet.roster().probe(now)
    }
}

impl<S, P: Pick, C, I, R> Common<S, P, C, I, R> {
    /// Where the call goes: to one that is ready and that it has not tried; if there is none, to one that it has.
    #[inline(always)]
    pub(crate) fn choose<Req, Res>(
        &self,
        snapshot: &Snapshot<S, P::Table>,
        request: &Req,
        nanos: u64,
        passed: &[EndpointId],
    ) -> Option<usize>
    where
        I: CallInfo<Req, Res>,
    {
        self.choose_of(USABLE, snapshot, request, nanos, passed)
    }

    /// The same of those that have this flag.
    #[inline(always)]
    pub(crate) fn choose_of<Req, Res>(
        &self,
        takes: u32,
        snapshot: &Snapshot<S, P::Table>,
        request: &Req,
        nanos: u64,
        passed: &[EndpointId],
    ) -> Option<usize>
    where
        I: CallInfo<Req, Res>,
    {
        let mut base = Base { takes, passed, ..self.base(snapshot, request, nanos) };
        let picker = &self.fleet.picker;
        let picked = pick(picker, &snapshot.table, &base);
        if picked.is_some() || base.tried.is_empty() {
            return picked;
        }
        base.tried = &[];
        pick(picker, &snapshot.table, &base)
    }

    /// Whether the picker would let the call go there, ready or not.
    pub(crate) fn suits<Req, Res>(
        &self,
        snapshot: &Snapshot<S, P::Table>,
        request: &Req,
        nanos: u64,
        index: usize,
    ) -> bool
    where
        I: CallInfo<Req, Res>,
    {
        let base = self.base(snapshot, request, nanos);
        self.fleet.picker.suits(&snapshot.table, &View::new(&base), index)
    }

    #[inline(always)]
    fn base<'a, Req, Res>(
        &'a self,
        snapshot: &'a Snapshot<S, P::Table>,
        request: &'a Req,
        nanos: u64,
    ) -> Base<'a>
    where
        I: CallInfo<Req, Res>,
    {
        let context = self.info.context(request);
        Base {
            context,
            method: self.info.method(request),
            tried: context.map_or(&[], Context::tried),
            ..self.fleet.base(snapshot, crate::fleet::tick(nanos))
        }
    }
}

/// What a picker answers, if a call can go there.
#[inline]
fn pick<P: Pick>(picker: &P, table: &P::Table, base: &Base<'_>) -> Option<usize> {
    let view = View::new(base);
    picker.pick(table, &view).filter(|index| view.is_ready(*index))
}

impl<S, P: Pick, C, I, R> Drop for Common<S, P, C, I, R> {
    fn drop(&mut self) {
        self.fleet.bell.close();
        self.fleet.dissolve();
    }
}
