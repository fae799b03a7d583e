//! The order service's book: what was asked for, what became of it, and which points are still owed.
//!
//! An order is worked on by one handler at a time, which holds its [`Run`]. If the handler is dropped (its
//! caller gave up, its connection was reset), the order is open again, and whoever asks for it next goes on
//! with the same run: what that books is keyed by the run, so nothing is booked twice.

use super::{RunId, lock};
use crate::storefront::day::Line;
use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::{Arc, Mutex},
};
use tokio::sync::Notify;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) customer: Option<u64>,
    pub(crate) lines: Box<[Line]>,
}

/// Why an order was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A line asks for zero units or less.
    BadQuantity,
    /// Nobody knows the customer.
    UnknownCustomer,
    /// There is not enough of an article.
    Short,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing final yet.
    Open,
    /// Every line's stock is deducted; it is worth so many points.
    Placed { points: u64 },
    /// Refused, and nothing of it is left.
    Rejected(Refusal),
    /// A cancellation: its goods are back in stock.
    Cancelled,
    /// The caller never learned what became of it, and had it taken back.
    Withdrawn,
}

/// An order as an audit reads it.
pub(crate) struct Audited {
    /// The last run at it.
    pub(crate) run: RunId,
    pub(crate) state: State,
    /// `None`: it was withdrawn before it came.
    pub(crate) kept: Option<Arc<Kept>>,
}

struct Entry {
    run: u32,
    /// How many of its lines are known to be booked in this run, from the first one on.
    booked: usize,
    /// Some handler has had it.
    begun: bool,
    running: bool,
    state: State,
    kept: Option<Arc<Kept>>,
    waiting: Option<Arc<Notify>>,
}

struct Owed {
    customer: u64,
    points: u64,
    sending: bool,
}

#[derive(Default)]
struct Inside {
    orders: HashMap<u64, Entry>,
    owed: BTreeMap<u64, Owed>,
}

/// All orders, and the points that are owed for them.
#[derive(Default)]
pub(crate) struct OrderBook {
    inside: Mutex<Inside>,
}

/// What a handler that asks for an order gets.
pub(crate) enum Begun {
    /// It is this handler's to work on.
    Run(Run),
    /// It is finished.
    Done(State),
}

impl OrderBook {
    /// Begins or goes on with an order. While another handler has it, this waits.
    ///
    /// Cancel safe: nothing is begun before this returns.
    pub(crate) async fn begin(self: &Arc<Self>, order: u64, kept: impl FnOnce() -> Kept) -> Begun {
        let mut kept = Some(kept);
        let finished = |state: &State| *state != State::Open;
        self.acquire(order, finished, move || kept.take().map(|kept| Arc::new(kept()))).await
    }

    /// Begins to withdraw an order, also a placed one and one that has not come yet. While another handler has
    /// it, this waits.
    ///
    /// Cancel safe: nothing is begun before this returns.
    pub(crate) async fn begin_withdrawal(self: &Arc<Self>, order: u64) -> Begun {
        let nothing_left = |state: &State| matches!(state, State::Withdrawn | State::Rejected(_));
        self.acquire(order, nothing_left, || None).await
    }

    async fn acquire(
        self: &Arc<Self>,
        order: u64,
        done: impl Fn(&State) -> bool,
        mut kept: impl FnMut() -> Option<Arc<Kept>>,
    ) -> Begun {
        loop {
            let waiting = {
                let inside = &mut *lock(&self.inside);
                let entry = inside.orders.entry(order).or_insert_with(|| Entry {
                    run: 0,
                    booked: 0,
                    begun: false,
                    running: false,
                    state: State::Open,
                    kept: None,
                    waiting: None,
                });
                if done(&entry.state) {
                    return Begun::Done(entry.state.clone());
                }
                if !entry.running {
                    entry.running = true;
                    if entry.kept.is_none() {
                        entry.kept = kept();
                    }
                    let is_first = !mem::replace(&mut entry.begun, true);
                    let (id, kept) = (RunId { order, run: entry.run }, entry.kept.clone());
                    return Begun::Run(Run { book: self.clone(), id, booked: entry.booked, is_first, kept });
                }
                // Registered under the lock: the end of the run cannot slip in between.
                entry.waiting.get_or_insert_default().clone().notified_owned()
            };
            waiting.await;
        }
    }

