//! A server, as far as its callers can tell: so many workers, a line in front of them, and times that are drawn by lot.

use super::{latency::Latency, link::Shared};
use fastrand::Rng;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use towpath_core::{Error, ErrorKind, Processed};

/// What a server is like when it is well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Make {
    /// Calls in work at a time; those above wait in line.
    pub(crate) workers: usize,
    /// Calls that may wait; those above are refused (MCP-E-009 overloaded).
    pub(crate) line: usize,
    /// How long a worker has to do with a call.
    pub(crate) takes: Latency,
    /// How long the one who accepts connections has to do with each; they wait for each other.
    pub(crate) handshake: Duration,
    /// For how long after a start it is slow: three times at first, less and less.
    pub(crate) warm_up: Duration,
}

/// What happens to a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Order {
    /// Everything takes so many times as long.
    Slow(f64),
    /// Every call takes so long, whatever else holds; `None`: as long as it takes.
    Takes(Option<Duration>),
    /// Fails such a share of the calls, at once.
    Fail(f64),
    /// Neither answers nor hears anything any more, or does again. What is connected is given up by its keep-alive.
    Silent(bool),
    /// Tells all that it goes away; what is in work is finished.
    Drain,
    /// Ends. Its connections are reset, new ones refused.
    Stop,
    /// Is there again.
    Start,
}

/// How a fast failure and a refusal take: there and back.
const ROUND_TRIP: Duration = Duration::from_millis(1);
/// When a silent connection is given up: towpath's keep-alive, 10 s and 5 s for the answer.
const GIVEN_UP: Duration = Duration::from_secs(15);
/// How much slower it is when it has just started.
const COLD: f64 = 3.0;

/// One server.
pub(crate) struct Server {
    make: Make,
    state: Mutex<State>,
}

struct State {
    up: bool,
    silent: bool,
    slow: f64,
    takes: Option<Duration>,
    fails: f64,
    started: Instant,
    cold: bool,
    workers: Arc<Semaphore>,
    waiting: usize,
    accepts_at: Instant,
    links: Vec<Weak<Shared>>,
    rng: Rng,
    counts: Counts,
}

/// What a server has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Attempts that came.
    pub(crate) attempts: u64,
    /// Connections that it was asked for while it was up, in each tenth of a second since the simulation began.
    pub(crate) connects: Vec<u32>,
}

/// A worker is busy until then, whether anybody waits for the answer or not.
struct Busy {
    worker: Option<OwnedSemaphorePermit>,
    until: Instant,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let until = self.until;
        if until > Instant::now()
            && let (Some(worker), Ok(runtime)) = (self.worker.take(), Handle::try_current())
        {
            runtime.spawn(async move {
                sleep_until(until).await;
                drop(worker);
            });
        }
    }
}

