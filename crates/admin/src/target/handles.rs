//! The handles, and what they say.

use super::{
    order,
    step::{self, Step},
    words::{mode_word, of_counts, of_pool, since, status_until, status_word, still},
};
use crate::{
    Recorder, text,
    view::{BreakerView, BudgetView, EndpointView, LimitView, PoolView, TargetView},
};
use std::{fmt, sync::Arc};
use towpath_balance::BalanceHandle;
use towpath_breaker::{BreakerHandle, Breakers};
use towpath_core::Endpoint;
use towpath_limit::{AdmissionHandle, ConcurrencyHandle, RateHandle};
use towpath_pool::{PoolHandle, PoolStats};
use towpath_retry::RetryHandle;

/// So many faults are shown at a time.
const FAULTS: usize = 25;

/// What stands around one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointHandles {
    /// Which one.
    pub endpoint: Endpoint,
    /// Its connections.
    pub pool: PoolHandle,
    /// Its breaker, if it has one.
    pub breaker: Option<BreakerHandle>,
}

/// What is done with a breaker by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Force {
    /// It turns all calls away.
    Open,
    /// It lets all calls through.
    Closed,
    /// Outcomes of calls decide again.
    Automatic,
}

/// Whether a server should get calls. The later one is the worse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerState {
    /// It does.
    Serving,
    /// Not yet, or not for now.
    Starting,
    /// Not any more: it finishes what it has, or has ended.
    Draining,
}

impl ServerState {
    /// As it is in the view: `serving`, `starting`, `draining`.
    pub fn as_str(self) -> &'static str {
        match self {
            ServerState::Serving => "serving",
            ServerState::Starting => "starting",
            ServerState::Draining => "draining",
        }
    }
}

/// A client or a server to be looked at: whatever handles there are of its layers. What is left out is not shown.
///
/// ```
/// use towpath_admin::{Step, Target};
/// use towpath_breaker::{BreakerConfig, BreakerLayer};
/// use towpath_retry::{RetryConfig, RetryLayer};
///
/// let breaker = BreakerLayer::new(BreakerConfig::prompt()).per_method();
/// let retry = RetryLayer::new(RetryConfig::default());
/// let target = Target::client()
///     .stack([Step::new("DeadlineLayer"), Step::new("BreakerLayer"), Step::new("RetryLayer")])
///     .breakers(breaker.handle())
///     .retry(retry.handle());
/// assert_eq!(target.view("billing").budget.unwrap().left, 10);
/// ```
#[derive(Clone)]
pub struct Target {
    client: bool,
    steps: Vec<Step>,
    recorder: Option<Recorder>,
    server: Option<Asked>,
    balance: Option<BalanceHandle>,
    around: Option<Around>,
    pool: Option<PoolHandle>,
    breakers: Option<Breakers>,
    retry: Option<RetryHandle>,
    admission: Option<AdmissionHandle>,
    concurrency: Option<ConcurrencyHandle>,
    rate: Option<RateHandle>,
}

type Around = Arc<dyn Fn() -> Vec<EndpointHandles> + Send + Sync>;
type Asked = Arc<dyn Fn() -> ServerState + Send + Sync>;

impl Target {
    fn new(client: bool) -> Self {
        Target {
            client,
            steps: Vec::new(),
            recorder: None,
            server: None,
            balance: None,
            around: None,
            pool: None,
            breakers: None,
            retry: None,
            admission: None,
            concurrency: None,
            rate: None,
        }
    }

    /// One that makes calls.
    pub fn client() -> Self {
        Target::new(true)
    }

    /// One that answers calls.
    pub fn server() -> Self {
        Target::new(false)
    }

    /// Its layers, from outside to inside.
    #[must_use]
    pub fn stack(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps = steps.into_iter().collect();
        self
    }

    /// Who records its calls.
    #[must_use]
    pub fn recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Whether this server should get calls: asked at each look, and for `/health/ready`, which says no unless all servers
    /// do that tell. One that does not tell is shown as serving.
    #[must_use]
    pub fn server_state(mut self, state: impl Fn() -> ServerState + Send + Sync + 'static) -> Self {
        self.server = Some(Arc::new(state));
        self
    }

