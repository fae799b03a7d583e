//! How the shop's clients deal with failure. Everything that a resilience policy does is in this module.
//!
//! Every call of the shop is safe to repeat: it either only asks, or says whose booking it is, and the books
//! know a repetition. So what decides about another attempt is only whether it is useful, and that is what
//! towpath's classifier says, which knows the codes that the services declared transient.

use super::{
    args::Policies,
    services::{InventoryFault, OrderFault, PointsFault, UserFault},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use towpath::{Backoff, CallError, Class, Client, ClientState, Context, DefaultClassify, Error, Jitter};

/// Attempts at one call, the first included.
const ATTEMPTS: u32 = 16;
/// The pause before the third attempt; it doubles from there. The second follows at once, at another replica.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Connects to a dead replica: over loopback they cost nearly nothing.
const FIRST_RECONNECT: Duration = Duration::from_millis(10);
const LONGEST_RECONNECT: Duration = Duration::from_millis(250);

/// Calls and attempts of the whole shop.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) calls: AtomicU64,
    pub(crate) retries: AtomicU64,
}

/// How long a call may take, under `--policies full`.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// One attempt.
    pub(crate) attempt: Duration,
    /// All attempts and the pauses between them.
    pub(crate) total: Duration,
}

/// A call that may be attempted more than once.
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

    /// Made asynchronously: accepted first, answered later. Accepted is not done: if the outcome is lost, the
    /// attempt has failed.
    pub(crate) fn asynchronous(self) -> Self {
        Call { asynchronous: true, ..self }
    }

    /// One attempt; without a time-out of its own it has the client's.
    async fn attempt<R: DeserializeOwned>(
        &self,
        client: &Client,
        timeout: Option<Duration>,
    ) -> Result<R, CallError> {
        let request = client.request(self.method).body(self.body).idempotency_key(self.key.to_string());
        let request = match timeout {
            Some(timeout) => request.timeout(timeout),
            None => request,
        };
        match self.asynchronous {
            true => request.send_async::<R>().await?.await,
            false => request.send().await,
        }
    }
}

/// A service, as one of its callers has it: all its replicas, and what to do when one fails.
pub(crate) struct Peer {
    replicas: Vec<Client>,
    turn: AtomicUsize,
    policies: Policies,
    patience: Patience,
    classify: DefaultClassify,
    counts: Arc<Counts>,
}

impl Peer {
    /// Connections to all replicas of a service, made in the background and made again when they are lost.
    pub(crate) fn connect(
        addresses: &[SocketAddr],
        policies: Policies,
        patience: Patience,
        counts: Arc<Counts>,
    ) -> Result<Self, Error> {
        let backoff =
            Backoff::try_new(FIRST_RECONNECT, LONGEST_RECONNECT, 2.0, Jitter::Full).unwrap_or_default();
        let client = |address| Client::builder().reconnect(backoff).connect_lazy(format!("mcp://{address}"));
        let classify = DefaultClassify::new()
            .declare(UserFault::declared())
            .declare(InventoryFault::declared())
            .declare(PointsFault::declared())
            .declare(OrderFault::declared());
        Ok(Peer {
            replicas: addresses.iter().map(client).collect::<Result<_, _>>()?,
            turn: AtomicUsize::new(0),
            policies,
            patience,
            classify,
            counts,
        })
    }

    /// Waits until all replicas are connected.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        for client in &self.replicas {
            client.ready().await?;
        }
        Ok(())
    }

    /// Makes a call.
    pub(crate) async fn call<R: DeserializeOwned>(
        &self,
        call: &Call<'_, impl Serialize + Sync>,
    ) -> Result<R, CallError> {
        self.counts.calls.fetch_add(1, Relaxed);
        let first = self.turn.fetch_add(1, Relaxed);
        if self.policies == Policies::None {
            return call.attempt(self.replica(first), None).await;
        }
        let deadline = Instant::now() + self.patience.total;
        let deadline = Context::inherit().deadline().map_or(deadline, |inherited| deadline.min(inherited));
        let mut made = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let client = self.connected(first + made as usize);
            let error = match call.attempt(client, Some(left.min(self.patience.attempt))).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            made += 1;
            let class = class(&self.classify, &error);
            let pause = pause(made, &class);
            if made == ATTEMPTS || !class.is_retryable(true) || Instant::now() + pause >= deadline {
                return Err(error);
            }
            self.counts.retries.fetch_add(1, Relaxed);
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }

    fn replica(&self, turn: usize) -> &Client {
        &self.replicas[turn % self.replicas.len()]
    }

    /// The replica whose turn it is, or the next one that is connected.
    fn connected(&self, turn: usize) -> &Client {
        let turns = turn..turn + self.replicas.len();
        let connected = |client: &&Client| matches!(client.state(), ClientState::Connected);
        turns.map(|turn| self.replica(turn)).find(connected).unwrap_or(self.replica(turn))
    }
}

/// What a failure means.
fn class(classify: &DefaultClassify, error: &CallError) -> Class {
    match error {
        CallError::Fault(fault) => classify.fault(fault.into()),
        CallError::Failed(error) => Class::of_error(error),
        // What was sent or what came cannot be read: it will not be otherwise the next time.
        _ => Class { useful: false, ..Class::FAILURE },
    }
}

/// How long to wait before the next attempt, after so many: not at all once, then anywhere up to a bound that
/// doubles, so that callers who failed together do not come back together. The callee's word is kept.
fn pause(made: u32, class: &Class) -> Duration {
    let bound = match made {
        0 | 1 => Duration::ZERO,
        _ => FIRST_PAUSE.saturating_mul(1 << (made - 2).min(16)).min(LONGEST_PAUSE),
    };
    bound.mul_f64(fastrand::f64()).max(class.retry_after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath::ErrorKind;

    fn known() -> DefaultClassify {
        DefaultClassify::new().declare(OrderFault::declared())
    }

    #[test]
    fn what_may_pass_is_tried_again_and_an_answer_is_not() {
        let again = |error: CallError| class(&known(), &error).is_retryable(true);
        assert!(again(CallError::Fault(OrderFault::Busy.into())));
        assert!(again(CallError::Fault(OrderFault::Unreached.into())));
        assert!(again(CallError::Failed(ErrorKind::ConnectionLost.into())));
        assert!(again(CallError::Failed(ErrorKind::DeadlineExceeded.into())));
        assert!(!again(CallError::Fault(OrderFault::BadQuantity.into())));
        assert!(!again(CallError::Fault(OrderFault::DeductFailed.into())));
        assert!(!again(CallError::Failed(ErrorKind::UnknownMethod.into())));
    }

    #[test]
    fn pauses_grow_to_a_bound_and_keep_the_callees_word() {
        let plain = Class::FAILURE;
        assert_eq!(pause(1, &plain), Duration::ZERO);
        for made in 2..100 {
            let bound = FIRST_PAUSE * (1 << (made - 2).min(10));
            for _ in 0..50 {
                assert!(pause(made, &plain) <= bound.min(LONGEST_PAUSE));
            }
        }
        assert!((0..1_000).any(|_| pause(9, &plain) > LONGEST_PAUSE / 2), "they do grow");
        let told = Class { retry_after: Some(Duration::from_secs(1)), ..plain };
        assert_eq!(pause(1, &told), Duration::from_secs(1));
    }
}
