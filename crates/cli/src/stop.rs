//! The signals that end a server.

use std::io;

/// SIGTERM and SIGINT, one after another (elsewhere than on Unix: Ctrl-C). None is lost from when this is made.
#[cfg(unix)]
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Signals)
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// SIGHUP, for who wants it; for others it stays what it is, the end.
#[cfg(unix)]
pub(crate) struct Hangups(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Hangups {
    pub(crate) fn listen(wanted: bool) -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Hangups(if wanted { Some(signal(SignalKind::hangup())?) } else { None }))
    }

    /// Does this at each; never ends.
    pub(crate) async fn each(&mut self, mut work: impl FnMut()) {
        if let Some(hangup) = &mut self.0 {
            while hangup.recv().await.is_some() {
                work();
            }
        }
        std::future::pending().await
    }
}

#[cfg(not(unix))]
pub(crate) struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    pub(crate) fn listen(_: bool) -> io::Result<Self> {
        Ok(Hangups)
    }

    pub(crate) async fn each(&mut self, _: impl FnMut()) {
        std::future::pending().await
    }
}
