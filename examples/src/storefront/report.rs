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
    /// Attempts at them: what was sent.
    pub(crate) attempts: u64,
    pub(crate) attempts_per_call: f64,
    /// Attempts after a failed one.
    pub(crate) retries: u64,
    /// Attempts beside a slow one.
    pub(crate) hedges: u64,
    /// How often a breaker, of a method or of a replica, opened.
    pub(crate) breakers_opened: u64,
    /// Attempts that a server did not let in.
    pub(crate) shed: u64,
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
    /// The same day without policies, if it was played both ways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Box<Report>>,
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
    pub(crate) mean: f64,
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
    pub(crate) freezes: u64,
    /// Replicas that came, and went after a while.
    pub(crate) joined: u64,
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
        let total = latencies.iter().sum::<Duration>().as_secs_f64() * 1_000.0;
        let mean = total / latencies.len().max(1) as f64;
        Latency { mean, p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }
}

impl Report {
    /// Whether the books balance, each time that the day was played.
    pub(crate) fn balances(&self) -> bool {
        self.runs().all(|run| run.ledger_ok)
    }

    /// The day as it was played, in that order.
    fn runs(&self) -> impl Iterator<Item = &Report> {
        self.before.as_deref().into_iter().chain([self])
    }

    /// What the table says, by name, in groups.
    fn rows(&self) -> [Vec<(&'static str, String)>; 4] {
        let Report { orders, units, latency_ms: latency, faults, .. } = self;
        let ms = |ms: f64| format!("{ms:.2} ms");
        [
            vec![
                ("policies", self.policies.to_owned()),
                ("orders read", grouped(orders.read)),
                ("placed", grouped(orders.placed)),
                ("rejected", grouped(orders.rejected)),
                ("cancelled", grouped(orders.cancelled)),
                ("failed", grouped(orders.failed)),
                ("error rate", format!("{:.3} %", self.error_rate * 100.0)),
            ],
            vec![
                ("latency mean", ms(latency.mean)),
                ("latency p50", ms(latency.p50)),
                ("latency p99", ms(latency.p99)),
                ("latency p99.9", ms(latency.p999)),
                ("calls", grouped(self.calls)),
                ("attempts a call", format!("{:.3}", self.attempts_per_call)),
                ("retries", grouped(self.retries)),
                ("hedges", grouped(self.hedges)),
                ("breakers opened", grouped(self.breakers_opened)),
                ("shed by servers", grouped(self.shed)),
            ],
            vec![
                ("units deducted", grouped(units.deducted)),
                ("units restocked", grouped(units.restocked)),
                ("points granted", grouped(self.points_granted)),
                ("books", if self.ledger_ok { "balance" } else { "DO NOT BALANCE" }.to_owned()),
            ],
            vec![
                ("elapsed", format!("{:.2} s", self.elapsed_s)),
                ("orders a second", grouped(self.orders_per_s as u64)),
                ("faults", faults.plan.clone()),
                ("replicas died", grouped(faults.deaths)),
                ("replicas froze", grouped(faults.freezes)),
                ("replicas joined", grouped(faults.joined)),
                ("slow phases", grouped(faults.slow_phases)),
                ("transient faults", grouped(faults.transient)),
                ("connections reset", grouped(faults.resets)),
            ],
        ]
    }
}

/// A line of the table: `left`, columns of these widths filled by `fill`, `right`.
fn rule(f: &mut fmt::Formatter<'_>, widths: &[usize], [left, middle, right]: [char; 3]) -> fmt::Result {
    write!(f, "  {left}{}", "─".repeat(20))?;
    widths.iter().try_for_each(|width| write!(f, "{middle}{}", "─".repeat(width + 2)))?;
    writeln!(f, "{right}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs: Vec<_> = self.runs().map(Report::rows).collect();
        let width = |rows: &[Vec<(&str, String)>; 4]| {
            rows.iter().flatten().map(|(_, value)| value.chars().count()).max().unwrap_or(0).max(12)
        };
        let widths: Vec<usize> = runs.iter().map(width).collect();
        rule(f, &widths, ['┌', '┬', '┐'])?;
        for group in 0..4 {
            if group > 0 {
                rule(f, &widths, ['├', '┼', '┤'])?;
            }
            for row in 0..runs[0][group].len() {
                write!(f, "  │ {:<18} ", runs[0][group][row].0)?;
                for (rows, width) in runs.iter().zip(&widths) {
                    write!(f, "│ {:>width$} ", rows[group][row].1)?;
                }
                writeln!(f, "│")?;
            }
        }
        rule(f, &widths, ['└', '┴', '┘'])?;
        for run in self.runs() {
            for Reason { fate, code, orders } in &run.reasons {
                writeln!(f, "  {} {fate} with {code} (policies: {})", grouped(*orders), run.policies)?;
            }
        }
        if let Some(before) = &self.before {
            let share = |share: f64| format!("{:.3} %", share * 100.0);
            let (from, to) = (share(before.error_rate), share(self.error_rate));
            // Orders that fail are quick: with fewer of them the percentile may well rise.
            let (slow, now) = (before.latency_ms.p99, self.latency_ms.p99);
            writeln!(f, "  errors from {from} to {to}, p99 of all orders from {slow:.1} to {now:.1} ms")?;
        }
        if self.balances() {
            return writeln!(f, "  the books balance: nothing lost, nothing applied twice");
        }
        writeln!(f, "  THE BOOKS DO NOT BALANCE")?;
        self.runs().flat_map(|run| &run.violations).try_for_each(|violation| writeln!(f, "    {violation}"))
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
            attempts: 103,
            attempts_per_call: 1.03,
            retries: 2,
            hedges: 1,
            breakers_opened: 1,
            shed: 0,
            latency_ms: Latency::of(latencies),
            ledger_ok: true,
            violations: Vec::new(),
            elapsed_s: 2.0,
            orders_per_s: 2.5,
            policies: "full",
            faults: FaultsSeen { plan: "none".to_owned(), ..FaultsSeen::default() },
            reasons: Vec::new(),
            before: None,
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
        for (name, ms) in [("p50", 500.0), ("p99", 990.0), ("p999", 999.0), ("mean", 500.5)] {
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
    fn two_runs_stand_side_by_side() {
        let before = Report { policies: "none", ..report() };
        let both = Report { before: Some(Box::new(before)), error_rate: 0.0, ..report() };
        let text = both.to_string();
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
        assert!(line("policies ").contains("none │         full │"), "{text}");
        assert!(line("error rate").contains("20.000 % │      0.000 % │"), "{text}");
        assert!(
            text.contains("errors from 20.000 % to 0.000 %, p99 of all orders from 990.0 to 990.0 ms"),
            "{text}"
        );
        let json = serde_json::to_value(&both).unwrap();
        assert_eq!((&json["policies"], &json["before"]["policies"]), (&json!("full"), &json!("none")));
        assert!(both.balances());
        let lost = Report { ledger_ok: false, violations: vec!["order 8".to_owned()], ..report() };
        let both = Report { before: Some(Box::new(lost)), ..report() };
        assert!(!both.balances() && both.to_string().contains("order 8"));
    }

    #[test]
    fn of_no_orders_none_failed() {
        assert_eq!(Orders::count(&[]).error_rate(), 0.0);
        assert_eq!(Latency::of(Vec::new()), Latency { mean: 0.0, p50: 0.0, p99: 0.0, p999: 0.0 });
    }
}
