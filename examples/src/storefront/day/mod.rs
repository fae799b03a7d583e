//! A day of orders, as a shop sees it.

mod made_up;
mod read;

pub(crate) use made_up::made_up;
pub(crate) use read::read;

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// The article.
    pub(crate) code: Box<str>,
    /// How many. Negative on a cancellation's lines; on an order's, zero or less is a mistake.
    pub(crate) quantity: i64,
    /// What one of them costs, in 1/10 000 pound: the data has prices such as 0.001.
    pub(crate) price: i64,
}

/// The lines with one InvoiceNo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// The InvoiceNo.
    pub(crate) invoice: Box<str>,
    /// Who ordered: the first CustomerID among the lines; `None`: a guest.
    pub(crate) customer: Option<u64>,
    /// What was ordered, in file order.
    pub(crate) lines: Vec<Line>,
}

impl Order {
    /// Whether this takes goods back: its InvoiceNo begins with C.
    pub(crate) fn is_cancellation(&self) -> bool {
        self.invoice.starts_with('C')
    }
}

/// The points that an order is worth: one for each whole pound of its total. The data has lines with a
/// negative price; an order whose total is below zero is worth nothing.
pub(crate) fn points(lines: &[Line]) -> u64 {
    const POUND: i128 = 10_000;
    let total: i128 = lines.iter().map(|line| i128::from(line.quantity) * i128::from(line.price)).sum();
    u64::try_from(total / POUND).unwrap_or(0)
}

/// All customers of a day.
pub(crate) fn customers(orders: &[Order]) -> BTreeSet<u64> {
    orders.iter().filter_map(|order| order.customer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(quantity: i64, price: i64) -> Line {
        Line { code: "A".into(), quantity, price }
    }

    #[test]
    fn a_point_is_a_whole_pound_of_the_whole_order() {
        assert_eq!(points(&[line(1, 9_999)]), 0);
        assert_eq!(points(&[line(1, 9_999), line(1, 1)]), 1);
        assert_eq!(points(&[line(6, 25_500)]), 15);
        assert_eq!(points(&[line(1, -50_000)]), 0);
        assert_eq!(points(&[line(i64::MAX, i64::MAX)]), 0, "absurd totals do not wrap");
    }
}
