//! Closes the books: what the services wrote down, held against each other and against what the caller was
//! told. Nothing may be lost, and nothing applied twice.

use super::{
    books::{OrderBook, PointsBook, RunId, Standing, State, StockBook},
    day::{self, Line, Order},
};
use std::collections::HashMap;

/// What the caller of an order was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Placed,
    Rejected,
    Cancelled,
    Failed,
}

/// What the books add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    /// Units that left the stock for placed orders.
    pub(crate) deducted: u64,
    /// Units that cancellations put back.
    pub(crate) restocked: u64,
    /// Points in the customers' accounts.
    pub(crate) points: u64,
}

/// What the books say.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Closing {
    pub(crate) totals: Totals,
    /// What is wrong, in words; empty: the books balance.
    pub(crate) violations: Vec<String>,
}

/// The violations that are spelled out; of more than these there is only the count.
const SPELLED_OUT: usize = 10;

/// Checks the books. `fates[i]` is what the caller was told of order `i + 1`; the day repeats.
pub(crate) fn close(
    stock: &StockBook,
    orders: &OrderBook,
    points: &PointsBook,
    day: &[Order],
    fates: &[Fate],
) -> Closing {
    let mut violations = Vec::new();
    let mut standing = stock.audit().unwrap_or_else(|what| {
        violations.push(format!("inventory: {what}"));
        HashMap::new()
    });
    let mut granted = points.audit().unwrap_or_else(|what| {
        violations.push(format!("points: {what}"));
        HashMap::new()
    });
    let mut totals = Totals::default();
    for units in standing.values().flatten().map(|(.., by)| by) {
        let total = if *units < 0 { &mut totals.deducted } else { &mut totals.restocked };
        *total += units.unsigned_abs();
    }
    totals.points = granted.values().map(|(_, points)| points).sum();

    let mut kept = orders.audit();
    for ((id, asked), fate) in (1..).zip(day.iter().cycle()).zip(fates) {
        let Some(entry) = kept.remove(&id) else {
            violations.push(format!("order {id} ({}) was {fate:?} and is in no book", asked.invoice));
            continue;
        };
        let says = |what: String| format!("order {id} ({}): {what}", asked.invoice);
        let agreed = match fate {
            Fate::Placed => matches!(entry.state, State::Placed { .. }),
            Fate::Rejected => matches!(entry.state, State::Rejected(_)),
            Fate::Cancelled => entry.state == State::Cancelled,
            Fate::Failed => matches!(entry.state, State::Withdrawn | State::Rejected(_)),
        };
        if !agreed {
            violations.push(says(format!("the caller was told {fate:?}, the book says {:?}", entry.state)));
        }
        if entry.kept.as_ref().is_some_and(|k| *k.lines != *asked.lines || k.customer != asked.customer) {
            violations.push(says("what is in the book is not what was asked for".to_owned()));
        }
        if booked(&entry.state, &asked.lines) != standing.remove(&entry.run).unwrap_or_default() {
            violations.push(says(format!("{:?}, but other units are booked", entry.state)));
        }
        let due = match (&entry.state, asked.customer) {
            (State::Placed { points }, Some(customer)) if *points > 0 => Some((customer, *points)),
            _ => None,
        };
        let right = !matches!(entry.state, State::Placed { points } if points != day::points(&asked.lines));
        if due != granted.remove(&id) || !right {
            violations.push(says(format!("{:?}, but other points are granted", entry.state)));
        }
    }
    let mut rest: Vec<RunId> = standing.into_keys().collect();
    rest.sort_unstable();
    violations.extend(rest.iter().map(|run| format!("units are booked for {run:?}, which is no order")));
    violations.extend(granted.keys().map(|id| format!("points are granted for order {id}, which is none")));
    violations.extend(kept.keys().map(|id| format!("order {id} is in the book and was never given")));
    if orders.owing() > 0 {
        violations.push(format!("points are still owed for {} orders", orders.owing()));
    }
    let more = violations.len().saturating_sub(SPELLED_OUT);
    if more > 0 {
        violations.truncate(SPELLED_OUT);
        violations.push(format!("and {more} more"));
    }
    Closing { totals, violations }
}

