//! The count: what first attempts paid in, and what further tries took out.

use super::config::BudgetConfig;
use crate::Tally;
use std::{
    array, fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;

/// For how many seconds, the current one included, what was paid in can be taken out.
const WINDOW: u64 = 10;
/// One try, in the units in which is counted.
const TRY: u64 = 1_000;

/// How many tries beside the first there may be: keeps retries and hedges a bounded share of the traffic,
/// so that a callee which is down is not kept down by them.
///
/// Each first attempt pays in a share of a try (a fifth, unless [`BudgetConfig`] says otherwise); each retry
/// and each hedge takes a whole one out, or does not happen. What was paid in is good for the rest of its
/// second and the nine after it. Beside that there is a reserve of whole tries for each second (10), so that
/// a caller with little traffic can retry at all; it is taken first, and does not add up from second to
/// second. Seconds are counted from the first use.
///
/// The count is exact, however many threads share it: never is more taken out than was there. Clones are
/// the same budget. Nothing locks.
///
/// ```
/// use towpath_core::{Budget, BudgetConfig, Clock};
/// let budget = Budget::new(BudgetConfig::try_new(0.5, 1)?);
/// let now = Clock::now();
/// budget.deposit(now);
/// budget.deposit(now);
/// let tries = [budget.withdraw(now), budget.withdraw(now), budget.withdraw(now)];
/// assert_eq!(tries, [true, true, false]); // the reserve, two halves, nothing left
/// # Ok::<(), towpath_core::InvalidBudget>(())
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    /// What each first attempt pays in, and the reserve of a second: in one word, so that both change at once.
    size: AtomicU64,
    /// When second 0 began.
    base: OnceLock<Instant>,
    /// The second up to which `marks` are kept.
    second: AtomicU64,
    /// All that was ever paid in. Only grows.
    earned: Tally,
    /// All of that which was taken out or was not taken out in time. Only grows, and never above `earned`.
    spent: AtomicU64,
    /// `earned` as it was at the end of second *s*, at *s* modulo the window. What is older than the window
    /// has been spent by then, one way or the other.
    marks: [AtomicU64; WINDOW as usize],
    /// The second and how much of its reserve was taken, 32 bits each.
    reserve: AtomicU64,
}

impl Budget {
    /// A budget in which nothing was paid yet.
    pub fn new(config: BudgetConfig) -> Self {
        Budget(Arc::new(Inner {
            size: AtomicU64::new(size(config)),
            base: OnceLock::new(),
            second: AtomicU64::new(0),
            earned: Tally::new(),
            spent: AtomicU64::new(0),
            marks: array::from_fn(|_| AtomicU64::new(0)),
            reserve: AtomicU64::new(0),
        }))
    }

    /// Its size.
    pub fn config(&self) -> BudgetConfig {
        let (deposit, per_second) = unpack(self.0.size.load(Relaxed));
        // It was in range when it was packed.
        BudgetConfig::try_new(deposit as f64 / TRY as f64, per_second as u32).unwrap_or_default()
    }

    /// Another size, from here on: what was paid in stays, and what was taken of this second's reserve counts.
    pub fn resize(&self, config: BudgetConfig) {
        self.0.size.store(size(config), Relaxed);
    }

    /// A first attempt is made: pays its share in.
    pub fn deposit(&self, now: Instant) {
        self.0.turn(now);
        self.0.earned.add(0, unpack(self.0.size.load(Relaxed)).0);
    }

    /// For one that pays in again and again: see [`Deposits`].
    pub fn deposits(&self) -> Deposits {
        Deposits { budget: self.clone(), until: None }
    }

    /// A retry or a hedge is to be made: takes a try out, or says that there is none.
    #[must_use = "without a try there is no retry"]
    pub fn withdraw(&self, now: Instant) -> bool {
        let second = self.0.turn(now);
        self.0.take_reserve(second) || self.0.take_earned()
    }

