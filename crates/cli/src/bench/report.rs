//! The outcome: as text, as JSON, as an exit code.

use super::tally::{Tally, UNSENT};
use crate::exit::Failure;
use serde_json::{Map, Value, json};
use std::{fmt::Write, time::Duration};

/// What was asked for.
pub(super) struct Asked {
    pub(super) url: String,
    pub(super) method: String,
    pub(super) connections: u32,
    pub(super) inflight: u32,
    pub(super) rate: Option<f64>,
}

/// What was asked for, and what came of it.
pub(super) struct Report {
    pub(super) asked: Asked,
    /// From the first call to the end of the last.
    pub(super) took: Duration,
    pub(super) tally: Tally,
}

/// The shares that are shown.
const SHARES: [(&str, f64); 6] =
    [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

pub(super) fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

fn us(time: Duration) -> Value {
    json!((time.as_secs_f64() * 1e9).round() / 1e3)
}

fn plural(count: u32, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

impl Report {
    /// Calls that were sent and ended, per second.
    fn per_second(&self) -> f64 {
        let unsent = self.tally.failures().get(UNSENT).copied().unwrap_or(0);
        (self.tally.calls() - unsent) as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// What was called.
    pub(super) fn subject(&self) -> String {
        format!("{} at {}", self.asked.method, self.asked.url)
    }

    /// How it was called.
    pub(super) fn terms(&self) -> String {
        let asked = &self.asked;
        let pace = match asked.rate {
            Some(rate) => format!("{rate} calls/s asked for"),
            None => "as fast as answered".to_owned(),
        };
        let connections = plural(asked.connections, "connection");
        format!("{connections} with {} at a time, {pace}", plural(asked.inflight, "call"))
    }

    pub(super) fn text(&self) -> String {
        let tally = &self.tally;
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}: {}", self.subject(), self.terms());
        let seconds = self.took.as_secs_f64();
        let _ = writeln!(
            out,
            "{} calls in {seconds:.2} s, {:.0}/s, {} failed",
            tally.calls(),
            self.per_second(),
            tally.failed()
        );
        for (code, count) in tally.failures() {
            let _ = writeln!(out, "  {code:<10} {count}");
        }
        let _ = writeln!(out, "latency");
        let mut row = |name: &str, time| {
            let _ = writeln!(out, "  {name:<7} {:>12}", ms(time));
        };
        row("min", tally.min());
        row("mean", tally.mean());
        for (name, share) in SHARES {
            row(name, tally.quantile(share));
        }
        row("max", tally.max());
        out
    }

    /// Times are in microseconds.
    pub(super) fn json(&self) -> String {
        let (asked, tally) = (&self.asked, &self.tally);
        let mut latency = Map::new();
        latency.insert("min".into(), us(tally.min()));
        latency.insert("mean".into(), us(tally.mean()));
        for (name, share) in SHARES {
            latency.insert(name.into(), us(tally.quantile(share)));
        }
        latency.insert("max".into(), us(tally.max()));
        json!({
            "url": asked.url,
            "method": asked.method,
            "connections": asked.connections,
            "inflight": asked.inflight,
            "rate": asked.rate,
            "seconds": self.took.as_secs_f64(),
            "calls": tally.calls(),
            "ok": tally.calls() - tally.failed(),
            "failed": tally.failed(),
            "failures": tally.failures(),
            "per_second": self.per_second(),
            "latency_us": latency,
        })
        .to_string()
    }

    /// The failure that stands for all, if there are any: the most frequent.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let most = self.tally.failures().iter().max_by_key(|(_, count)| **count);
        let Some((code, count)) = most else { return Ok(()) };
        let (failed, calls) = (self.tally.failed(), self.tally.calls());
        let text = format!("{failed} of {calls} calls failed, {count} of them: {code}");
        Err(match &**code {
            "MCP-E-010" | "MCP-E-011" => Failure::NotReached(text),
            "MCP-W-101" => Failure::Deadline(text),
            _ => Failure::Other(text),
        })
    }
}
