//! The points service's book.

use super::{Applied, TakenBack, lock};
use std::{collections::HashMap, sync::Mutex};

#[derive(Clone, Copy)]
struct Entry {
    order: u64,
    customer: u64,
    /// Below zero: taken back.
    points: i128,
}

#[derive(Clone, Copy)]
enum Granted {
    Stands { customer: u64, points: u64 },
    TakenBack,
}

#[derive(Default)]
struct Inside {
    balances: HashMap<u64, i128>,
    orders: HashMap<u64, Granted>,
    journal: Vec<Entry>,
}

/// How many points each customer has, and for which orders.
#[derive(Default)]
pub(crate) struct PointsBook {
    inside: Mutex<Inside>,
}

impl PointsBook {
    /// Grants points, once for each order.
    pub(crate) fn grant(&self, order: u64, customer: u64, points: u64) -> Result<Applied, TakenBack> {
        let inside = &mut *lock(&self.inside);
        match inside.orders.get(&order) {
            Some(Granted::Stands { .. }) => return Ok(Applied::Before),
            Some(Granted::TakenBack) => return Err(TakenBack),
            None => {}
        }
        inside.orders.insert(order, Granted::Stands { customer, points });
        inside.enter(Entry { order, customer, points: points.into() });
        Ok(Applied::Now)
    }

    /// Takes an order's points back, also those of a grant that is still on its way.
    pub(crate) fn take_back(&self, order: u64) -> Applied {
        let inside = &mut *lock(&self.inside);
        match inside.orders.insert(order, Granted::TakenBack) {
            Some(Granted::TakenBack) => return Applied::Before,
            Some(Granted::Stands { customer, points }) => {
                inside.enter(Entry { order, customer, points: -i128::from(points) });
            }
            None => {}
        }
        Applied::Now
    }

    /// Goes through the book from its first page: the entries lead to the balances, no order was granted or
    /// taken back twice. Returns what stands: customer and points, by order.
    pub(crate) fn audit(&self) -> Result<HashMap<u64, (u64, u64)>, String> {
        let inside = &*lock(&self.inside);
        let mut balances: HashMap<u64, i128> = HashMap::new();
        let mut standing: HashMap<u64, (u64, u64)> = HashMap::new();
        for Entry { order, customer, points } in inside.journal.iter().copied() {
            *balances.entry(customer).or_default() += points;
            let regular = match u64::try_from(points) {
                Ok(granted) => standing.insert(order, (customer, granted)).is_none(),
                Err(_) => standing
                    .remove(&order)
                    .is_some_and(|(who, granted)| who == customer && i128::from(granted) == -points),
            };
            if !regular {
                return Err(format!("the points of order {order} were booked twice"));
            }
        }
        if balances != inside.balances {
            return Err("the customers' points are not those of the journal".to_owned());
        }
        Ok(standing)
    }
}

impl Inside {
    fn enter(&mut self, entry: Entry) {
        *self.balances.entry(entry.customer).or_default() += entry.points;
        self.journal.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_granted_once() {
        let book = PointsBook::default();
        assert_eq!(book.grant(1, 17_850, 15), Ok(Applied::Now));
        assert_eq!(book.grant(1, 17_850, 15), Ok(Applied::Before));
        assert_eq!(book.grant(2, 17_850, 5), Ok(Applied::Now));
        assert_eq!(book.audit().unwrap(), HashMap::from([(1, (17_850, 15)), (2, (17_850, 5))]));
    }

    #[test]
    fn what_is_taken_back_stays_back() {
        let book = PointsBook::default();
        book.grant(1, 17_850, 15).unwrap();
        assert_eq!(book.take_back(1), Applied::Now);
        assert_eq!(book.take_back(1), Applied::Before);
        assert_eq!(book.grant(1, 17_850, 15), Err(TakenBack));
        assert_eq!(book.take_back(2), Applied::Now, "before the grant came");
        assert_eq!(book.grant(2, 17_850, 15), Err(TakenBack));
        assert!(book.audit().unwrap().is_empty());
        assert_eq!(lock(&book.inside).balances[&17_850], 0);
    }

    #[test]
    fn the_audit_finds_what_is_wrong() {
        let book = PointsBook::default();
        book.grant(1, 17_850, 15).unwrap();
        lock(&book.inside).balances.insert(17_850, 16);
        assert!(book.audit().unwrap_err().contains("not those of the journal"));
        let book = PointsBook::default();
        book.grant(1, 17_850, 15).unwrap();
        lock(&book.inside).enter(Entry { order: 1, customer: 17_850, points: 15 });
        assert!(book.audit().unwrap_err().contains("booked twice"));
    }
}