/// What must be booked for an order in a state, and nothing else.
fn booked(state: &State, lines: &[Line]) -> Vec<Standing> {
    let sign: fn(i64) -> i64 = match state {
        State::Placed { .. } => |quantity| -quantity,
        State::Cancelled => |quantity| quantity.abs(),
        State::Open | State::Rejected(_) | State::Withdrawn => return Vec::new(),
    };
    (0..).zip(lines).map(|(number, line)| (number, (*line.code).into(), sign(line.quantity))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storefront::books::{Applied, Begun, Kept, Refusal, Run};
    use std::sync::Arc;

    #[derive(Default)]
    struct Shop {
        orders: Arc<OrderBook>,
        points: PointsBook,
    }

    fn order(invoice: &str, quantity: i64) -> Order {
        let line = Line { code: "x".into(), quantity, price: 10_000 };
        Order { invoice: invoice.into(), customer: Some(7), lines: vec![line] }
    }

    impl Shop {
        async fn begin(&self, id: u64, order: &Order) -> Run {
            let kept = || Kept { customer: order.customer, lines: order.lines.clone().into() };
            match self.orders.begin(id, kept).await {
                Begun::Run(run) => run,
                Begun::Done(state) => panic!("{state:?}"),
            }
        }

        /// Three orders by the book: one placed (4 units, 4 points), one refused, one cancellation (3 units).
        async fn day(&self, stock: &StockBook) -> ([Order; 3], [Fate; 3]) {
            let day = [order("1", 4), order("2", 100), order("C3", -3)];
            let run = self.begin(1, &day[0]).await;
            stock.deduct(run.id(), 0, "x", 4).unwrap();
            run.finish(State::Placed { points: 4 });
            self.points.grant(1, 7, 4).unwrap();
            self.orders.owed(1).unwrap().settled();
            let run = self.begin(2, &day[1]).await;
            assert!(stock.deduct(run.id(), 0, "x", 100).is_err());
            run.finish(State::Rejected(Refusal::Short));
            let run = self.begin(3, &day[2]).await;
            stock.restock(run.id(), &[(0, "x", 3)]).unwrap();
            run.finish(State::Cancelled);
            (day, [Fate::Placed, Fate::Rejected, Fate::Cancelled])
        }

        fn close(&self, stock: &StockBook, day: &[Order], fates: &[Fate]) -> Closing {
            close(stock, &self.orders, &self.points, day, fates)
        }
    }

    #[tokio::test]
    async fn a_regular_day_balances() {
        let (shop, stock) = (Shop::default(), StockBook::new(10));
        let (day, fates) = shop.day(&stock).await;
        let totals = Totals { deducted: 4, restocked: 3, points: 4 };
        assert_eq!(shop.close(&stock, &day, &fates), Closing { totals, violations: Vec::new() });
    }

    #[tokio::test]
    async fn what_the_caller_was_told_must_be_what_happened() {
        let (shop, stock) = (Shop::default(), StockBook::new(10));
        let (day, mut fates) = shop.day(&stock).await;
        fates[0] = Fate::Failed;
        let closing = shop.close(&stock, &day, &fates);
        assert_eq!(closing.violations.len(), 1);
        assert!(closing.violations[0].contains("told Failed, the book says Placed"), "{closing:?}");
    }

    #[tokio::test]
    async fn lost_and_stray_bookings_are_found() {
        type Spoil = fn(&Shop, &StockBook) -> bool;
        let spoils: [(Spoil, &str); 7] = [
            (|_, stock| stock.take_back(RunId { order: 1, run: 0 }).is_ok(), "other units"),
            (|_, stock| stock.deduct(RunId { order: 2, run: 0 }, 0, "x", 1).is_ok(), "other units"),
            (|_, stock| stock.deduct(RunId { order: 1, run: 1 }, 0, "x", 1).is_ok(), "which is no order"),
            (|_, stock| stock.deduct(RunId { order: 1, run: 0 }, 1, "x", 1).is_ok(), "other units"),
            (|shop, _| shop.points.take_back(1) == Applied::Now, "other points"),
            (|shop, _| shop.points.grant(2, 7, 1).is_ok(), "other points"),
            (|shop, _| shop.points.grant(9, 7, 1).is_ok(), "for order 9, which is none"),
        ];
        for (spoil, found) in spoils {
            let (shop, stock) = (Shop::default(), StockBook::new(10));
            let (day, fates) = shop.day(&stock).await;
            assert!(spoil(&shop, &stock));
            let closing = shop.close(&stock, &day, &fates);
            assert_eq!(closing.violations.len(), 1, "{closing:?}");
            assert!(closing.violations[0].contains(found), "{found}: {closing:?}");
        }
    }

    #[tokio::test]
    async fn points_that_are_owed_are_lost_points() {
        let (shop, stock) = (Shop::default(), StockBook::new(10));
        let day = [order("1", 4)];
        let run = shop.begin(1, &day[0]).await;
        stock.deduct(run.id(), 0, "x", 4).unwrap();
        run.finish(State::Placed { points: 4 });
        let closing = shop.close(&stock, &day, &[Fate::Placed]);
        assert!(closing.violations.iter().any(|v| v.contains("still owed for 1")), "{closing:?}");
        let empty = shop.close(&stock, &day, &[]);
        assert!(empty.violations.iter().any(|v| v.contains("never given")), "{empty:?}");
    }
}
