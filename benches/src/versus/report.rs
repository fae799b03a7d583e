//! Figures, and tables of them.

use super::plan::{Cell, Pin, Shot, Who};
use crate::meter::Measured;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write;

/// What one client measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) calls_per_s: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// CPU time for each call.
    pub(super) client_us: f64,
    pub(super) server_us: f64,
}

impl Figures {
    pub(super) fn cpu_us(&self) -> f64 {
        self.client_us + self.server_us
    }
}

impl From<Measured> for Figures {
    fn from(measured: Measured) -> Self {
        Figures {
            calls_per_s: measured.per_second(),
            p50_us: measured.p50_us,
            p99_us: measured.p99_us,
            client_us: measured.client_us,
            server_us: measured.server_us,
        }
    }
}

/// One measurement, done.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) shot: Shot,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

/// The value in the middle; `None` of nothing.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some((values[low] + values[high]) / 2.0)
}

/// All figures of one contender in one cell.
pub(super) fn select(rows: &[Row], pin: Pin, cell: Cell, who: Who) -> Vec<Row> {
    let of = |row: &&Row| row.shot.pin == pin && row.shot.cell == cell && row.shot.who == who;
    rows.iter().filter(of).copied().collect()
}

/// The median over rounds of what `one` and `other` differ by, as a factor.
pub(super) fn ratio(one: &[Row], other: &[Row], of: impl Fn(&Figures) -> f64) -> Option<f64> {
    let same_round = |row: &Row| other.iter().find(|other| other.shot.round == row.shot.round).copied();
    let pairs = one.iter().filter_map(|row| Some((row, same_round(row)?)));
    median(pairs.map(|(one, other)| of(&one.figures) / of(&other.figures)).collect())
}

/// A table for each cell.
pub(super) fn tables(rows: &[Row], pins: &[Pin], cells: &[Cell], who: &[Who]) -> String {
    let mut out = String::new();
    for &pin in pins {
        for &cell in cells {
            let _ = writeln!(
                out,
                "\n{} in flight, {} bytes, {}\n\n\
                 | | calls/s | of reference | CPU µs a call | of reference | client | server | p50 µs | p99 µs | spread |\n\
                 | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
                cell.inflight,
                cell.body,
                pin.title()
            );
            let reference = select(rows, pin, cell, Who::Reference);
            for &who in who {
                if let Some(line) = line(&select(rows, pin, cell, who), &reference) {
                    let _ = writeln!(out, "| {} | {line} |", who.title());
                }
            }
        }
    }
    out
}

fn line(rows: &[Row], reference: &[Row]) -> Option<String> {
    let of = |value: fn(&Figures) -> f64| median(rows.iter().map(|row| value(&row.figures)).collect());
    let speed = of(|figures| figures.calls_per_s)?;
    let all = rows.iter().map(|row| row.figures.calls_per_s);
    let (least, most) = all.fold((f64::MAX, 0f64), |(least, most), one| (least.min(one), most.max(one)));
    Some(format!(
        "{speed:.0} | {:.3} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} | ±{:.0} %",
        ratio(rows, reference, |figures| figures.calls_per_s).unwrap_or(f64::NAN),
        of(Figures::cpu_us).unwrap_or(f64::NAN),
        ratio(rows, reference, Figures::cpu_us).unwrap_or(f64::NAN),
        of(|figures| figures.client_us).unwrap_or(f64::NAN),
        of(|figures| figures.server_us).unwrap_or(f64::NAN),
        of(|figures| figures.p50_us)?,
        of(|figures| figures.p99_us)?,
        (most - least) / speed * 50.0
    ))
}

/// For programs: every measurement, one by one.
pub(super) fn json(rows: &[Row]) -> Value {
    json!({ "measurements": rows })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn row(round: usize, pin: Pin, cell: Cell, who: Who, calls_per_s: f64, p50_us: f64) -> Row {
        let figures = Figures { calls_per_s, p50_us, p99_us: 9.0, client_us: 1.0, server_us: 2.0 };
        Row { shot: Shot { round, pin, cell, who }, figures }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![f64::NAN]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, f64::NAN, 3.0]), Some(2.5));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let cell = Cell { inflight: 1, body: 64 };
        let row = |round, who, speed| row(round, Pin::One, cell, who, speed, 1.0);
        // The machine was slow in round 1, for both.
        let bare = [row(0, Who::Bare, 80.0), row(1, Who::Bare, 8.0), row(2, Who::Bare, 90.0)];
        let reference = [row(1, Who::Reference, 10.0), row(0, Who::Reference, 100.0)];
        assert_eq!(ratio(&bare, &reference, |figures| figures.calls_per_s), Some(0.8));
        let all: Vec<Row> = bare.into_iter().chain(reference).collect();
        let table = tables(&all, &[Pin::One], &[cell], &[Who::Reference, Who::Bare, Who::Facade]);
        assert!(
            table.contains("| towpath, bare | 80 | 0.800 | 3.00 | 1.00 | 1.00 | 2.00 | 1.0 | 9.0 | ±51 % |"),
            "{table}"
        );
        assert!(!table.contains("facade"), "{table}");
    }
}