    /// Its endpoints.
    #[must_use]
    pub fn endpoints(mut self, balance: BalanceHandle) -> Self {
        self.balance = Some(balance);
        self
    }

    /// What stands around each endpoint; asked at each look.
    #[must_use]
    pub fn around(mut self, handles: impl Fn() -> Vec<EndpointHandles> + Send + Sync + 'static) -> Self {
        self.around = Some(Arc::new(handles));
        self
    }

    /// Its connections, if it has one address.
    #[must_use]
    pub fn pool(mut self, pool: PoolHandle) -> Self {
        self.pool = Some(pool);
        self
    }

    /// The breakers of its methods.
    #[must_use]
    pub fn breakers(mut self, breakers: Breakers) -> Self {
        self.breakers = Some(breakers);
        self
    }

    /// Its retries and hedges.
    #[must_use]
    pub fn retry(mut self, retry: RetryHandle) -> Self {
        self.retry = Some(retry);
        self
    }

    /// How many calls are let in.
    #[must_use]
    pub fn admission(mut self, admission: AdmissionHandle) -> Self {
        self.admission = Some(admission);
        self
    }

    /// How many attempts there are at a time.
    #[must_use]
    pub fn concurrency(mut self, concurrency: ConcurrencyHandle) -> Self {
        self.concurrency = Some(concurrency);
        self
    }

    /// How many there are in a time.
    #[must_use]
    pub fn rate(mut self, rate: RateHandle) -> Self {
        self.rate = Some(rate);
        self
    }

    pub(crate) fn told(&self) -> Option<ServerState> {
        self.server.as_ref().map(|state| state())
    }