    /// The points that are owed for an order, to be sent by the caller; `None`: nothing is owed, or somebody
    /// is sending them.
    pub(crate) fn owed(self: &Arc<Self>, order: u64) -> Option<Grant> {
        lock(&self.inside).owed.get_mut(&order).and_then(|owed| self.grant(order, owed))
    }

    /// All points that are owed and that nobody is sending, to be sent by the caller.
    pub(crate) fn all_owed(self: &Arc<Self>) -> Vec<Grant> {
        lock(&self.inside).owed.iter_mut().filter_map(|(order, owed)| self.grant(*order, owed)).collect()
    }

    /// For how many orders points are owed.
    pub(crate) fn owing(&self) -> usize {
        lock(&self.inside).owed.len()
    }

    fn grant(self: &Arc<Self>, order: u64, owed: &mut Owed) -> Option<Grant> {
        if mem::replace(&mut owed.sending, true) {
            return None;
        }
        Some(Grant { book: self.clone(), order, customer: owed.customer, points: owed.points })
    }

    /// Every order.
    pub(crate) fn audit(&self) -> HashMap<u64, Audited> {
        let audited = |(order, entry): (&u64, &Entry)| {
            let run = RunId { order: *order, run: entry.run };
            (*order, Audited { run, state: entry.state.clone(), kept: entry.kept.clone() })
        };
        lock(&self.inside).orders.iter().map(audited).collect()
    }
}

/// An order that is being worked on. Dropping it opens the order again.
pub(crate) struct Run {
    book: Arc<OrderBook>,
    id: RunId,
    booked: usize,
    is_first: bool,
    kept: Option<Arc<Kept>>,
}

impl Run {
    /// Whether nobody has worked on the order before.
    pub(crate) fn is_first(&self) -> bool {
        self.is_first
    }

    /// How many lines are known to be booked, from the first one on: the one after them may be, the others are not.
    pub(crate) fn booked(&self) -> usize {
        self.booked
    }

    /// One more line is booked.
    pub(crate) fn book_line(&mut self) {
        self.booked += 1;
        let booked = self.booked;
        self.change(|entry| entry.booked = booked);
    }

    /// The key of whatever is booked for the order now.
    pub(crate) fn id(&self) -> RunId {
        self.id
    }

    /// What was asked for; `None` only when an order is withdrawn that never came.
    pub(crate) fn kept(&self) -> Option<&Arc<Kept>> {
        self.kept.as_ref()
    }

    /// What this run booked has been taken back: from here on it is the next one.
    pub(crate) fn renew(&mut self) {
        self.id.run += 1;
        self.booked = 0;
        self.change(|entry| {
            entry.run += 1;
            entry.booked = 0;
        });
    }

