//! A day for whoever has no file at hand.

use super::{Line, Order};
use fastrand::Rng;

/// How many orders the made-up day has.
const ORDERS: usize = 2_000;
/// How many articles the made-up shop has.
const ARTICLES: usize = 1_500;
const CUSTOMERS: u64 = 800;

/// A day like those of the data set in shape: orders of a dozen lines, few codes sold often and most seldom,
/// some guests, some cancellations, a mistake here and there. The same seed makes the same day.
pub(crate) fn made_up(seed: u64) -> Vec<Order> {
    let rng = &mut Rng::with_seed(seed);
    (0..ORDERS).map(|number| order(rng, 600_000 + number)).collect()
}

fn order(rng: &mut Rng, number: usize) -> Order {
    let cancels = chance(rng, 0.04);
    let guest = chance(rng, 0.1);
    let mistake = !cancels && chance(rng, 0.01);
    let lines = if cancels { rng.usize(1..4) } else { rng.usize(1..24) };
    let mut lines: Vec<Line> = (0..lines).map(|_| line(rng, cancels)).collect();
    if mistake {
        let at = rng.usize(0..lines.len());
        lines[at].quantity = -lines[at].quantity;
    }
    Order {
        invoice: if cancels { format!("C{number}") } else { number.to_string() }.into(),
        customer: (!guest).then(|| 12_000 + rng.u64(0..CUSTOMERS)),
        lines,
    }
}

fn line(rng: &mut Rng, cancels: bool) -> Line {
    // The square of an even draw: a quarter of the lines ask for a sixteenth of the articles.
    let article = (rng.f64().powi(2) * ARTICLES as f64) as usize;
    let quantity = if chance(rng, 0.02) { rng.i64(100..1_000) } else { rng.i64(1..25) };
    Line {
        code: (20_000 + article).to_string().into(),
        quantity: if cancels { -quantity } else { quantity },
        price: rng.i64(20..1_500) * 100,
    }
}

fn chance(rng: &mut Rng, share: f64) -> bool {
    rng.f64() < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_day() {
        assert_eq!(made_up(7), made_up(7));
        assert_ne!(made_up(7), made_up(8));
    }

    #[test]
    fn it_has_everything_a_day_has() {
        let day = made_up(1);
        assert_eq!(day.len(), ORDERS);
        let refused = |o: &Order| !o.is_cancellation() && o.lines.iter().any(|l| l.quantity <= 0);
        assert!(day.iter().any(Order::is_cancellation));
        assert!(day.iter().any(refused));
        assert!(day.iter().any(|o| o.customer.is_none()));
        let invoices: std::collections::BTreeSet<_> = day.iter().map(|o| &o.invoice).collect();
        assert_eq!(invoices.len(), ORDERS, "an invoice is one order");
    }
}
