//! Looks whether files have changed.

use super::pem::{InvalidTls, Source};
use std::{fs, time::Duration, time::SystemTime};
use tokio::time::sleep;

/// The shortest time between two looks, so that 0 does not mean all the time.
const LEAST: Duration = Duration::from_millis(10);

/// When a file was written, and how long it is; `None`: it is not there.
type Look = Vec<Option<(SystemTime, u64)>>;

fn look(sources: &[&Source]) -> Look {
    let files = sources.iter().filter_map(|source| source.path());
    let look = files.map(|path| {
        let file = fs::metadata(path).ok()?;
        Some((file.modified().ok()?, file.len()))
    });
    look.collect()
}

/// Calls `reload` whenever one of the files has changed; never ends.
pub(super) async fn watch(sources: &[&Source], every: Duration, reload: impl Fn() -> Result<(), InvalidTls>) {
    let mut before = look(sources);
    loop {
        sleep(every.max(LEAST)).await;
        // Before it is read: what changes during that is seen the next time.
        let now = look(sources);
        if now == before {
            continue;
        }
        before = now;
        match reload() {
            Ok(()) => tracing::info!("TLS certificates have changed, and are used for new connections"),
            Err(error) => {
                tracing::warn!(%error, "TLS certificates have changed, and the old ones stay in use")
            }
        }
    }
}
