//! How the shop's clients deal with failure. Everything that a resilience policy does, is said in this module; it is
//! towpath's own layers that do it.
//!
//! ```text
//!  deadline ─ breaker of the method ─ retry and hedge ─ concurrency ─ balancer ─┬ breaker of the replica ─ pool ─ connection
//!  └────────── once per call ───────┘ └─────────── once per attempt ──────────┘ └ ...
//! ```
//!
//! Without policies there are the deadline and the pools, and the replicas that are connected take turns, as those of a list do
//! that is gone round. `balance` has the balancer in their place, and nothing else. Where the replicas are, the registry knows.
//!
//! Every call of the shop is safe to repeat: it either only asks, or says whose booking it is, and the books
//! know a repetition (so servers need no other dedupe). That is what its idempotency key tells the layers; whether
//! another attempt is useful, says towpath's classifier, which knows the codes that the services declared transient.

use super::{
    args::Policies,
    services::{InventoryFault, OrderFault, PointsFault, UserFault},
    watch::Watch,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tower::util::MapRequestLayer;
use towpath::{
    Backoff, BoxError, BudgetConfig, CallError, Client, ClientPolicies, DefaultClassify, Error, Jitter,
    Request, ServerPolicies,
    balance::RoundRobin,
    breaker::{BreakerConfig, BreakerEvent, BreakerOptions, State, Window},
    discover::Directory,
    limit::{AdmissionConfig, ConcurrencyConfig, LimitBy},
    policies::ServerStack,
    retry::{HedgeAfter, HedgeConfig, RetryConfig, RetryHandle},
};

/// Connects to a dead replica: over loopback they cost nearly nothing.
const FIRST_RECONNECT: Duration = Duration::from_millis(10);
const LONGEST_RECONNECT: Duration = Duration::from_millis(250);

/// How long a call may take.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// All attempts and the pauses between them, with policies or without.
    pub(crate) total: Duration,
    /// One attempt: many times what the slowest replica needs, so that it ends only what hangs.
    pub(crate) attempt: Duration,
    /// Whether a slow attempt gets company.
    pub(crate) hedges: bool,
}

/// At most eight attempts. A replica that dies takes the attempts with it that are under way there, and the order
/// service's own calls are not retried below an order that is itself a retry: of such orders one in eight, and of large ones
/// one in five, meets a transient fault again, with a dozen or two dozen calls at 1 % each. With three attempts some
/// orders in ten thousand would fail; with five, one in some ten thousands did. More attempts need not mean more calls: the budget
/// says how many those are, and it is the default, a fifth of the calls and ten a second.
///
/// The first retry does not wait: it goes to another replica. The pauses after that are short, as calls are.
fn retry(patience: Patience) -> Result<RetryConfig, BoxError> {
    let pauses = Backoff::try_new(Duration::from_millis(1), Duration::from_millis(250), 3.0, Jitter::Full)?;
    let hedge = match patience.hedges {
        true => Some(hedge()?),
        false => None,
    };
    Ok(RetryConfig::default()
        .with_max_attempts(8)?
        .with_at_once(1)
        .with_backoff(pauses)
        .with_attempt_timeout(patience.attempt)?
        .with_hedge(hedge))
}

/// One call in a hundred is slow enough for another attempt beside it; when a replica turns slow it is one in three until
/// its breaker opens, for which there is the budget: 5 % of the calls.
fn hedge() -> Result<HedgeConfig, BoxError> {
    Ok(HedgeConfig::try_new(HedgeAfter::Percentile(99.0))?.with_budget(BudgetConfig::try_new(0.05, 5)?))
}

/// For a replica. A slow one answers in 10 ms and more where others need a fraction of one: half of the last
/// 50 calls being slower than 8 ms says that it is. (A window of time would have to forget thousands of
/// quick answers first.) Failures open it as Hystrix' do.
fn of_replica() -> Result<BreakerConfig, BoxError> {
    Ok(BreakerConfig::try_new(BreakerOptions {
        window: Window::Calls(50),
        slow: Some(Duration::from_millis(8)),
        slow_rate: 0.5,
        open: Duration::from_secs(1),
        ..BreakerOptions::default()
    })?)
}

/// Attempts at a service, from one caller: far more than there are orders on their way. It is there for the day
/// on which a service hangs.
fn at_a_time() -> Result<ConcurrencyConfig, BoxError> {
    Ok(ConcurrencyConfig::try_new(256)?)
}

/// What servers do: with policies, a replica lets in 64 calls at a time. A limit that finds itself takes a call that
/// is slower than the others for a sign of too much work; here an order of 24 lines takes as long as 24 of one,
/// and a replica is slow for reasons of its own. Such a limit shed orders in the middle of the slow phases.
pub(crate) fn of_servers(policies: Policies) -> Result<ServerStack, BoxError> {
    let mut servers = ServerPolicies::none();
    if policies == Policies::Full {
        servers.admission = Some(AdmissionConfig::try_new(LimitBy::Fixed(64))?);
    }
    Ok(servers.stack())
}

/// What happened in the whole shop.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) calls: AtomicU64,
    /// Attempts at them, that is what was sent.
    attempts: Arc<AtomicU64>,
    opened: AtomicU64,
    retries: Mutex<Vec<RetryHandle>>,
}

