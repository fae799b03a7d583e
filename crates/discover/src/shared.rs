//! What the task of a name and those who watch the name have in common.

use crate::{
    BoxSource, DiscoverConfig, DiscoverEvent, Snapshot, What, drive,
    settle::{Doubt, Heard, Publication, Settle},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{runtime::Handle, sync::Notify, task::AbortHandle, time::Instant};
use towpath_core::{BoxError, Clock, Error, ErrorKind, Live, Observe};

/// Who is told of what happens.
pub(crate) type Observer = Arc<dyn Observe<DiscoverEvent> + Send + Sync>;

/// One name: its set of endpoints, how its source is doing, and who waits for news.
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) about: String,
    pub(crate) live: Live<DiscoverConfig>,
    pub(crate) refresh: Notify,
    observe: Observer,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) report: Report,
    /// The source has nothing more to say.
    pub(crate) ended: bool,
    /// Nobody watches any more.
    closed: bool,
    /// What the task works on, while there is none.
    work: Option<Work>,
    task: Option<AbortHandle>,
    waiting: HashMap<u64, Waker>,
    next_ear: u64,
}

/// How the source is doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// How often it has failed, and since it answered last.
    pub(crate) failed: u64,
    pub(crate) failures: u32,
    pub(crate) answered: Option<Instant>,
    pub(crate) error: Option<Error>,
    pub(crate) next_try: Option<Instant>,
    pub(crate) doubted_until: Option<Instant>,
}

/// The source and what was heard of it: a task's alone, and given back when the task ends before its time.
pub(crate) struct Work {
    pub(crate) source: BoxSource,
    pub(crate) settle: Settle,
}

impl Shared {
    pub(crate) fn new(
        name: Arc<str>,
        source: BoxSource,
        live: Live<DiscoverConfig>,
        observe: Observer,
    ) -> Arc<Self> {
        let about = crate::Source::about(&source);
        let state = State {
            snapshot: Arc::default(),
            report: Report::default(),
            ended: false,
            closed: false,
            work: Some(Work { source, settle: Settle::default() }),
            task: None,
            waiting: HashMap::new(),
            next_ear: 0,
        };
        Arc::new(Shared { name, about, live, refresh: Notify::new(), observe, state: Mutex::new(state) })
    }

    /// Nothing is called with it locked, and nothing awaited.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that a task asks the source. Without a runtime there is none: whoever polls from inside one later
    /// starts it.
    pub(crate) fn start(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.work.is_none() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let Some(work) = state.work.take() else { return };
        drop(state);
        let task = runtime.spawn(drive::run(Held { shared: self.clone(), work: Some(work) }));
        let mut state = self.lock();
        // Nobody watches any more, since a moment ago.
        if state.closed {
            task.abort();
        }
        state.task = Some(task.abort_handle());
    }

    /// Ends the task: nobody watches.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let (work, task) = (state.work.take(), state.task.take());
        drop(state);
        if let Some(task) = task {
            task.abort();
        }
        drop(work);
    }

    /// The source said something.
    pub(crate) fn heard(&self, heard: Heard) {
        let mut state = self.lock();
        let failures = std::mem::take(&mut state.report.failures);
        state.report.answered = Some(Clock::now());
        (state.report.error, state.report.next_try) = (None, None);
        match heard.doubt {
            Some(Doubt::Until(until)) => state.report.doubted_until = Some(until),
            Some(Doubt::Withdrawn) => state.report.doubted_until = None,
            None => {}
        }
        drop(state);
        if failures > 0 {
            tracing::info!(name = %self.name, failures, "discovery: the source answers again");
            self.tell(What::Recovered { failures });
        }
        match heard.doubt {
            Some(Doubt::Until(until)) => {
                tracing::warn!(name = %self.name, "discovery: the source says that there is nothing; doubted for now");
                self.tell(What::EmptyDoubted { until });
            }
            Some(Doubt::Withdrawn) => self.tell(What::EmptyWithdrawn),
            None => {}
        }
        if let Some((count, why)) = heard.refused {
            tracing::warn!(name = %self.name, count, why, "discovery: some instances are not taken");
            self.tell(What::Refused { count, why });
        }
    }

    /// The source failed; it is asked again after this.
    pub(crate) fn failed(&self, error: BoxError, retry_in: impl FnOnce(u32) -> Duration) -> Duration {
        let text = match Error::find(&*error) {
            Some(own) if own.kind() == ErrorKind::NoEndpoint => own.detail().to_owned(),
            _ => error.to_string(),
        };
        let error = Error::wrapping(ErrorKind::NoEndpoint, error).at(self.name.clone()).because(text);
        let mut state = self.lock();
        let failures = state.report.failures.saturating_add(1);
        let retry_in = retry_in(failures);
        state.report.failures = failures;
        state.report.failed += 1;
        state.report.error = Some(error.clone());
        state.report.next_try = Some(Clock::now() + retry_in);
        let waiting = state.everybody();
        drop(state);
        if failures == 1 {
            tracing::warn!(name = %self.name, %error, ?retry_in, "discovery failed: what is known stays");
        } else {
            tracing::debug!(name = %self.name, %error, failures, ?retry_in, "discovery failed again");
        }
        self.tell(What::Failed { error, failures, retry_in });
        waiting.into_iter().for_each(Waker::wake);
        retry_in
    }

    /// There is another set of endpoints.
    pub(crate) fn publish(&self, publication: Publication) {
        let Publication { endpoints, gone, draining, changes } = publication;
        gone.iter().for_each(|endpoint| endpoint.state().set_gone());
        let mut state = self.lock();
        let snapshot = Arc::new(Snapshot::new(state.snapshot.version() + 1, endpoints, draining));
        let old = std::mem::replace(&mut state.snapshot, snapshot);
        state.report.doubted_until = None;
        let waiting = state.everybody();
        drop(state);
        drop(old);
        tracing::debug!(name = %self.name, %changes, "discovery");
        self.tell(What::Changed(changes));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The source has nothing more to say.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let waiting = state.everybody();
        drop(state);
        self.tell(What::Ended);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn tell(&self, what: What) {
        self.observe.observe(&DiscoverEvent { name: self.name.clone(), what });
    }
}

impl State {
    fn everybody(&mut self) -> Vec<Waker> {
        self.waiting.drain().map(|(_, waker)| waker).collect()
    }
}

/// What a task has of a name.
pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
    pub(crate) work: Option<Work>,
}

/// If the task ends before its time, most likely since its runtime does, whoever polls next starts another one.
impl Drop for Held {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        let mut state = self.shared.lock();
        if state.closed {
            drop(state);
            return;
        }
        state.work = Some(work);
        // Who panics whenever it is woken is not woken.
        let waiting = if std::thread::panicking() { Vec::new() } else { state.everybody() };
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A place among those who wait for news of a name.
pub(crate) struct Ear {
    shared: Arc<Shared>,
    id: Option<u64>,
}

impl Ear {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Ear { shared, id: None }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What `look` finds; the task is woken when there is more to see. Starts the source, if that was not done.
    pub(crate) fn poll<T>(&mut self, cx: &mut Context<'_>, look: impl FnOnce(&State) -> Poll<T>) -> Poll<T> {
        self.shared.start();
        let mut state = self.shared.lock();
        if let Poll::Ready(seen) = look(&state) {
            return Poll::Ready(seen);
        }
        let id = *self.id.get_or_insert_with(|| {
            state.next_ear += 1;
            state.next_ear
        });
        let before = state.waiting.insert(id, cx.waker().clone());
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = self.shared.lock().waiting.remove(&id);
            drop(waker);
        }
    }
}
