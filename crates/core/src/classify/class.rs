//! What an outcome means.

use crate::{Brief, Error, ErrorCode, ErrorKind, Processed, Traits};
use std::time::Duration;

/// What an outcome says about the endpoint that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It did what it was asked to.
    Success,
    /// It answered with a fault of its application: the endpoint is well.
    Answer,
    /// The endpoint failed: this opens breakers and turns traffic away.
    Failure,
    /// The call was wrong: nothing is held against the endpoint.
    Caller,
    /// Nothing: cancelled, above a rate, or it never got there.
    Nothing,
}

/// What an outcome means to breaker, retry, balance, metrics and trace, all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// What it says about the endpoint.
    pub verdict: Verdict,
    /// Whether the same call, made again on the spot (at another endpoint if there is one), may well end
    /// better. Says nothing about harm: see [`Class::is_safe`].
    pub useful: bool,
    /// Whether it only means "too much just now": rate limited, overloaded.
    pub soft: bool,
    /// Whether the callee may have acted.
    pub processed: Processed,
    /// When another try makes sense, counted from now; `None`: nobody said.
    pub retry_after: Option<Duration>,
    /// The code of the fault or of the error, to count it under.
    pub code: Option<ErrorCode>,
}

impl Class {
    /// A result.
    pub const SUCCESS: Class = Class {
        verdict: Verdict::Success,
        useful: false,
        soft: false,
        processed: Processed::Yes,
        retry_after: None,
        code: None,
    };

    /// A failure of the endpoint about which nothing else is known: another try is useful, if it is safe.
    pub const FAILURE: Class =
        Class { verdict: Verdict::Failure, useful: true, processed: Processed::Unknown, ..Class::SUCCESS };

    /// Whether the endpoint did what it was asked to.
    pub const fn is_success(&self) -> bool {
        matches!(self.verdict, Verdict::Success)
    }

    /// Whether the endpoint failed.
    pub const fn is_failure(&self) -> bool {
        matches!(self.verdict, Verdict::Failure)
    }

    /// Whether the call may be made again without harm: the callee has not acted, or twice is as good as
    /// once.
    pub const fn is_safe(&self, idempotent: bool) -> bool {
        idempotent || matches!(self.processed, Processed::No)
    }

    /// Whether the call should be made again on the spot: it is useful, and it is safe.
    pub const fn is_retryable(&self, idempotent: bool) -> bool {
        self.useful && self.is_safe(idempotent)
    }

    /// What an error of the stack means.
    pub fn of_error(error: &Error) -> Self {
        let class = Class::of_kind(error.kind(), error.is_remote());
        Class {
            useful: class.useful && !error.is_retry_stop(),
            processed: error.processed(),
            retry_after: error.retry_after(),
            ..class
        }
    }

    /// What a kind of error means; `remote`: it came off the wire, so another endpoint may answer better.
    pub fn of_kind(kind: ErrorKind, remote: bool) -> Self {
        use ErrorKind as K;
        let verdict = match kind {
            K::Malformed | K::Version | K::TooLarge | K::UnknownMethod => Verdict::Caller,
            K::UnsupportedCodec | K::Undecodable => Verdict::Caller,
            K::Unauthenticated | K::PermissionDenied => Verdict::Caller,
            K::HandlerFailed | K::ConnectionLost | K::ConnectFailed => Verdict::Failure,
            K::DeadlineExceeded | K::Overloaded | K::NoConnection | K::Draining => Verdict::Failure,
            K::Cancelled | K::RateLimited | K::CircuitOpen | K::NoEndpoint => Verdict::Nothing,
        };
        let useful = match kind {
            K::RateLimited => remote,
            _ => verdict == Verdict::Failure,
        };
        Class {
            verdict,
            useful,
            soft: matches!(kind, K::Overloaded | K::RateLimited),
            processed: kind.processed(),
            retry_after: None,
            code: Some(kind.error_code()),
        }
    }

    /// What a fault means, given what its service declared about its code.
    ///
    /// Without a word from the service it is an answer. A `transient` code, `not_processed` or a
    /// `retry_after` make another try useful; `unhealthy` makes it the endpoint's failure.
    pub fn of_fault(fault: Brief, traits: Traits) -> Self {
        if fault.code.is_mcp() {
            // Where nobody has turned it into an error yet: within a server.
            let kind = ErrorKind::from_code(fault.code.as_str()).unwrap_or(ErrorKind::HandlerFailed);
            let class = Class::of_kind(kind, true);
            let processed = if fault.not_processed { Processed::No } else { class.processed };
            return Class { processed, retry_after: fault.retry_after, code: Some(fault.code), ..class };
        }
        let useful = traits.transient || fault.not_processed || fault.retry_after.is_some();
        Class {
            verdict: if traits.unhealthy { Verdict::Failure } else { Verdict::Answer },
            useful,
            soft: false,
            processed: match (fault.not_processed, useful || traits.unhealthy) {
                (true, _) => Processed::No,
                (false, true) => Processed::Unknown,
                (false, false) => Processed::Yes,
            },
            retry_after: fault.retry_after,
            code: Some(fault.code),
        }
    }
}
