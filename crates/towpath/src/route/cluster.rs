//! Many endpoints as one service: found by discovery, each with its breaker and its connections, under a balancer.

use super::{
    around::{Around, EndpointHandles},
    checks::{Checks, MaybeChecked},
    closing::{Closed, Closing},
    pick::AnyPick,
    ping::{self, Ways},
};
use crate::{
    channel::{Channel, Channels, ClientState},
    policies::{Boxed, EndpointBreaker, Maybe, Optional},
};
use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use towpath_balance::{Balance, BalanceConfig, BalanceEvent, BalanceHandle, Balancer, Pick, PowerOfTwo};
use towpath_core::{
    DefaultClassify, Discover, Endpoint, EndpointStatus, Error, ErrorKind, FromContext, Live, NewService,
    Observe, Processed, Request,
};
use towpath_discover::NameHandle;
use towpath_health::{HealthChecker, HealthEvent};

/// How long a ping waits for the first endpoint that is ready.
const FIRST: Duration = Duration::from_secs(5);

/// The stack of one endpoint.
type Stack = Optional<EndpointBreaker, Boxed<Channel>>;

pub(super) type Inner = Balance<Stack, Request, AnyPick, DefaultClassify, FromContext>;

/// How endpoints are chosen and judged.
#[derive(Clone)]
pub(crate) struct ClusterSettings {
    pub(crate) balance: Live<BalanceConfig>,
    pub(crate) picker: AnyPick,
    pub(crate) breaker: Option<EndpointBreaker>,
    pub(crate) classify: DefaultClassify,
    pub(crate) observe: Arc<dyn Observe<BalanceEvent> + Send + Sync>,
    pub(crate) checks: Option<Checks>,
    observe_checks: Arc<dyn Observe<HealthEvent> + Send + Sync>,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        ClusterSettings {
            balance: Live::default(),
            picker: AnyPick::new(PowerOfTwo::new()),
            breaker: None,
            classify: DefaultClassify::new(),
            observe: Arc::new(()),
            checks: None,
            observe_checks: Arc::new(()),
        }
    }
}

impl ClusterSettings {
    /// Has somebody hear what checks find out that the client makes itself.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) fn checked_by(&mut self, observe: impl Observe<HealthEvent> + Send + Sync + 'static) {
        self.observe_checks = Arc::new(observe);
    }

    pub(crate) fn pick_by(&mut self, picker: impl Pick) {
        self.picker = AnyPick::new(picker);
    }
}

/// Many endpoints as one service. Clones are the same.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// What it is, as it is named in errors.
    name: Arc<str>,
    pub(crate) balance: Inner,
    handle: BalanceHandle,
    around: Around,
    ways: Arc<Ways>,
    checker: Option<HealthChecker>,
    /// Where the endpoints are looked up, if it is a directory that does so.
    source: Option<NameHandle>,
    closed: Closed,
    /// It was closed.
    ended: Arc<Notify>,
}

/// Makes the stack of an endpoint.
struct Stacks {
    around: Around,
    // Whoever looks at a balancer keeps who makes its stacks.
    ways: Weak<Ways>,
    channels: Channels,
    breaker: Option<EndpointBreaker>,
}

impl NewService<Endpoint> for Stacks {
    type Service = Stack;

    fn new_service(&self, endpoint: Endpoint) -> Stack {
        let breaker = self.breaker.as_ref().map(|breaker| breaker.for_endpoint(&endpoint));
        let channel = self.channels.new_service(endpoint.clone());
        let handle = breaker.as_ref().map(EndpointBreaker::handle);
        let handles = EndpointHandles { endpoint, pool: channel.pool(), breaker: handle };
        if let Some(ways) = self.ways.upgrade() {
            ways.insert(handles.endpoint.id(), channel.clone());
        }
        self.around.insert(handles);
        Maybe::around(breaker.as_ref(), Boxed(channel))
    }
}

