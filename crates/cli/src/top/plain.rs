//! A snapshot in lines and cells: for scripts, and for the terminal to draw.

use crate::say::plain;
use towpath::admin::view::{
    BreakerView, EndpointView, EventView, FaultView, MethodView, Snapshot, TargetView,
};

pub(super) const TARGETS: [&str; 8] =
    ["NAME", "STATE", "CALLS/S", "SUCCESS", "P50", "P99", "BUDGET", "CONNECTIONS"];
pub(super) const METHODS: [&str; 6] = ["METHOD", "CALLS/S", "SUCCESS", "P50", "P99", "CALLS"];
pub(super) const ENDPOINTS: [&str; 7] =
    ["ENDPOINT", "STATUS", "WEIGHT", "IN FLIGHT", "EWMA", "FAILS", "CALLS"];
pub(super) const BREAKERS: [&str; 5] = ["BREAKER", "OF", "STATE", "MODE", "WINDOW"];
pub(super) const FAULTS: [&str; 5] = ["TRACE", "CODE", "METHOD", "TOOK", "WHY"];

pub(super) const EVENTS: [&str; 4] = ["AGO", "OF", "WHO", "WHAT"];

pub(super) fn event(one: &EventView, now_ms: u64) -> [String; 4] {
    let who = if one.who.is_empty() { &one.kind } else { &one.who };
    let ago = now_ms.saturating_sub(one.at_ms) / 1_000;
    [format!("{ago}s"), plain(&one.target), plain(who), plain(&one.what)]
}

pub(super) fn target(one: &TargetView) -> [String; 8] {
    let traffic = one.traffic.as_ref();
    [
        plain(&one.name),
        plain(&one.state),
        traffic.map_or_else(none, |traffic| format!("{:.1}", traffic.rate)),
        share(traffic.and_then(|traffic| traffic.success)),
        time(traffic.and_then(|traffic| traffic.p50_us)),
        time(traffic.and_then(|traffic| traffic.p99_us)),
        one.budget.as_ref().map_or_else(none, |budget| budget.left.to_string()),
        one.pool.as_ref().map_or_else(none, |pool| pool.open.to_string()),
    ]
}

pub(super) fn method(one: &MethodView) -> [String; 6] {
    [
        if one.name.is_empty() { "(all others)".to_owned() } else { plain(&one.name) },
        format!("{:.1}", one.rate),
        share(one.success),
        time(one.p50_us),
        time(one.p99_us),
        one.calls.to_string(),
    ]
}

pub(super) fn endpoint(one: &EndpointView) -> [String; 7] {
    [
        plain(&one.address),
        plain(&one.status),
        one.weight.to_string(),
        one.in_flight.to_string(),
        time(one.ewma_us),
        share(Some(one.failures.min(1.0))),
        one.picks.to_string(),
    ]
}

pub(super) fn breaker(one: &BreakerView) -> [String; 5] {
    let name = if one.name.is_empty() { "(all others)".to_owned() } else { plain(&one.name) };
    [
        name,
        plain(&one.of),
        plain(&one.state),
        plain(&one.mode),
        format!("{} of {} failed", one.failures, one.calls),
    ]
}

pub(super) fn fault(one: &FaultView) -> [String; 5] {
    let why = one.chain.first().map(|why| plain(why)).unwrap_or_default();
    [plain(&one.trace_id), plain(&one.code), plain(&one.method), time(Some(one.took_us)), why]
}

fn none() -> String {
    "-".to_owned()
}

fn share(share: Option<f64>) -> String {
    // What is not all is not to look like all.
    share.map_or_else(none, |share| {
        if share < 1.0 { format!("{:.2}%", (share * 100.0).min(99.99)) } else { "100%".into() }
    })
}

fn time(micros: Option<u64>) -> String {
    match micros {
        None => none(),
        Some(micros @ 0..1_000) => format!("{micros}us"),
        Some(micros @ 1_000..1_000_000) => format!("{:.1}ms", micros as f64 / 1e3),
        Some(micros) => format!("{:.2}s", micros as f64 / 1e6),
    }
}

/// All of it.
pub(super) fn text(snapshot: &Snapshot) -> String {
    let mut text = table(&TARGETS, snapshot.targets.iter().map(target).collect());
    let events: Vec<_> = snapshot.events.iter().map(|one| event(one, snapshot.at_ms)).collect();
    if !events.is_empty() {
        text += &format!("\nevents\n{}", table(&EVENTS, events));
    }
    for one in &snapshot.targets {
        let name = plain(&one.name);
        text.extend(one.warnings.iter().map(|warning| format!("\n! {name}: {}\n", plain(warning))));
        for (what, table) in [
            ("methods", table(&METHODS, one.methods.iter().map(method).collect())),
            ("endpoints", table(&ENDPOINTS, one.endpoints.iter().map(endpoint).collect())),
            ("breakers", table(&BREAKERS, one.breakers.iter().map(breaker).collect())),
            ("recent faults", table(&FAULTS, one.faults.iter().map(fault).collect())),
        ] {
            if !table.is_empty() {
                text += &format!("\n{name}: {what}\n{table}");
            }
        }
    }
    text
}

/// Columns as wide as what is in them; nothing if nothing is.
fn table<const N: usize>(heads: &[&str; N], rows: Vec<[String; N]>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let widths: [usize; N] = std::array::from_fn(|at| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.max().unwrap_or_default().max(heads[at].len())
    });
    let line = |cells: &[String; N]| {
        let cells: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    let heads = line(&heads.map(str::to_owned));
    rows.iter().fold(heads, |text, row| text + &line(row))
}