/// Leaves the line.
struct InLine<'a>(&'a Server);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl Server {
    pub(crate) fn new(make: Make, rng: Rng) -> Self {
        let now = Instant::now();
        let workers = Arc::new(Semaphore::new(make.workers));
        let state = State {
            up: true,
            silent: false,
            slow: 1.0,
            takes: None,
            fails: 0.0,
            started: now,
            cold: false,
            workers,
            waiting: 0,
            accepts_at: now,
            links: Vec::new(),
            rng,
            counts: Counts::default(),
        };
        Server { make, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Counts attempts anew.
    pub(crate) fn count_anew(&self) {
        self.lock().counts.attempts = 0;
    }

    pub(crate) fn obey(self: &Arc<Self>, order: Order) {
        let links: Vec<_> = {
            let mut state = self.lock();
            match order {
                Order::Slow(factor) => state.slow = factor,
                Order::Takes(time) => state.takes = time,
                Order::Fail(share) => state.fails = share,
                Order::Silent(silent) => state.silent = silent,
                Order::Drain => {}
                Order::Stop => state.up = false,
                Order::Start => {
                    (state.up, state.cold, state.started) = (true, true, Instant::now());
                    (state.workers, state.accepts_at) =
                        (Arc::new(Semaphore::new(self.make.workers)), state.started);
                }
            }
            state.links.retain(|link| link.strong_count() > 0);
            state.links.iter().filter_map(Weak::upgrade).collect()
        };
        match order {
            Order::Drain => links.iter().for_each(|link| link.go_away()),
            Order::Stop => links.iter().for_each(|link| link.cut()),
            Order::Silent(true) => drop(tokio::spawn(give_up(self.clone(), links))),
            _ => {}
        }
    }

    /// A connect: its way there and back, and its turn with the one who accepts.
    pub(crate) async fn accept(self: Arc<Self>, since: Instant) -> Result<Arc<Shared>, Error> {
        let failed = |why: &'static str| Error::new(ErrorKind::ConnectFailed).because(why);
        let accepted = {
            let mut state = self.lock();
            match (state.silent, state.up) {
                (true, _) => None,
                (_, false) => Some(None),
                _ => {
                    let at = state.accepts_at.max(Instant::now()) + self.make.handshake;
                    state.accepts_at = at;
                    let tenth = (Instant::now().saturating_duration_since(since).as_millis() / 100) as usize;
                    if state.counts.connects.len() <= tenth {
                        state.counts.connects.resize(tenth + 1, 0);
                    }
                    state.counts.connects[tenth] += 1;
                    Some(Some(at))
                }
            }
        };
        match accepted {
            // Nobody says anything: the pool's own time-out ends it.
            None => std::future::pending().await,
            Some(None) => {
                sleep(ROUND_TRIP).await;
                Err(failed("connection refused"))
            }
            Some(Some(at)) => {
                sleep_until(at + ROUND_TRIP).await;
                let mut state = self.lock();
                if !state.up || state.silent {
                    return Err(failed("connection reset"));
                }
                let link = Arc::new(Shared::new(self.clone()));
                state.links.push(Arc::downgrade(&link));
                Ok(link)
            }
        }
    }

    /// One call that came over a connection, until its answer or its deadline.
    pub(crate) async fn answer(self: Arc<Self>, deadline: Instant) -> Result<(), Error> {
        let late = || Error::new(ErrorKind::DeadlineExceeded);
        let (silent, fails, workers) = {
            let mut state = self.lock();
            state.counts.attempts += 1;
            let fails = state.fails > 0.0 && state.rng.f64() < state.fails;
            (state.silent, fails, state.workers.clone())
        };
        if silent {
            sleep_until(deadline).await;
            return Err(late());
        }
        if fails {
            sleep(ROUND_TRIP).await;
            return Err(Error::new(ErrorKind::HandlerFailed).with_remote(true));
        }
        let worker = match workers.clone().try_acquire_owned() {
            Ok(worker) => worker,
            Err(_) => {
                let in_line = {
                    let mut state = self.lock();
                    (state.waiting < self.make.line).then(|| {
                        state.waiting += 1;
                        InLine(&self)
                    })
                };
                let Some(_in_line) = in_line else {
                    sleep(ROUND_TRIP).await;
                    let refused = Error::new(ErrorKind::Overloaded).with_remote(true);
                    return Err(refused.with_processed(Processed::No));
                };
                match timeout_at(deadline, workers.acquire_owned()).await {
                    Ok(Ok(worker)) => worker,
                    _ => return Err(late()),
                }
            }
        };
        let until = Instant::now() + self.draw();
        let _busy = Busy { worker: Some(worker), until };
        sleep_until(until.min(deadline)).await;
        if self.lock().silent {
            // It was answered, but nobody hears that.
            sleep_until(deadline).await;
        }
        if Instant::now() >= deadline { Err(late()) } else { Ok(()) }
    }

    /// How long the next call takes.
    fn draw(&self) -> Duration {
        let mut state = self.lock();
        if let Some(time) = state.takes {
            return time;
        }
        let age = state.started.elapsed().as_secs_f64();
        let warm_up = self.make.warm_up.as_secs_f64();
        let cold = match state.cold && age < warm_up {
            true => COLD - (COLD - 1.0) * age / warm_up,
            false => 1.0,
        };
        let slow = state.slow;
        self.make.takes.draw(&mut state.rng).mul_f64(slow * cold)
    }
}

/// After a while without a word the connections are given up, unless it is heard again before.
async fn give_up(server: Arc<Server>, links: Vec<Arc<Shared>>) {
    let links: Vec<_> = links.iter().map(Arc::downgrade).collect();
    sleep(GIVEN_UP).await;
    if server.lock().silent {
        links.iter().filter_map(Weak::upgrade).for_each(|link| link.cut());
    }
}
