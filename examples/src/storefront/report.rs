//! What the day came to: as JSON for programs, as a table for people.

use super::ledger::{Fate, Totals};
use serde::Serialize;
use std::{
    fmt::{self, Write as _},
    time::Duration,
};

/// The report, as `--report` writes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) orders: Orders,
    pub(crate) units: Units,
    /// Points in the customers' accounts.
    pub(crate) points_granted: u64,
    /// Calls that were begun, by the storefront and among the services; attempts of one call count once.
    pub(crate) calls: u64,
    /// Attempts beyond the first.
    pub(crate) retries: u64,
    /// Failed orders over orders read.
    pub(crate) error_rate: f64,
    /// How long an order took, from its first attempt to its answer.
    pub(crate) latency_ms: Latency,
    /// The services' books balance.
    pub(crate) ledger_ok: bool,
    /// What is wrong with them.
    pub(crate) violations: Vec<String>,
    pub(crate) elapsed_s: f64,
    pub(crate) orders_per_s: f64,
    pub(crate) policies: &'static str,
    pub(crate) faults: FaultsSeen,
    /// The most frequent reasons of failed and rejected orders, by code.
    pub(crate) reasons: Vec<Reason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Orders {
    pub(crate) read: u64,
    pub(crate) placed: u64,
    pub(crate) rejected: u64,
    pub(crate) cancelled: u64,
    pub(crate) failed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Units {
    pub(crate) deducted: u64,
    pub(crate) restocked: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

/// What went wrong on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct FaultsSeen {
    /// `none`, `default` or the file.
    pub(crate) plan: String,
    pub(crate) deaths: u64,
    pub(crate) slow_phases: u64,
    pub(crate) transient: u64,
    pub(crate) resets: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Reason {
    pub(crate) fate: &'static str,
    pub(crate) code: String,
    pub(crate) orders: u64,
}

impl Orders {
    /// Counts what became of the orders.
    pub(crate) fn count(fates: &[Fate]) -> Self {
        let mut orders = Orders { read: fates.len() as u64, ..Orders::default() };
        for fate in fates {
            *match fate {
                Fate::Placed => &mut orders.placed,
                Fate::Rejected => &mut orders.rejected,
                Fate::Cancelled => &mut orders.cancelled,
                Fate::Failed => &mut orders.failed,
            } += 1;
        }
        orders
    }

    /// Failed orders over orders read; of no orders none failed.
    pub(crate) fn error_rate(&self) -> f64 {
        if self.read == 0 { 0.0 } else { self.failed as f64 / self.read as f64 }
    }
}

impl From<Totals> for Units {
    fn from(totals: Totals) -> Self {
        Units { deducted: totals.deducted, restocked: totals.restocked }
    }
}

impl Latency {
    /// The quantiles of latencies, exactly: the smallest latency that so large a share does not exceed.
    pub(crate) fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        let at = |share: f64| {
            let rank = (share * latencies.len() as f64).ceil() as usize;
            latencies.get(rank.saturating_sub(1)).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
        };
        Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { orders, units, latency_ms: latency, faults, .. } = self;
        let percent = format!("{:.3} %", self.error_rate * 100.0);
        let ms = |ms: f64| format!("{ms:.2} ms");
        let rows: &[&[(&str, String)]] = &[
            &[
                ("orders read", grouped(orders.read)),
                ("placed", grouped(orders.placed)),
                ("rejected", grouped(orders.rejected)),
                ("cancelled", grouped(orders.cancelled)),
                ("failed", grouped(orders.failed)),
                ("error rate", percent),
            ],
            &[
                ("units deducted", grouped(units.deducted)),
                ("units restocked", grouped(units.restocked)),
                ("points granted", grouped(self.points_granted)),
            ],
            &[
                ("calls", grouped(self.calls)),
                ("retries", grouped(self.retries)),
                ("latency p50", ms(latency.p50)),
                ("latency p99", ms(latency.p99)),
                ("latency p99.9", ms(latency.p999)),
                ("elapsed", format!("{:.2} s", self.elapsed_s)),
                ("orders a second", grouped(self.orders_per_s as u64)),
            ],
            &[
                ("policies", self.policies.to_owned()),
                ("faults", faults.plan.clone()),
                ("replicas died", grouped(faults.deaths)),
                ("slow phases", grouped(faults.slow_phases)),
                ("transient faults", grouped(faults.transient)),
                ("connections reset", grouped(faults.resets)),
            ],
        ];
        let width = rows.iter().flat_map(|group| group.iter()).map(|(_, value)| value.chars().count());
        let width = width.max().unwrap_or(0).max(12);
        let rule = |f: &mut fmt::Formatter<'_>, [left, middle, right]: [char; 3]| {
            writeln!(f, "  {left}{}{middle}{}{right}", "─".repeat(20), "─".repeat(width + 2))
        };
        rule(f, ['┌', '┬', '┐'])?;
        for (number, group) in rows.iter().enumerate() {
            if number > 0 {
                rule(f, ['├', '┼', '┤'])?;
            }
            for (name, value) in *group {
                writeln!(f, "  │ {name:<18} │ {value:>width$} │")?;
            }
        }
        rule(f, ['└', '┴', '┘'])?;
        for Reason { fate, code, orders } in &self.reasons {
            writeln!(f, "  {} {fate} with {code}", grouped(*orders))?;
        }
        if self.ledger_ok {
            writeln!(f, "  the books balance: nothing lost, nothing applied twice")
        } else {
            writeln!(f, "  THE BOOKS DO NOT BALANCE")?;
            self.violations.iter().try_for_each(|violation| writeln!(f, "    {violation}"))
        }
    }
}

