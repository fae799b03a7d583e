//! A snapshot a second, as server-sent events.

use crate::Admin;
use axum::{
    extract::State,
    response::{
        IntoResponse,
        sse::{Event, Sse},
    },
};
use futures_util::stream::unfold;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};

const EVERY: Duration = Duration::from_secs(1);
/// A stream ends after this, and the browser asks for another one: who has nested the router and does not
/// [close](Admin::close) it waits no longer for its server to end.
const LONGEST: Duration = Duration::from_secs(60);

struct Stream {
    admin: Arc<Admin>,
    ticks: Interval,
    closed: watch::Receiver<bool>,
    until: Instant,
    id: u64,
}

/// Each event is whole in itself, so that who comes back needs nothing of what was missed, and `Last-Event-ID` says nothing.
pub(super) async fn stream(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (closed, until) = (admin.closed(), Instant::now() + LONGEST);
    Sse::new(unfold(Stream { admin, ticks, closed, until, id: 0 }, async |mut stream: Stream| {
        tokio::select! {
            // What is closed already is closed.
            biased;
            _ = stream.closed.wait_for(|closed| *closed) => return None,
            () = sleep_until(stream.until) => return None,
            _ = stream.ticks.tick() => {}
        }
        stream.id += 1;
        let event =
            Event::default().id(stream.id.to_string()).retry(EVERY).json_data(stream.admin.snapshot());
        Some((event, stream))
    }))
}
