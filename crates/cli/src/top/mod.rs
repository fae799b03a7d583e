//! `towpath top`

mod draw;
mod fetch;
mod keys;
mod plain;

use crate::{args::TopArgs, exit::Failure, token};
use draw::Shown;
use fetch::Source;
use keys::Key;
use std::io::{IsTerminal, Write, stdout};
use tokio::time::{MissedTickBehavior, interval};

pub(crate) async fn run(args: TopArgs) -> Result<(), Failure> {
    let source = Source::new(&args.url, token::read(&args.token, &[])?)?;
    if args.once || !stdout().is_terminal() {
        let snapshot = source.get(args.timeout).await?;
        let mut out = stdout().lock();
        let written = out.write_all(plain::text(&snapshot).as_bytes()).and_then(|()| out.flush());
        return written.map_err(|error| Failure::Other(format!("stdout cannot be written: {error}")));
    }
    let unusable = |error| Failure::Other(format!("the terminal cannot be drawn on: {error}"));
    // Where nobody answers, that is said, and not drawn.
    let mut shown = Shown::new(source.get(args.timeout).await?);
    let mut keys = keys::read();
    let mut terminal = ratatui::try_init().map_err(unusable)?;
    let _restore = Restore;
    let mut ticks = interval(args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        terminal.draw(|frame| draw::draw(frame, &shown)).map_err(unusable)?;
        tokio::select! {
            _ = ticks.tick() => match source.get(args.timeout).await {
                Ok(snapshot) => shown.news(snapshot),
                Err(failure) => shown.lost(failure.to_string()),
            },
            key = keys.recv() => match key {
                Some(Key::Quit) | None => return Ok(()),
                Some(Key::Next) => shown.select(1),
                Some(Key::Previous) => shown.select(-1),
                Some(Key::Drawn) => {}
            },
        }
    }
}

/// The terminal is as it was, however this ends.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