/// 1234567 as `1 234 567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        // Writing to a string does not fail.
        let _ = out.write_char(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Report {
        let fates = [Fate::Placed, Fate::Placed, Fate::Rejected, Fate::Cancelled, Fate::Failed];
        let orders = Orders::count(&fates);
        let latencies = (1..=1_000).rev().map(Duration::from_millis).collect();
        Report {
            error_rate: orders.error_rate(),
            orders,
            units: Totals { deducted: 1_234_567, restocked: 3, points: 4 }.into(),
            points_granted: 4,
            calls: 100,
            retries: 2,
            latency_ms: Latency::of(latencies),
            ledger_ok: true,
            violations: Vec::new(),
            elapsed_s: 2.0,
            orders_per_s: 2.5,
            policies: "full",
            faults: FaultsSeen { plan: "none".to_owned(), ..FaultsSeen::default() },
            reasons: Vec::new(),
        }
    }

    #[test]
    fn the_json_has_the_promised_members() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(
            json["orders"],
            json!({"read": 5, "placed": 2, "rejected": 1, "cancelled": 1, "failed": 1})
        );
        assert_eq!(json["units"], json!({"deducted": 1_234_567, "restocked": 3}));
        assert_eq!(
            (&json["points_granted"], &json["calls"], &json["retries"]),
            (&json!(4), &json!(100), &json!(2))
        );
        assert_eq!((&json["error_rate"], &json["ledger_ok"]), (&json!(0.2), &json!(true)));
        for (name, ms) in [("p50", 500.0), ("p99", 990.0), ("p999", 999.0)] {
            assert_eq!(json["latency_ms"][name], json!(ms));
        }
    }

    #[test]
    fn the_table_is_even_and_names_violations() {
        let text = report().to_string();
        assert!(text.contains("│    1 234 567 │"), "{text}");
        let widths: Vec<_> =
            text.lines().filter(|l| l.contains(['│', '┼'])).map(|l| l.chars().count()).collect();
        assert!(widths.windows(2).all(|w| w[0] == w[1]), "{text}");
        assert!(text.contains("the books balance"));
        let broken = Report { ledger_ok: false, violations: vec!["order 7".to_owned()], ..report() };
        let text = broken.to_string();
        assert!(text.contains("DO NOT BALANCE") && text.contains("order 7"), "{text}");
    }

    #[test]
    fn of_no_orders_none_failed() {
        assert_eq!(Orders::count(&[]).error_rate(), 0.0);
        assert_eq!(Latency::of(Vec::new()), Latency { p50: 0.0, p99: 0.0, p999: 0.0 });
    }
}