    pub(crate) fn recorded(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// How it looks at this moment.
    pub fn view(&self, name: &str) -> TargetView {
        TargetView {
            traffic: self.recorder.as_ref().map(Recorder::traffic),
            methods: self.recorder.as_ref().map(Recorder::methods).unwrap_or_default(),
            faults: self.recorder.iter().flat_map(|recorder| recorder.faults(FAULTS)).collect(),
            ..self.look(name)
        }
    }

    /// The same without its calls.
    pub(crate) fn look(&self, name: &str) -> TargetView {
        let around = self.around.as_ref().map(|around| around()).unwrap_or_default();
        let (state, about) = self.state();
        TargetView {
            name: name.to_owned(),
            side: if self.client { "client" } else { "server" }.to_owned(),
            state: state.to_owned(),
            about,
            panics: self.balance.as_ref().is_some_and(BalanceHandle::is_panicking),
            stack: step::views(&self.steps),
            warnings: order::warnings(&self.steps, self.client),
            endpoints: self.balance.iter().flat_map(BalanceHandle::endpoints).map(endpoint).collect(),
            breakers: self.forceable(&around).iter().map(|(id, of, one)| breaker(id, of, one)).collect(),
            pool: self.connections(&around),
            budget: self.retry.as_ref().map(budget),
            limits: self.limits(),
            ..TargetView::default()
        }
    }

    /// Opens or closes a breaker by its id in the view. `false`: there is none of that id.
    pub fn force(&self, id: &str, force: Force) -> bool {
        let around = self.around.as_ref().map(|around| around()).unwrap_or_default();
        let all = self.forceable(&around);
        let Some((.., breaker)) = all.iter().find(|(known, ..)| known == id) else { return false };
        match force {
            Force::Open => breaker.force_open(),
            Force::Closed => breaker.force_close(),
            Force::Automatic => breaker.automatic(),
        }
        true
    }

    fn state(&self) -> (&'static str, String) {
        match (&self.balance, &self.pool) {
            (Some(balance), _) => of_counts(balance.counts(), balance.is_settled(), balance.is_panicking()),
            (None, Some(pool)) => {
                let (state, about) = of_pool(&pool.state());
                (state, if about.is_empty() { text::plain(pool.name()) } else { about })
            }
            (None, None) if self.client => ("connected", String::new()),
            (None, None) => (self.told().unwrap_or(ServerState::Serving).as_str(), String::new()),
        }
    }

    /// All breakers, with an id for each. An endpoint's id is never used again, so that nobody forces another one.
    fn forceable(&self, around: &[EndpointHandles]) -> Vec<(String, &'static str, BreakerHandle)> {
        let methods = self.breakers.iter().flat_map(Breakers::all);
        let methods = methods.map(|one| (format!("method:{}", one.name()), "method", one));
        let endpoints = around.iter().filter_map(|one| {
            Some((format!("endpoint:{}", one.endpoint.id().0), "endpoint", one.breaker.clone()?))
        });
        methods.chain(endpoints).collect()
    }

    fn connections(&self, around: &[EndpointHandles]) -> Option<PoolView> {
        let own = self.pool.iter().chain(around.iter().map(|one| &one.pool));
        own.map(PoolHandle::stats).map(pool).reduce(|a, b| PoolView {
            open: a.open + b.open,
            idle: a.idle + b.idle,
            connecting: a.connecting + b.connecting,
            in_flight: a.in_flight + b.in_flight,
            waiting: a.waiting + b.waiting,
            connects: a.connects + b.connects,
            failures: a.failures + b.failures,
            losses: a.losses + b.losses,
        })
    }

    fn limits(&self) -> Vec<LimitView> {
        let admission = self.admission.iter().map(|one| LimitView {
            name: "admission".to_owned(),
            limit: Some(one.limit().into()),
            in_flight: Some(one.in_flight().into()),
            waiting: Some(one.waiting().into()),
            refused: one.refused().iter().sum(),
        });
        let concurrency = self.concurrency.iter().map(|one| LimitView {
            name: "concurrency".to_owned(),
            limit: Some(one.limit().into()),
            in_flight: Some(one.in_flight().into()),
            waiting: Some(one.waiting().into()),
            refused: one.refused(),
        });
        let rate = self.rate.iter().map(|one| LimitView {
            name: "rate".to_owned(),
            refused: one.refused(),
            ..LimitView::default()
        });
        admission.chain(concurrency).chain(rate).collect()
    }
}

fn endpoint(view: towpath_balance::EndpointView) -> EndpointView {
    let endpoint = &view.endpoint;
    EndpointView {
        id: endpoint.id().0,
        address: text::plain(endpoint.address()),
        status: status_word(&view.status).to_owned(),
        takes_calls: view.takes_calls,
        weight: endpoint.weight(),
        priority: endpoint.priority(),
        zone: text::plain(endpoint.zone().unwrap_or_default()),
        in_flight: view.in_flight,
        picks: view.picks,
        ewma_us: view.latency.map(|latency| latency.as_micros() as u64),
        failures: view.failures.into(),
        reported: view.reported,
        until_ms: status_until(&view.status),
    }
}

fn breaker(id: &str, of: &str, breaker: &BreakerHandle) -> BreakerView {
    let status = breaker.status();
    BreakerView {
        id: id.to_owned(),
        name: text::plain(breaker.name()),
        of: of.to_owned(),
        state: status.state.as_str().to_owned(),
        mode: mode_word(status.mode).to_owned(),
        for_ms: since(status.since),
        still_ms: status.until.map(still),
        calls: status.window.calls,
        failures: status.window.failures,
        slow: status.window.slow,
        rejected: breaker.rejected(),
        changes: status.changes,
    }
}

fn pool(stats: PoolStats) -> PoolView {
    PoolView {
        open: stats.open.into(),
        idle: stats.idle.into(),
        connecting: stats.connecting.into(),
        in_flight: stats.in_flight as u64,
        waiting: stats.waiting.into(),
        connects: stats.connects,
        failures: stats.failures,
        losses: stats.losses,
    }
}

fn budget(retry: &RetryHandle) -> BudgetView {
    let counts = retry.counts();
    BudgetView {
        left: retry.balance(),
        retries: counts.retries,
        hedges: counts.hedges,
        hedges_won: counts.hedges_won,
        refused: counts.budget_exhausted,
        gave_up: counts.gave_up,
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("client", &self.client)
            .field("stack", &self.steps)
            .finish_non_exhaustive()
    }
}
