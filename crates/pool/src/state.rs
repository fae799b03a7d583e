//! What the handles of a pool, its calls and its one task share.

use crate::{
    Connect, Ending, PoolConfig, PoolEvent, PoolState, Refusal, keeper,
    store::Store,
    sync::{Mutex, lock},
};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{runtime::Handle, sync::Notify, time::Instant};
use towpath_core::{Endpoint, EndpointStatus, Error, ErrorKind, Live, Observe, Processed};

/// One connect, of whatever kind.
pub(crate) type Connecting<C> = Pin<Box<dyn Future<Output = Result<C, Error>> + Send>>;

/// Where a pool leads to, and how.
pub(crate) struct Target<C> {
    pub(crate) connect: Box<dyn Fn() -> Connecting<C> + Send + Sync>,
    /// As it is named in errors.
    pub(crate) name: Arc<str>,
    /// Whose state it writes.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) config: Live<PoolConfig>,
    pub(crate) observe: Arc<dyn Observe<PoolEvent> + Send + Sync>,
}

/// One pool.
pub(crate) struct Core<S: Store> {
    pub(crate) target: Target<S::Connection>,
    pub(crate) store: S,
    /// Wakes the keeper.
    pub(crate) bell: Notify,
    /// Whether its keeper was told that calls do not go to its endpoint as a rule.
    spare: AtomicBool,
    life: Mutex<Life>,
}

/// How a pool is doing.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    phase: Phase,
    pub(crate) open: u32,
    pub(crate) connecting: u32,
    /// Since when there is none.
    pub(crate) since: Instant,
    /// How the last connect failed, or how the last connection ended.
    pub(crate) last_error: Option<Error>,
    pub(crate) next_try: Option<Instant>,
    pub(crate) connects: u64,
    pub(crate) failures: u64,
    pub(crate) losses: u64,
}

/// `Idle` ⇄ `Running`, and `Closed` at last. `Idle` comes back when the runtime that the keeper lived on has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Running,
    /// Nobody wants a connection, and there is none. The keeper waits.
    Resting,
    Closed,
}

/// What the services and the calls of a pool hold: when the last one is gone, so is the pool.
pub(crate) struct Held<S: Store>(Arc<Core<S>>);

impl<S: Store> std::ops::Deref for Held<S> {
    type Target = Arc<Core<S>>;

    #[inline]
    fn deref(&self) -> &Arc<Core<S>> {
        &self.0
    }
}

/// The last one ends the keeper, which holds the core alone.
impl<S: Store> Drop for Held<S> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<C> Target<C> {
    pub(crate) fn connects<T>(connect: T) -> Box<dyn Fn() -> Connecting<C> + Send + Sync>
    where
        T: Connect<Connection = C>,
    {
        Box::new(move || {
            let connecting = connect.connect();
            Box::pin(async move {
                connecting.await.map_err(|error| {
                    let boxed = error.into();
                    match Error::find(&*boxed) {
                        Some(own) if is_of_connect(own) => own.clone(),
                        _ => Error::new(ErrorKind::ConnectFailed).with_source(boxed),
                    }
                })
            })
        })
    }
}

/// Whether it tells that a connection could not be made: nobody is there, or nobody lets this client in.
pub(crate) fn is_of_connect(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectFailed | ErrorKind::Unauthenticated)
}

impl<S: Store> Core<S> {
    pub(crate) fn hold(target: Target<S::Connection>, store: S) -> Held<S> {
        let life = Life {
            phase: Phase::Idle,
            open: 0,
            connecting: 0,
            since: Instant::now(),
            last_error: None,
            next_try: None,
            connects: 0,
            failures: 0,
            losses: 0,
        };
        let spare = AtomicBool::new(false);
        let core = Arc::new(Core { target, store, bell: Notify::new(), spare, life: Mutex::new(life) });
        if let Some(endpoint) = &core.target.endpoint {
            let weak = Arc::downgrade(&core);
            endpoint.state().listen(move || match weak.upgrade() {
                Some(core) => {
                    let spare = core.is_spare();
                    if core.is_gone() || core.spare.swap(spare, Relaxed) != spare {
                        core.bell.notify_one();
                    }
                    true
                }
                None => false,
            });
        }
        Held(core)
    }

    /// Starts the keeper, if there is none.
    ///
    /// # Errors
    /// If the pool is closed, or there is no runtime.
    pub(crate) fn start(self: &Arc<Self>) -> Result<(), Error> {
        let mut life = lock(&self.life);
        match life.phase {
            Phase::Running | Phase::Resting => return Ok(()),
            Phase::Closed => return Err(self.closed()),
            Phase::Idle => {}
        }
        let Ok(runtime) = Handle::try_current() else {
            let error = self.error(ErrorKind::ConnectFailed);
            return Err(error.because("it needs a tokio runtime, and there is none here"));
        };
        (life.phase, life.since) = (Phase::Running, Instant::now());
        drop(life);
        runtime.spawn(keeper::run(self.clone()));
        Ok(())
    }

