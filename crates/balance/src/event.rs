//! What a balancer tells of what it decided.

use std::fmt;
use tokio::time::Instant;
use towpath_core::Endpoint;

/// What a balancer reports through [`Observe`](towpath_core::Observe).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BalanceEvent {
    /// There is a new endpoint.
    Joined(Endpoint),
    /// An endpoint is no more.
    Left(Endpoint),
    /// For the first time it is known which endpoints there are.
    Settled(Counts),
    /// An endpoint gets no calls for a while, as its breaker asked.
    Ejected {
        /// Which one.
        endpoint: Endpoint,
        /// Until when; `None`: until somebody says so.
        until: Option<Instant>,
    },
    /// Its breaker asked for that, but too many are out already, or the others fail as it does, so that it is not the
    /// endpoint that is ill: it gets calls all the same.
    EjectionRefused {
        /// Which one.
        endpoint: Endpoint,
        /// How many there are.
        counts: Counts,
    },
    /// An endpoint gets calls again that was ejected.
    Returned(Endpoint),
    /// So few are well that all of them get calls.
    PanicBegan(Counts),
    /// Enough are well again.
    PanicEnded(Counts),
    /// A call found no endpoint in the time that it had, and failed with MCP-W-106.
    NoEndpoint(Counts),
    /// The factory panicked when it was to make the stack of this endpoint, which gets no calls.
    NoStack(Endpoint),
}

/// The endpoints, counted by what is known of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// All that there are.
    pub known: u32,
    /// Those that take calls.
    pub ready: u32,
    /// Those that have no connection.
    pub connecting: u32,
    /// Those that fail too often, as their breakers say.
    pub ejected: u32,
    /// Those whose health checks fail.
    pub unhealthy: u32,
    /// Those that take nothing new.
    pub draining: u32,
    /// Those of weight 0.
    pub idle: u32,
}

impl fmt::Display for Counts {
    /// `5 endpoints: 3 ready, 1 ejected, 1 connecting`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.known == 1 { "" } else { "s" };
        write!(f, "{} endpoint{s}", self.known)?;
        if self.known == 0 {
            return Ok(());
        }
        write!(f, ": {} ready", self.ready)?;
        let others = [
            (self.ejected, "ejected"),
            (self.unhealthy, "unhealthy"),
            (self.connecting, "connecting"),
            (self.draining, "draining"),
            (self.idle, "of weight 0"),
        ];
        for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_said_in_a_line() {
        let mut counts = Counts::default();
        assert_eq!(counts.to_string(), "0 endpoints");
        counts.known = 1;
        assert_eq!(counts.to_string(), "1 endpoint: 0 ready");
        counts = Counts { known: 5, ready: 3, ejected: 1, draining: 1, ..counts };
        assert_eq!(counts.to_string(), "5 endpoints: 3 ready, 1 ejected, 1 draining");
    }
}