/// What the attempts beyond the first were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) all: u64,
    pub(crate) retries: u64,
    pub(crate) hedges: u64,
}

impl Counts {
    pub(crate) fn attempts(&self) -> Attempts {
        let all = Attempts { all: self.attempts.load(Relaxed), ..Attempts::default() };
        let handles = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        handles.iter().map(RetryHandle::counts).fold(all, |sum, counts| Attempts {
            retries: sum.retries + counts.retries,
            hedges: sum.hedges + counts.hedges,
            ..sum
        })
    }

    /// How often a breaker opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    fn watch(&self, retry: RetryHandle) {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).push(retry);
    }

    fn count_opens(self: &Arc<Self>) -> impl Fn(&BreakerEvent) + Clone + Send + Sync + 'static {
        let counts = self.clone();
        move |event| {
            if let BreakerEvent::Changed(change) = event
                && (change.from, change.to) == (State::Closed, State::Open)
            {
                counts.opened.fetch_add(1, Relaxed);
            }
        }
    }
}

/// A call and whose it is.
pub(crate) struct Call<'a, B> {
    method: &'static str,
    key: u64,
    body: &'a B,
    asynchronous: bool,
}

impl<'a, B: Serialize + Sync> Call<'a, B> {
    /// A call of a method. `key` says whose it is.
    pub(crate) fn new(method: &'static str, key: u64, body: &'a B) -> Self {
        Call { method, key, body, asynchronous: false }
    }

    /// Made asynchronously: accepted first, answered later. Accepted is not done, and what fails after that is not
    /// attempted again.
    pub(crate) fn asynchronous(self) -> Self {
        Call { asynchronous: true, ..self }
    }
}

/// A service, as one of its callers has it.
pub(crate) struct Peer {
    client: Client,
    counts: Arc<Counts>,
}

impl Peer {
    /// The replicas that are registered at this URL, now and later, with the policies around them.
    pub(crate) fn connect(
        url: &str,
        directory: &Directory,
        policies: Policies,
        patience: Patience,
        counts: Arc<Counts>,
        watch: Option<(&'static str, &Watch)>,
    ) -> Result<Self, BoxError> {
        let reconnect = Backoff::try_new(FIRST_RECONNECT, LONGEST_RECONNECT, 2.0, Jitter::Full)?;
        let mut own = ClientPolicies::none();
        if policies == Policies::Full {
            own.breaker = Some(BreakerConfig::prompt());
            own.endpoint_breaker = Some(of_replica()?);
            own.retry = Some(retry(patience)?);
            own.concurrency = Some(at_a_time()?);
        }
        let own = own.stack_with(known()).observe_breakers(counts.count_opens());
        if let Some(retry) = own.handles().retry {
            counts.watch(retry);
        }
        let attempts = counts.attempts.clone();
        let count = MapRequestLayer::new(move |attempt: Request| {
            attempts.fetch_add(1, Relaxed);
            attempt
        });
        let builder = Client::builder()
            .timeout(patience.total)
            .reconnect(reconnect)
            .directory(directory.clone())
            .policies(own);
        let builder = match policies {
            Policies::None => builder.pick_by(RoundRobin::default()),
            Policies::Balance | Policies::Full | Policies::Both => builder,
        };
        let client = match watch {
            None => builder.layer(count).connect_lazy(url)?,
            Some((name, watch)) => {
                let builder = builder.metrics(watch.metrics(), name);
                match watch.wants(name) {
                    None => builder.layer(count).connect_lazy(url)?,
                    Some(recorder) => {
                        let client = builder.admin(recorder).layer(count).connect_lazy(url)?;
                        watch.show(name, &client);
                        client
                    }
                }
            }
        };
        Ok(Peer { client, counts })
    }

    /// Waits until a replica is connected.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.client.ready().await
    }

    /// Makes a call.
    pub(crate) async fn call<R: DeserializeOwned>(
        &self,
        call: &Call<'_, impl Serialize + Sync>,
    ) -> Result<R, CallError> {
        self.counts.calls.fetch_add(1, Relaxed);
        let Call { method, key, body, asynchronous } = *call;
        let request = self.client.request(method).body(body).idempotency_key(key.to_string());
        match asynchronous {
            true => request.send_async::<R>().await?.await,
            false => request.send().await,
        }
    }
}

/// The idea of failure that all layers share.
fn known() -> DefaultClassify {
    DefaultClassify::new()
        .declare(UserFault::declared())
        .declare(InventoryFault::declared())
        .declare(PointsFault::declared())
        .declare(OrderFault::declared())
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath::{Class, Fault};

    #[test]
    fn what_may_pass_is_tried_again_and_an_answer_is_not() {
        let again = |fault: Fault| -> bool {
            let class: Class = known().fault((&fault).into());
            class.is_retryable(true)
        };
        assert!(again(OrderFault::Busy.into()));
        assert!(again(OrderFault::Unreached.into()));
        assert!(!again(OrderFault::BadQuantity.into()));
        assert!(!again(OrderFault::DeductFailed.into()));
    }

    #[test]
    fn the_values_make_sense() {
        let second = Duration::from_secs(1);
        for hedges in [false, true] {
            retry(Patience { total: second * 2, attempt: second, hedges }).unwrap();
        }
        of_replica().unwrap();
        at_a_time().unwrap();
        of_servers(Policies::Full).unwrap();
    }
}
