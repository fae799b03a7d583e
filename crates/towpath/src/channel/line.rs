//! What the handles of a channel, its calls and its one task share.

use super::connector::{Connector, is_of_connect};
use std::sync::Arc;
use tokio::{sync::Notify, time::Instant};
use towpath_core::{Backoff, Error, ErrorKind, Live, Processed};
use towpath_transport::{Address, ClientConfig, Connection};

/// Where a channel leads to, and how.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) config: ClientConfig,
    pub(crate) backoff: Backoff,
    pub(crate) connector: Connector,
}

/// The state of a channel, with the connection in it: `Idle` → `Connecting` ⇄ `Connected`, and `Closed` at
/// last. `Idle` comes back when the runtime that the task lived on has ended, and when the peer has closed a
/// connection that nobody used.
#[derive(Clone, Debug)]
pub(super) enum Line {
    Idle,
    Connecting { since: Instant, last_error: Option<Error> },
    Connected(Connection),
    Closed,
}

/// One channel: its target and its line.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) target: Target,
    pub(super) line: Live<Line>,
    /// Tells those who wait for a change, in the order in which they came.
    pub(super) changed: Notify,
    /// The address as it is named in errors.
    pub(super) endpoint: Arc<str>,
}

impl Core {
    pub(super) fn new(target: Target) -> Self {
        let endpoint = target.address.to_string().into();
        Core { target, line: Live::new(Line::Idle), changed: Notify::new(), endpoint }
    }

    /// From `Idle` to `Connecting`; true for the one who has to start the task.
    pub(super) fn begin(&self) -> bool {
        self.change(|line| match line {
            Line::Idle => Some(Line::Connecting { since: Instant::now(), last_error: None }),
            _ => None,
        })
    }

    /// Whether the peer has closed the connection because nobody used it.
    pub(super) fn is_closed_idle(&self) -> bool {
        matches!(&*self.line.get(), Line::Connected(connection) if connection.is_closed_idle())
    }

    /// The task's changes; false when the channel is closed.
    pub(super) fn set(&self, next: Line) -> bool {
        let set = self.change(|line| (!matches!(line, Line::Closed)).then_some(next));
        self.changed.notify_waiters();
        set
    }

    /// No calls from here on.
    pub(super) fn close(&self) {
        self.change(|_| Some(Line::Closed));
        self.changed.notify_waiters();
    }

    /// Whether it was changed.
    fn change(&self, next: impl FnOnce(&Line) -> Option<Line>) -> bool {
        let before = self.line.update(|line| next(line).ok_or(()));
        if let Ok(Line::Connected(connection)) = before.as_deref() {
            // Services that were not called since still have it at hand: they must not hold it open.
            connection.close();
        }
        before.is_ok()
    }

    pub(super) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind).at(self.endpoint.clone()).with_processed(Processed::No)
    }

    pub(super) fn closed(&self) -> Error {
        self.error(ErrorKind::Draining).because("the client was closed here")
    }

    /// What a call fails with whose time was up before there was a connection.
    pub(super) fn never_connected(&self) -> Error {
        match &*self.line.get() {
            Line::Connecting { last_error: Some(error), .. } if is_of_connect(error) => error.clone(),
            Line::Connecting { last_error: Some(error), .. } => self
                .error(ErrorKind::ConnectFailed)
                .because("the connection was lost and is not back yet")
                .with_source(error.clone()),
            _ => self
                .error(ErrorKind::DeadlineExceeded)
                .because("it passed while the call waited for a connection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core() -> Core {
        let (address, config) = (Address::new("10.0.0.1", 80), ClientConfig::default());
        let connector = Connector::default();
        Core::new(Target { address, config, backoff: Backoff::default(), connector })
    }

    #[test]
    fn who_waited_in_vain_is_told_why() {
        let core = core();
        assert!(core.begin() && !core.begin(), "one of two begins");
        let vain = core.never_connected();
        assert_eq!((vain.kind(), vain.processed()), (ErrorKind::DeadlineExceeded, Processed::No), "{vain}");

        let since = Instant::now();
        let refused = Error::new(ErrorKind::ConnectFailed).because("refused");
        assert!(core.set(Line::Connecting { since, last_error: Some(refused) }));
        let vain = core.never_connected();
        assert_eq!((vain.kind(), vain.detail()), (ErrorKind::ConnectFailed, "refused"));

        let lost = Error::new(ErrorKind::ConnectionLost);
        assert!(core.set(Line::Connecting { since, last_error: Some(lost) }));
        let vain = core.never_connected();
        assert_eq!((vain.kind(), vain.processed()), (ErrorKind::ConnectFailed, Processed::No), "{vain}");
        assert!(vain.to_string().contains("mcp://10.0.0.1:80"), "{vain}");
    }

    #[test]
    fn closed_is_closed() {
        let core = core();
        core.close();
        assert!(!core.begin() && !core.set(Line::Idle));
        assert!(matches!(*core.line.get(), Line::Closed));
    }
}
