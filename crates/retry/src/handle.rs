//! What all services of a layer share, whatever they are around; and the handle to it.

use crate::{GaveUp, HedgeAfter, HedgeConfig, RetryConfig, latency::Latency, plan::Kind};
use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};
use tokio::time::Instant;
use towpath_core::{Budget, Clock, Live, Shared, Tally};

/// Numbers of the counts.
pub(crate) const CALLS: usize = 0;
pub(crate) const RETRIES: usize = 1;
pub(crate) const HEDGES: usize = 2;
pub(crate) const HEDGES_WON: usize = 3;
pub(crate) const BUDGET_EXHAUSTED: usize = 4;
pub(crate) const GAVE_UP: usize = 5;
pub(crate) const NOT_COPIED: usize = 6;

pub(crate) struct Core {
    pub(crate) config: Live<RetryConfig>,
    pub(crate) budget: Budget,
    /// Whether the budget was handed in: then the config does not say its size.
    pub(crate) borrowed: bool,
    pub(crate) hedges: Budget,
    pub(crate) latency: Latency,
    pub(crate) counts: Tally<7>,
    said: AtomicBool,
}

impl Core {
    pub(crate) fn new(config: Live<RetryConfig>, budget: Option<Budget>) -> Self {
        let now = config.get();
        let borrowed = budget.is_some();
        Core {
            budget: budget.unwrap_or_else(|| Budget::new(now.budget())),
            borrowed,
            hedges: Budget::new(now.hedge().copied().unwrap_or_default().budget()),
            latency: Latency::new(),
            counts: Tally::new(),
            said: AtomicBool::new(false),
            config,
        }
    }

    /// A config is used for the first time.
    #[cold]
    pub(crate) fn apply(&self, config: &RetryConfig) {
        if !self.borrowed && self.budget.config() != config.budget() {
            self.budget.resize(config.budget());
        }
        if let Some(hedge) = config.hedge().filter(|hedge| hedge.budget() != self.hedges.config()) {
            self.hedges.resize(hedge.budget());
        }
    }

    /// Takes a try out of the budget; two budgets for a hedge.
    pub(crate) fn pay(&self, kind: Kind, now: Instant) -> bool {
        let paid = (kind == Kind::Retry || self.hedges.withdraw(now)) && self.budget.withdraw(now);
        if !paid {
            self.counts.add(BUDGET_EXHAUSTED, 1);
        }
        paid
    }

    /// After how long a call gets company, as things are.
    #[inline]
    pub(crate) fn hedge_after(&self, hedge: &HedgeConfig) -> Option<Duration> {
        match hedge.after() {
            HedgeAfter::Fixed(delay) => Some(delay),
            HedgeAfter::Percentile(_) => self.latency.delay(),
        }
    }

    /// An answer came.
    #[inline]
    pub(crate) fn record(&self, now: Instant, took: Duration) {
        let wanted = || self.config.get().percentile().unwrap_or(100.0);
        self.latency.record(now, took, wanted, HedgeConfig::MIN_SEEN);
    }

    /// Whether this is the first request that cannot be copied. Then that is logged.
    #[cold]
    pub(crate) fn cannot_copy(&self) -> bool {
        self.counts.add(NOT_COPIED, 1);
        let first = !self.said.swap(true, Relaxed);
        if first {
            tracing::warn!(
                "a request cannot be copied, so its call is attempted once only, as will be others like it: \
                 retries and hedges need a body that can be sent again. Reported once."
            );
        }
        first
    }

    pub(crate) fn gave_up(&self) {
        self.counts.add(GAVE_UP, 1);
    }
}

impl GaveUp {
    /// Whether attempts were spent, so that none is to be made further up either.
    pub(crate) fn is_spent(self) -> bool {
        matches!(self, GaveUp::AttemptsSpent | GaveUp::BudgetSpent)
    }
}

/// Reads what a retry layer does, and replaces its config while it runs. Clones are handles to the same layer.
///
/// ```
/// use towpath_retry::{RetryConfig, RetryLayer};
/// let layer = RetryLayer::new(RetryConfig::default());
/// let handle = layer.handle();
/// handle.config().update(|config| config.with_max_attempts(5))?;
/// assert_eq!((handle.counts().calls, handle.balance()), (0, 10));
/// # Ok::<(), towpath_retry::InvalidRetry>(())
/// ```
#[derive(Clone)]
pub struct RetryHandle {
    pub(crate) core: Shared<Core>,
}

/// What a retry layer has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryCounts {
    /// Calls, which are first attempts.
    pub calls: u64,
    /// Attempts after a failure.
    pub retries: u64,
    /// Attempts beside one that was slow.
    pub hedges: u64,
    /// Hedges that were answered first.
    pub hedges_won: u64,
    /// Attempts that the budget could not pay for.
    pub budget_exhausted: u64,
    /// Calls that failed.
    pub gave_up: u64,
    /// Calls whose request could not be copied.
    pub not_copied: u64,
}

impl RetryHandle {
    /// The config: to look at, to watch, and to replace. A new one holds for the next call, and for what is
    /// decided from then on about those under way.
    pub fn config(&self) -> &Live<RetryConfig> {
        &self.core.config
    }

    /// The budget of all further attempts: its clones can be [shared](crate::RetryLayer::share_budget) with other
    /// layers.
    pub fn budget(&self) -> &Budget {
        &self.core.budget
    }

    /// How many further attempts the budget can pay for at this moment.
    pub fn balance(&self) -> u64 {
        self.core.budget.balance(Clock::now())
    }

    /// How many hedges their own share can pay for at this moment.
    pub fn hedge_balance(&self) -> u64 {
        self.core.hedges.balance(Clock::now())
    }

    /// After how long a call gets company, as things are; `None`: not at all.
    pub fn hedge_after(&self) -> Option<Duration> {
        self.core.config.get().hedge().and_then(|hedge| self.core.hedge_after(hedge))
    }

    /// What was counted.
    pub fn counts(&self) -> RetryCounts {
        let total = |count| self.core.counts.total(count);
        RetryCounts {
            calls: total(CALLS),
            retries: total(RETRIES),
            hedges: total(HEDGES),
            hedges_won: total(HEDGES_WON),
            budget_exhausted: total(BUDGET_EXHAUSTED),
            gave_up: total(GAVE_UP),
            not_copied: total(NOT_COPIED),
        }
    }
}

impl fmt::Debug for RetryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryHandle")
            .field("config", &self.core.config)
            .field("budget", &self.core.budget)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
