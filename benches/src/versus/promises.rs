//! What the project promises of its speed, and whether this run bears it out.

use super::{
    plan::{Cell, Pin, Who},
    report::{Figures, Row, ratio, select},
};
use std::fmt::Write;

const SMALL_1: Cell = Cell { inflight: 1, body: 64 };
const SMALL_64: Cell = Cell { inflight: 64, body: 64 };
const SMALL_512: Cell = Cell { inflight: 512, body: 64 };
const LARGE_64: Cell = Cell { inflight: 64, body: 64 << 10 };

enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    Within(f64),
}

/// A table of the promises that this run says something about; ratios are medians over its rounds.
pub(super) fn table(rows: &[Row]) -> String {
    use Wanted::{AtLeast, AtMost};
    let speed = |figures: &Figures| figures.calls_per_s;
    let p50 = |figures: &Figures| figures.p50_us;
    let who_to_reference = |who, pin, cell, of: fn(&Figures) -> f64| {
        ratio(&select(rows, pin, cell, who), &select(rows, pin, cell, Who::Reference), of)
    };
    let to_reference = |pin, cell, of| who_to_reference(Who::Bare, pin, cell, of);
    let armoured = |pin, cell, of| who_to_reference(Who::Armoured, pin, cell, of);
    let larger_batch =
        |pin| ratio(&select(rows, pin, SMALL_512, Who::Bare), &select(rows, pin, SMALL_64, Who::Bare), speed);
    let lines = [
        (
            "calls/s of bare to reference, 64 in flight, one core",
            AtLeast(0.80),
            to_reference(Pin::One, SMALL_64, speed),
        ),
        ("the same, two cores", AtLeast(0.85), to_reference(Pin::Two, SMALL_64, speed)),
        (
            "calls/s of armoured to reference, 64 in flight, one core",
            AtLeast(0.50),
            armoured(Pin::One, SMALL_64, speed),
        ),
        ("the same, two cores", AtLeast(0.70), armoured(Pin::Two, SMALL_64, speed)),
        (
            "p50 of armoured to reference, 1 in flight, one core",
            AtMost(1.05),
            armoured(Pin::One, SMALL_1, p50),
        ),
        ("the same, two cores", AtMost(1.05), armoured(Pin::Two, SMALL_1, p50)),
        (
            "calls/s of armoured to reference, 512 in flight, one core",
            AtLeast(0.40),
            armoured(Pin::One, SMALL_512, speed),
        ),
        (
            "p50 of bare to reference, 1 in flight, one core",
            AtMost(1.05),
            to_reference(Pin::One, SMALL_1, p50),
        ),
        ("the same, two cores", AtMost(1.05), to_reference(Pin::Two, SMALL_1, p50)),
        ("calls/s of bare, 512 in flight to 64, one core", AtLeast(1.0), larger_batch(Pin::One)),
        (
            "calls/s of bare to reference, multi-thread runtime, 64 in flight",
            AtLeast(0.60),
            to_reference(Pin::Free, SMALL_64, speed),
        ),
        ("the same, 1 in flight", AtLeast(0.92), to_reference(Pin::Free, SMALL_1, speed)),
        (
            "calls/s of bare to reference, 64 KiB, 64 in flight, one core",
            AtLeast(1.4),
            to_reference(Pin::One, LARGE_64, speed),
        ),
        ("the same, two cores", AtLeast(1.4), to_reference(Pin::Two, LARGE_64, speed)),
        (
            "CPU a call of bare, mimalloc to system, 64 in flight, one core",
            Wanted::Within(0.03),
            allocators(rows),
        ),
    ];
    let mut out = String::new();
    for (what, wanted, measured) in lines {
        let Some(measured) = measured else { continue };
        let (bound, kept) = match wanted {
            AtLeast(least) => (format!(">= {least}"), measured >= least),
            AtMost(most) => (format!("<= {most}"), measured <= most),
            Wanted::Within(off) => (format!("1 ± {off}"), (measured - 1.0).abs() <= off),
        };
        let _ = writeln!(out, "| {what} | {bound} | {measured:.3} | {} |", if kept { "yes" } else { "no" });
    }
    match out.is_empty() {
        true => out,
        false => format!("\n| promised | wanted | measured | kept |\n| --- | ---: | ---: | --- |\n{out}"),
    }
}

/// By CPU time, which wobbles less than calls per second.
#[cfg(feature = "peers")]
fn allocators(rows: &[Row]) -> Option<f64> {
    let of = |who| select(rows, Pin::One, SMALL_64, who);
    ratio(&of(Who::BareMimalloc), &of(Who::Bare), Figures::cpu_us)
}

#[cfg(not(feature = "peers"))]
fn allocators(_: &[Row]) -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use super::{super::report::tests::row, *};

    #[test]
    fn a_promise_is_kept_or_not() {
        let rows = [
            row(0, Pin::One, SMALL_64, Who::Reference, 100.0, 1.0),
            row(0, Pin::One, SMALL_64, Who::Bare, 79.0, 1.0),
            row(0, Pin::One, SMALL_1, Who::Reference, 100.0, 1.0),
            row(0, Pin::One, SMALL_1, Who::Bare, 100.0, 1.05),
        ];
        let table = table(&rows);
        assert!(table.contains("one core | >= 0.8 | 0.790 | no |"), "{table}");
        assert!(table.contains("1 in flight, one core | <= 1.05 | 1.050 | yes |"), "{table}");
        assert_eq!(table.lines().count(), 5, "{table}");
        assert_eq!(super::table(&[]), "");
    }
}
