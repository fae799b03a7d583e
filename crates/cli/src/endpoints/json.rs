//! What there is to show, for programs: one object on one line, times in whole microseconds.

use super::view::{Row, View};
use serde_json::{Map, Value, json};
use std::time::Duration;

pub(super) fn text(view: &View) -> Result<String, serde_json::Error> {
    let rows: Vec<Value> = view.rows.iter().map(row).collect();
    let all = json!({
        "url": view.url,
        "settled": view.settled,
        "source": {
            "about": view.about,
            "answered_us_ago": view.answered.map(us),
            "failures": view.failures,
            "error": view.error,
            "empty_doubted_us": view.doubted.map(us),
        },
        "endpoints": rows,
    });
    Ok(serde_json::to_string(&all)? + "\n")
}

fn row(row: &Row) -> Value {
    let labels: Map<String, Value> =
        row.labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({
        "address": row.address,
        "status": row.status.name(),
        "since_us": row.since.map(us),
        "weight": row.weight,
        "priority": row.priority,
        "zone": row.zone,
        "labels": labels,
        "ping_us": row.ping.map(us),
        "ewma_us": row.ewma.map(us),
        "pings": row.looks,
        "lost": row.failed,
        "in_flight": row.load.map(|load| load.in_flight),
        "queue_us": row.load.map(|load| us(load.queue)),
        "error": row.error,
    })
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
