//! The line that shows how it goes, on stderr if that is a terminal.

use super::{report::ms, tally::Tally};
use indicatif::{ProgressBar, ProgressDrawTarget};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_millis(250);

/// Erases its line when it is dropped.
struct Line(ProgressBar);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Never ends.
pub(super) async fn run(tallies: Vec<Arc<Mutex<Tally>>>, begin: Instant, duration: Duration) {
    let line = Line(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
    if line.0.is_hidden() {
        return;
    }
    line.0.set_style(indicatif::ProgressStyle::with_template("{msg}").unwrap_or_else(|_| {
        // The template is a plain one.
        indicatif::ProgressStyle::default_spinner()
    }));
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut before, mut at) = (0, begin);
    loop {
        let now = ticks.tick().await;
        let Ok(tally) = Tally::sum(&tallies) else { return };
        let span = now.saturating_duration_since(at).as_secs_f64();
        let rate = if span > 0.0 { (tally.calls() - before) as f64 / span } else { 0.0 };
        (before, at) = (tally.calls(), now);
        line.0.set_message(format!(
            "{:.1} of {:.1} s   {rate:.0} calls/s   p50 {}   p99 {}   max {}   failed {}",
            now.saturating_duration_since(begin).as_secs_f64(),
            duration.as_secs_f64(),
            ms(tally.quantile(0.5)),
            ms(tally.quantile(0.99)),
            ms(tally.max()),
            tally.failed(),
        ));
    }
}