    /// No calls from here on; what is under way may end.
    pub(crate) fn close(&self) {
        let before = std::mem::replace(&mut lock(&self.life).phase, Phase::Closed);
        if before != Phase::Closed {
            self.store.clear();
            if let (Some(endpoint), true) = (&self.target.endpoint, before != Phase::Idle) {
                endpoint.state().set_connecting(None);
            }
            self.bell.notify_one();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.life).phase == Phase::Closed
    }

    /// Whether discovery has said that the endpoint is no more.
    pub(crate) fn is_gone(&self) -> bool {
        let status = self.target.endpoint.as_ref().map(|endpoint| endpoint.state().status());
        status == Some(EndpointStatus::Gone)
    }

    /// Whether the balancer has said that calls do not go to the endpoint as a rule.
    pub(crate) fn is_spare(&self) -> bool {
        self.target.endpoint.as_ref().is_some_and(|endpoint| endpoint.state().is_spare())
    }

    /// The keeper is no more: if the pool is not closed, the next call starts another one.
    pub(crate) fn stopped(&self) {
        let mut life = lock(&self.life);
        if life.phase != Phase::Closed {
            life.phase = Phase::Idle;
        }
        (life.open, life.connecting, life.next_try) = (0, 0, None);
        drop(life);
        self.store.clear();
        if let Some(endpoint) = &self.target.endpoint {
            endpoint.state().set_connecting(None);
        }
    }

    /// Changes what is known; answers with how it was before.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Life)) -> Life {
        let mut life = lock(&self.life);
        let before = life.clone();
        change(&mut life);
        if before.open > 0 && life.open == 0 {
            life.since = Instant::now();
        }
        before
    }

    pub(crate) fn life(&self) -> Life {
        lock(&self.life).clone()
    }

    /// How it is doing, for people.
    pub(crate) fn state(&self) -> PoolState {
        let life = self.life();
        match life.phase {
            Phase::Idle | Phase::Resting => PoolState::Idle,
            Phase::Closed => PoolState::Closed,
            Phase::Running if life.open > 0 => PoolState::Connected,
            Phase::Running => PoolState::Connecting {
                since: life.since,
                last_error: life.last_error,
                next_try: life.next_try,
            },
        }
    }

    /// The last connect's error, if it failed and there is no connection.
    pub(crate) fn unconnected(&self) -> Option<Error> {
        let life = lock(&self.life);
        let failed = life.open == 0 && life.phase == Phase::Running;
        life.last_error.as_ref().filter(|error| failed && is_of_connect(error)).cloned()
    }

    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind).at(self.target.name.clone()).with_processed(Processed::No)
    }

    pub(crate) fn closed(&self) -> Error {
        self.error(ErrorKind::Draining).because("the client was closed here")
    }

    /// What a call is told that gets no connection.
    pub(crate) fn refusal(&self, why: Refusal, waited: Duration) -> Error {
        let life = self.life();
        let error = life.last_error.filter(|_| life.open == 0);
        match (why, error) {
            (Refusal::Closed, _) => self.closed(),
            (Refusal::Full, _) => {
                self.error(ErrorKind::NoConnection).because("as many calls wait for a connection as may")
            }
            (_, Some(error)) if is_of_connect(&error) => error,
            (_, Some(error)) => self
                .error(ErrorKind::ConnectFailed)
                .because("the connection was lost and is not back yet")
                .with_source(error),
            (Refusal::Late, None) => self
                .error(ErrorKind::DeadlineExceeded)
                .because("it passed while the call waited for a connection"),
            (_, None) => {
                let open = life.open;
                let ms = waited.as_millis();
                self.error(ErrorKind::NoConnection)
                    .because(format!("waited {ms} ms, with {open} connections open"))
            }
        }
    }
}

impl Life {
    /// Notes whether anybody wants a connection.
    pub(crate) fn set_resting(&mut self, resting: bool) {
        self.phase = match self.phase {
            Phase::Running | Phase::Resting if resting => Phase::Resting,
            Phase::Running | Phase::Resting => Phase::Running,
            phase => phase,
        };
    }

    /// Notes how a connection ended.
    pub(crate) fn lost(&mut self, how: Ending, error: Error) {
        self.losses += 1;
        self.last_error = if matches!(how, Ending::Unused | Ending::Spent) { None } else { Some(error) };
    }
}
