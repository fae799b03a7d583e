//! The source that fetches.

use super::{
    RenewConfig,
    machine::{Issued, Machine, Step},
};
use crate::{
    Token,
    source::{Found, TokenSource},
};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, timeout},
};
use towpath_core::{BoxError, Error, ErrorKind, Live, Observe, context::background};

type Fetched = Pin<Box<dyn Future<Output = Result<Issued, BoxError>> + Send>>;

/// A source of tokens that run out. Clones share the token.
///
/// The first call that needs a token begins to fetch one, and every call that comes meanwhile waits for the same
/// fetch, no longer than to its own deadline. Some time [before](RenewConfig::early) the token runs out a call begins
/// to fetch the next one, and goes on with the old one, as all others do, until the new one is there. A fetch
/// that fails changes nothing as long as the old token is good; after that, calls fail until the next try.
///
/// A fetch is a task of its own, since it belongs to no call: a caller that goes away ends it for nobody. The task
/// ends with the fetch, at the latest after [`fetch_timeout`](RenewConfig::fetch_timeout). A fetch that panics has
/// failed. It neither inherits a deadline nor anything else from the call that began it.
///
/// What a fetch fails with is the source of the calls' error: keep secrets out of it.
///
/// ```
/// use std::time::Duration;
/// use towpath_auth::{AttachLayer, Issued, Renewing, Token};
/// # async fn ask_the_token_service() -> Result<String, std::io::Error> { Ok("abc".into()) }
///
/// let source = Renewing::new(|| async {
///     let token: Token = ask_the_token_service().await?.parse()?;
///     Ok(Issued { token, lifetime: Some(Duration::from_secs(3600)) })
/// });
/// let layer = AttachLayer::new(source.clone());
/// # drop(layer);
/// ```
pub struct Renewing(Arc<Inner>);

struct Inner {
    fetch: Box<dyn Fn() -> Fetched + Send + Sync>,
    config: Live<RenewConfig>,
    observe: Box<dyn Observe<RenewEvent> + Send + Sync>,
    machine: Mutex<Machine>,
    landed: Notify,
}

/// What became of a fetch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RenewEvent {
    /// There is a new token, good for so long from when it was asked for.
    Renewed(Option<Duration>),
    /// There is none.
    Failed(Error),
}

impl Renewing {
    /// Fetches by `fetch`, at the [default](RenewConfig::default) times.
    pub fn new<F, Fut>(fetch: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Issued, BoxError>> + Send + 'static,
    {
        Self::with(RenewConfig::default(), (), fetch)
    }

    /// Fetches by `fetch`, at these times, and tells `observe` about each fetch.
    pub fn with<F, Fut, O>(config: impl Into<Live<RenewConfig>>, observe: O, fetch: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Issued, BoxError>> + Send + 'static,
        O: Observe<RenewEvent> + Send + Sync + 'static,
    {
        Renewing(Arc::new(Inner {
            fetch: Box::new(move || Box::pin(fetch())),
            config: config.into(),
            observe: Box::new(observe),
            machine: Mutex::default(),
            landed: Notify::new(),
        }))
    }

    /// The times, to read and to replace.
    pub fn config(&self) -> &Live<RenewConfig> {
        &self.0.config
    }

    /// Has the next call begin to fetch a token. The one that is held serves until the new one is there.
    pub fn renew(&self) {
        self.0.lock().renew(Instant::now());
    }

    /// Uses the token that is held no more: for when it was revoked. Calls wait for the next one.
    pub fn discard(&self) {
        self.0.lock().discard();
    }

    /// When the token that is held runs out (`Some(None)`: never); `None` if none is held.
    pub fn expires(&self) -> Option<Option<Instant>> {
        self.0.lock().expires()
    }

    /// What the last fetch failed with, if it did.
    pub fn last_error(&self) -> Option<Error> {
        self.0.lock().error().cloned()
    }

    fn begin(&self, flight: u64, since: Instant) -> Result<(), Error> {
        let landing = Landing { inner: self.0.clone(), flight, since, outcome: None };
        let Ok(runtime) = Handle::try_current() else {
            // The landing tells those who wait.
            return Err(no_token("there is no runtime to fetch one in"));
        };
        runtime.spawn(background(async move {
            let mut landing = landing;
            let time = landing.inner.config.get().fetch_timeout();
            landing.outcome = Some(match timeout(time, (landing.inner.fetch)()).await {
                Ok(Ok(issued)) => Ok(issued),
                Ok(Err(error)) => Err(no_token("none could be fetched").with_source(error)),
                Err(_) => Err(no_token("none came within the time for it")),
            });
        }));
        Ok(())
    }

    async fn wait(self, flight: u64) -> Result<Token, Error> {
        loop {
            let landed = self.0.landed.notified();
            tokio::pin!(landed);
            // From here on a landing wakes; one before is seen below.
            landed.as_mut().enable();
            if let Some(outcome) = self.0.lock().outcome(flight, Instant::now()) {
                return outcome.map_err(|error| {
                    let error = error.unwrap_or_else(|| no_token("it had run out when it came"));
                    error.with_retry_after(Some(self.0.config.get().retry()))
                });
            }
            landed.await;
        }
    }
}

impl TokenSource for Renewing {
    /// A box: only calls that really wait have one.
    type Future = Pin<Box<dyn Future<Output = Result<Token, Error>> + Send>>;

    fn token(&self, now: Instant) -> Found<Self::Future> {
        let step = self.0.lock().ask(now);
        match step {
            Step::Use(token, begin) => {
                if let Some(flight) = begin {
                    // The call has what it needs; a failure is kept, and observed.
                    let _ = self.begin(flight, now);
                }
                Found::Now(Ok(token))
            }
            Step::Begin(flight) => match self.begin(flight, now) {
                Ok(()) => Found::Later(Box::pin(self.clone().wait(flight))),
                Err(error) => Found::Now(Err(error)),
            },
            Step::Wait(flight) => Found::Later(Box::pin(self.clone().wait(flight))),
            Step::Fail(again, error) => {
                Found::Now(Err(error.with_retry_after(Some(again.saturating_duration_since(now)))))
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch that is under way. It lands when it is dropped, however it ended: who waits is always told.
struct Landing {
    inner: Arc<Inner>,
    flight: u64,
    since: Instant,
    outcome: Option<Result<Issued, Error>>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let outcome = self.outcome.take();
        let outcome = outcome.unwrap_or_else(|| Err(no_token("the fetch broke off")));
        let event = match &outcome {
            Ok(issued) => RenewEvent::Renewed(issued.lifetime),
            Err(error) => RenewEvent::Failed(error.clone()),
        };
        let config = self.inner.config.get();
        self.inner.lock().landed((self.since, Instant::now()), self.flight, outcome, &config);
        self.inner.landed.notify_waiters();
        self.inner.observe.observe(&event);
    }
}

fn no_token(why: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated).because(why)
}

impl Clone for Renewing {
    fn clone(&self) -> Self {
        Renewing(self.0.clone())
    }
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing")
            .field("config", &self.0.config)
            .field("expires", &self.expires())
            .finish_non_exhaustive()
    }
}