    /// Writes down what became of the order, together with the points that are now owed for it.
    pub(crate) fn finish(self, state: State) {
        let customer = self.kept.as_ref().and_then(|kept| kept.customer);
        let mut inside = lock(&self.book.inside);
        match (customer, &state) {
            (Some(customer), State::Placed { points }) if *points > 0 => {
                let owed = Owed { customer, points: *points, sending: false };
                inside.owed.insert(self.id.order, owed);
            }
            (_, State::Withdrawn) => {
                inside.owed.remove(&self.id.order);
            }
            _ => {}
        }
        if let Some(entry) = inside.orders.get_mut(&self.id.order) {
            entry.state = state;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = lock(&self.book.inside).orders.get_mut(&self.id.order) {
            change(entry);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.change(|entry| {
            entry.running = false;
            if let Some(waiting) = entry.waiting.take() {
                waiting.notify_waiters();
            }
        });
    }
}

/// Points that are owed. Dropping it leaves them owed.
pub(crate) struct Grant {
    book: Arc<OrderBook>,
    pub(crate) order: u64,
    pub(crate) customer: u64,
    pub(crate) points: u64,
}

impl Grant {
    /// They are in the customer's account, or were taken back with the order.
    pub(crate) fn settled(self) {
        lock(&self.book.inside).owed.remove(&self.order);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(owed) = lock(&self.book.inside).owed.get_mut(&self.order) {
            owed.sending = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn kept() -> Kept {
        let line = Line { code: "x".into(), quantity: 2, price: 10_000 };
        Kept { customer: Some(17_850), lines: [line].into() }
    }

    async fn run(book: &Arc<OrderBook>, order: u64) -> Run {
        match book.begin(order, kept).await {
            Begun::Run(run) => run,
            Begun::Done(state) => panic!("done: {state:?}"),
        }
    }

    #[tokio::test]
    async fn one_handler_at_a_time_and_the_next_goes_on_with_the_run() {
        let book = Arc::new(OrderBook::default());
        let first = run(&book, 1).await;
        let waiting = tokio::spawn({
            let book = book.clone();
            async move { run(&book, 1).await.id() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(run(&book, 2).await);
        drop(first);
        assert_eq!(waiting.await.unwrap(), RunId { order: 1, run: 0 });
    }

    #[tokio::test]
    async fn who_goes_on_knows_how_far_the_one_before_came() {
        let book = Arc::new(OrderBook::default());
        let mut first = run(&book, 1).await;
        assert_eq!((first.is_first(), first.booked()), (true, 0));
        first.book_line();
        first.book_line();
        drop(first);
        let next = run(&book, 1).await;
        assert_eq!((next.is_first(), next.booked()), (false, 2));
    }

    #[tokio::test]
    async fn a_compensated_run_has_a_successor() {
        let book = Arc::new(OrderBook::default());
        let mut first = run(&book, 1).await;
        first.book_line();
        first.renew();
        assert_eq!((first.id().run, first.booked()), (1, 0));
        drop(first);
        let next = run(&book, 1).await;
        assert_eq!((next.id().run, next.booked()), (1, 0));
    }

    #[tokio::test]
    async fn a_finished_order_answers_whoever_asks_again() {
        let book = Arc::new(OrderBook::default());
        run(&book, 1).await.finish(State::Placed { points: 2 });
        let again = book.begin(1, || unreachable!("it is known")).await;
        assert!(matches!(again, Begun::Done(State::Placed { points: 2 })));
        assert_eq!(book.audit()[&1].kept.as_deref(), Some(&kept()));
    }

    #[tokio::test]
    async fn points_stay_owed_until_they_are_settled() {
        let book = Arc::new(OrderBook::default());
        run(&book, 1).await.finish(State::Placed { points: 2 });
        let grant = book.owed(1).unwrap();
        assert_eq!((grant.customer, grant.points), (17_850, 2));
        assert!(book.owed(1).is_none() && book.all_owed().is_empty(), "one sender at a time");
        drop(grant);
        assert_eq!(book.owing(), 1);
        book.all_owed().pop().unwrap().settled();
        assert_eq!((book.owing(), book.owed(1).is_none()), (0, true));
    }

    #[tokio::test]
    async fn a_withdrawal_stops_what_comes_late_and_what_is_owed() {
        let book = Arc::new(OrderBook::default());
        let Begun::Run(withdrawal) = book.begin_withdrawal(1).await else { panic!() };
        assert!(withdrawal.kept().is_none());
        withdrawal.finish(State::Withdrawn);
        assert!(matches!(book.begin(1, kept).await, Begun::Done(State::Withdrawn)));

        run(&book, 2).await.finish(State::Placed { points: 2 });
        let Begun::Run(withdrawal) = book.begin_withdrawal(2).await else { panic!() };
        let late = timeout(Duration::from_millis(5), book.begin_withdrawal(2)).await;
        assert!(late.is_err(), "one at a time");
        withdrawal.finish(State::Withdrawn);
        assert_eq!(book.owing(), 0);
        assert!(matches!(book.begin_withdrawal(2).await, Begun::Done(State::Withdrawn)));
    }
}