    /// How many tries there are at this moment, the reserve of this second included.
    pub fn balance(&self, now: Instant) -> u64 {
        let second = self.0.turn(now);
        let (at, used) = unpack(self.0.reserve.load(Relaxed));
        let used = if at < second { 0 } else { used };
        let reserve = unpack(self.0.size.load(Relaxed)).1.saturating_sub(used);
        // In this order: what is spent was earned before.
        let spent = self.0.spent.load(Relaxed);
        reserve + self.0.earned.total(0).saturating_sub(spent) / TRY
    }
}

/// Pays into a [`Budget`], and keeps in mind until when the second is the same: as long as it is, there is
/// nothing to be done but to add.
#[derive(Clone, Debug)]
pub struct Deposits {
    budget: Budget,
    until: Option<Instant>,
}

impl Deposits {
    /// As [`Budget::deposit`].
    #[inline]
    pub fn deposit(&mut self, now: Instant) {
        if self.until.is_none_or(|until| until <= now) {
            self.turn(now);
        }
        let inner = &self.budget.0;
        inner.earned.add(0, unpack(inner.size.load(Relaxed)).0);
    }

    #[cold]
    fn turn(&mut self, now: Instant) {
        let inner = &self.budget.0;
        let second = inner.turn(now);
        self.until = inner.base.get().map(|base| *base + Duration::from_secs(second + 1));
    }
}

impl Inner {
    /// Turns to the second that it is now, and lets lapse what is too old. Answers with that second; it is
    /// never one before that of a call made earlier.
    fn turn(&self, now: Instant) -> u64 {
        let base = *self.base.get_or_init(|| now);
        let second = now.saturating_duration_since(base).as_secs();
        let mut before = self.second.load(Relaxed);
        while before < second {
            match self.second.compare_exchange_weak(before, second, Relaxed, Relaxed) {
                Ok(_) => {
                    self.lapse(before, second);
                    return second;
                }
                Err(current) => before = current,
            }
        }
        before
    }

    /// The seconds from `before` to the one before `second` are over. One thread does this for a second;
    /// what others pay in or take out meanwhile counts for the second that ends.
    #[cold]
    fn lapse(&self, before: u64, second: u64) {
        let earned = self.earned.total(0);
        let mark = |second: u64| &self.marks[(second % WINDOW) as usize];
        for ended in before.max(second.saturating_sub(WINDOW))..second {
            mark(ended).store(earned, Relaxed);
        }
        // Holds the mark of the second that leaves the window: it is the next to be overwritten.
        self.spent.fetch_max(mark(second).load(Relaxed), Relaxed);
    }

    fn take_reserve(&self, second: u64) -> bool {
        let most = unpack(self.size.load(Relaxed)).1;
        let take = |word| {
            let (at, used) = unpack(word);
            let (at, used) = if at < second { (second, 0) } else { (at, used) };
            (used < most).then_some(at << 32 | (used + 1))
        };
        self.reserve.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    fn take_earned(&self) -> bool {
        // `earned` only grows: one that was read too early makes the answer too small, never too large.
        let take = |spent| {
            let spent = spent + TRY;
            (spent <= self.earned.total(0)).then_some(spent)
        };
        self.spent.fetch_update(Relaxed, Relaxed, take).is_ok()
    }
}

/// A share is in thousandths, at most 10 000; a reserve at most a million.
fn size(config: BudgetConfig) -> u64 {
    let deposit = (config.share() * TRY as f64).round() as u64;
    deposit << 32 | u64::from(config.per_second())
}

fn unpack(word: u64) -> (u64, u64) {
    (word >> 32, word & 0xffff_ffff)
}

impl Default for Budget {
    /// A fifth of the first attempts, and 10 a second.
    fn default() -> Self {
        Budget::new(BudgetConfig::default())
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("config", &self.config())
            .field("earned", &self.0.earned.total(0))
            .field("spent", &self.0.spent.load(Relaxed))
            .finish_non_exhaustive()
    }
}