impl Cluster {
    pub(crate) fn new<D>(
        name: impl Into<Arc<str>>,
        discover: D,
        channels: Channels,
        settings: ClusterSettings,
        source: Option<NameHandle>,
    ) -> Self
    where
        D: Discover + Unpin + Send + 'static,
    {
        let ClusterSettings { balance, picker, breaker, classify, observe, checks, observe_checks } =
            settings;
        let checker = checks.map(|checks| checks.checker(&channels, observe_checks));
        let discover = MaybeChecked::new(discover, checker.as_ref());
        let closed = Closed::default();
        let (around, ways) = (Around::default(), Arc::<Ways>::default());
        let (left, gone) = (around.clone(), Arc::downgrade(&ways));
        let forget = move |event: &BalanceEvent| {
            if let BalanceEvent::Left(endpoint) = event {
                left.remove(endpoint.id());
                if let Some(ways) = gone.upgrade() {
                    ways.remove(endpoint.id());
                }
            }
        };
        let balance = Balancer::new(balance)
            .pick_by(picker)
            .classify(classify)
            .honour_context()
            .observe((observe, forget))
            .explain(explain(source.clone()))
            .over(
                Closing::new(discover, closed.clone()),
                Stacks { around: around.clone(), ways: Arc::downgrade(&ways), channels, breaker },
            );
        let handle = balance.handle();
        Cluster {
            name: name.into(),
            balance,
            handle,
            around,
            ways,
            checker,
            source,
            closed,
            ended: Arc::default(),
        }
    }

    pub(crate) fn handle(&self) -> &BalanceHandle {
        &self.handle
    }

    /// What stands around each endpoint.
    pub(crate) fn around(&self) -> &Around {
        &self.around
    }

    /// Where the endpoints are looked up.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) fn source(&self) -> Option<&NameHandle> {
        self.source.as_ref()
    }

    /// Who checks the endpoints.
    pub(crate) fn checker(&self) -> Option<&HealthChecker> {
        self.checker.as_ref()
    }

    pub(crate) fn state(&self) -> ClientState {
        if self.closed.is_closed() {
            ClientState::Closed
        } else if let Some(since) = self.handle.unready_since() {
            ClientState::Connecting { since, last_error: self.around.last_error() }
        } else {
            ClientState::Connected
        }
    }

    /// Asks the peers of all endpoints that are ready for a sign of life, at the same time.
    pub(crate) async fn ping(&self) -> Result<Duration, Error> {
        let since = Instant::now();
        match timeout_at(since + FIRST, self.ready()).await {
            Ok(ready) => ready?,
            Err(_) => return Err(self.not_ready(since.elapsed())),
        }
        let views = self.handle.endpoints().into_iter();
        let ready = views.filter(|view| view.status == EndpointStatus::Ready).map(|view| view.endpoint);
        let ways = ready.filter_map(|endpoint| {
            let way = self.ways.get(endpoint.id())?;
            Some((endpoint, way))
        });
        ping::slowest(ways).await.map_err(|error| error.at(self.name.clone()))
    }

    pub(crate) fn close(&self) {
        self.closed.close();
        // Nobody may have started what is to be ended.
        self.balance.start();
        self.ended.notify_waiters();
    }

    /// What a call fails with after that.
    #[inline]
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.closed.is_closed().then(|| self.was_closed())
    }

    #[cold]
    fn was_closed(&self) -> Error {
        let error = Error::new(ErrorKind::Draining).at(self.name.clone()).with_processed(Processed::No);
        error.because("the client was closed here")
    }

    /// Begins to find endpoints and to connect, and waits until one is ready.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.balance.start();
        loop {
            // In line before the look: a change after it is not missed. What is counted is what the balancer has taken in; it
            // tells when it has.
            let (ended, changed) = (self.ended.notified(), self.handle.changed());
            tokio::pin!(ended);
            ended.as_mut().enable();
            if let Some(refusal) = self.refusal() {
                return Err(refusal);
            }
            if self.handle.counts().ready > 0 {
                return Ok(());
            }
            tokio::select! {
                () = changed => {}
                () = ended => {}
            }
        }
    }

    /// Why there is none that is ready, after waiting for one.
    pub(crate) fn not_ready(&self, waited: Duration) -> Error {
        let error = Error::new(ErrorKind::NoEndpoint).at(self.name.clone()).with_processed(Processed::No);
        let waited = waited.as_millis();
        if self.handle.is_settled() {
            return error.because(format!("none is ready after {waited} ms; {}", self.handle.counts()));
        }
        let why = explain(self.source.clone())().map(|why| format!(": {why}"));
        let why = why.unwrap_or_default();
        error.because(format!("no endpoints are known after {waited} ms{why}"))
    }
}

/// What who looks for endpoints has to say when there are none.
fn explain(source: Option<NameHandle>) -> impl Fn() -> Option<String> {
    move || {
        let source = source.as_ref()?;
        let (about, status) = (source.about(), source.status());
        Some(match status.error {
            Some(error) => format!("{about}: {error}"),
            None if status.answered.is_some() => format!("{about}: there are no endpoints there"),
            None => format!("{about}: no answer yet"),
        })
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("name", &self.name).field("endpoints", &self.handle.counts()).finish()
    }
}
