//! A check of the server's own: time-boxed, made once for all who ask at a time, and not again for a while.

use super::{
    config::ReportConfig,
    report::{CheckReport, CheckStatus},
};
use crate::caught::Caught;
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, sync::watch, time::Instant, time::timeout};
use towpath_core::{BoxError, Clock};

type Run = dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>> + Send + Sync;

pub(super) struct Check {
    name: Box<str>,
    counts: bool,
    run: Arc<Run>,
    cell: Arc<Cell>,
}

struct Cell {
    running: Mutex<bool>,
    known: watch::Sender<Option<Known>>,
}

/// An outcome.
#[derive(Clone)]
struct Known {
    at: Instant,
    took: Duration,
    error: Option<String>,
}

impl Check {
    pub(super) fn new<F, Fut, E>(name: Box<str>, counts: bool, run: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let run: Arc<Run> = Arc::new(move || {
            let made = run();
            Box::pin(async { made.await.map_err(Into::into) })
        });
        let cell = Arc::new(Cell { running: Mutex::new(false), known: watch::Sender::new(None) });
        Check { name, counts, run, cell }
    }

    /// Sees to it that there is a fresh outcome. Whoever asks while the check is being made waits for that.
    ///
    /// Cancel safety: the check is made to its end, or to that of its time, all the same.
    pub(super) async fn ask(&self, config: &ReportConfig) {
        // From here on an outcome is news.
        let mut news = self.cell.known.subscribe();
        let begin = {
            let mut running = self.cell.lock();
            let now = Clock::now();
            let known = self.cell.known.borrow();
            if known.as_ref().is_some_and(|known| now.saturating_duration_since(known.at) < config.fresh()) {
                return;
            }
            !std::mem::replace(&mut *running, true)
        };
        if begin {
            self.begin(config.timeout());
        }
        // The sender is ours: there will be news.
        let _ = news.changed().await;
    }

    /// The last outcome, however old.
    pub(super) fn peek(&self) -> CheckReport {
        let known = self.cell.known.borrow().clone();
        let name = self.name.to_string();
        let Some(Known { at, took, error }) = known else {
            return CheckReport {
                name,
                status: CheckStatus::Unknown,
                error: None,
                took: Duration::ZERO,
                age: Duration::ZERO,
            };
        };
        let status = match (&error, self.counts) {
            (None, _) => CheckStatus::Ok,
            (Some(_), true) => CheckStatus::Failing,
            (Some(_), false) => CheckStatus::Warning,
        };
        CheckReport { name, status, error, took, age: Clock::now().saturating_duration_since(at) }
    }

    /// Makes it in a task of its own: whoever asked may not wait for the end.
    fn begin(&self, limit: Duration) {
        let mut turn = Turn { cell: Some(self.cell.clone()), began: Clock::now() };
        let Ok(runtime) = Handle::try_current() else {
            return turn.end(Some("the check was not made: there is no tokio runtime".into()));
        };
        let run = self.run.clone();
        runtime.spawn(async move {
            let made = Caught::new(async { timeout(limit, run()).await });
            let error = match made.await {
                Some(Ok(Ok(()))) => None,
                Some(Ok(Err(error))) => Some(error.to_string()),
                Some(Err(_)) => Some(format!("no answer within {limit:?}")),
                None => Some("the check panicked, which is a defect of it".to_owned()),
            };
            turn.end(error);
        });
    }
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One making of a check, which has an outcome in any case.
struct Turn {
    cell: Option<Arc<Cell>>,
    began: Instant,
}

impl Turn {
    fn end(&mut self, error: Option<String>) {
        let Some(cell) = self.cell.take() else { return };
        let at = Clock::now();
        let known = Known { at, took: at - self.began, error };
        // Who asks after this finds the news, or has another one made.
        let mut running = cell.lock();
        cell.known.send_replace(Some(known));
        *running = false;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end(Some("the check was broken off: its runtime has ended".to_owned()));
    }
}
