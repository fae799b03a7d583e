//! The one task of a channel: it keeps a connection, for as long as somebody has the channel.

use super::{
    line::{Core, Line},
    reconnect::{Loss, Reconnect},
};
use fastrand::Rng;
use std::sync::Arc;
use tokio::time::{Instant, sleep};
use towpath_core::{Error, ErrorKind};

/// Connects, watches the connection, connects again; ends when the channel is closed.
pub(super) async fn run(core: Arc<Core>) {
    let guard = Guard(core.clone());
    tokio::select! {
        biased;
        () = closed(&core) => {}
        () = keep(&core) => {}
    }
    drop(guard);
}

async fn closed(core: &Core) {
    let mut seen = core.line.version();
    while !matches!(*core.line.get(), Line::Closed) {
        seen = core.line.changed(seen).await;
    }
}

async fn keep(core: &Core) {
    let mut reconnect = Reconnect::new(core.target.backoff);
    let mut rng = Rng::new();
    let mut since = Instant::now();
    loop {
        let (error, wait) =
            match core.target.connector.connect(&core.target.address, &core.target.config).await {
                Ok(connection) => {
                    reconnect.connected(Instant::now());
                    // The connection goes into the line; what waits for its end does not hold it open.
                    let ended = connection.closed();
                    if !core.set(Line::Connected(connection)) {
                        return;
                    }
                    tracing::debug!(endpoint = %core.endpoint, "connected");
                    let error = ended.await;
                    since = Instant::now();
                    let wait = reconnect.lost(since, loss(&error), &mut rng);
                    tracing::debug!(endpoint = %core.endpoint, %error, ?wait, "the connection ended");
                    if core.is_closed_idle() {
                        // It would be closed again, and made again, without end: the next call makes one.
                        return;
                    }
                    (error, wait)
                }
                Err(error) => {
                    let wait = reconnect.failed(&mut rng);
                    tracing::debug!(endpoint = %core.endpoint, %error, ?wait, "could not connect");
                    (error, wait)
                }
            };
        if !core.set(Line::Connecting { since, last_error: Some(error) }) {
            return;
        }
        sleep(wait).await;
    }
}

fn loss(error: &Error) -> Loss {
    if error.kind() == ErrorKind::ConnectionLost { Loss::Broken } else { Loss::Away }
}

/// If the task ends before the channel does, or its runtime, the next call starts anew.
struct Guard(Arc<Core>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(Line::Idle);
    }
}
