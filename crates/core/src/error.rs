//! What layers and connections fail with.

use crate::{ErrorCode, Fault};
use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc, time::Duration};

/// Any error, as tower passes it on.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Whether the callee may have acted on the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Processed {
    /// It has not: the call may be made again without harm.
    No,
    /// Nobody knows: only a call that may be made twice without harm may be made again.
    Unknown,
    /// It has.
    Yes,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $code:literal, $processed:ident, $says:literal, $hint:literal;)*) => {
        /// What went wrong, in the stack's own words: each kind is one `MCP-*` code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            /// All kinds, in the order of their codes.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$kind),*];

            /// The code that stands for it on the wire.
            pub const fn code(self) -> &'static str {
                match self { $(ErrorKind::$kind => $code,)* }
            }

            /// Whether the callee may have acted, if nothing more is known.
            pub const fn processed(self) -> Processed {
                match self { $(ErrorKind::$kind => Processed::$processed,)* }
            }

            /// What happened, in a few words.
            pub const fn says(self) -> &'static str {
                match self { $(ErrorKind::$kind => $says,)* }
            }

            /// What the reader of the message can do; may be empty.
            pub const fn hint(self) -> &'static str {
                match self { $(ErrorKind::$kind => $hint,)* }
            }
        }
    };
}

kinds! {
    /// MCP-E-001: the request's structure is wrong.
    Malformed = "MCP-E-001", No, "malformed request", "the sender breaks the protocol: compare versions";
    /// MCP-E-002: the peer speaks another version (never on the wire; there it is GOAWAY 2).
    Version = "MCP-E-002", No, "the peer speaks another protocol version", "check that the address is an MCP service and compare versions";
    /// MCP-E-003: a request (not processed) or an answer (processed) above the size limit.
    TooLarge = "MCP-E-003", No, "payload too large", "raise the payload limit on both sides, or send less";
    /// MCP-E-004: the callee has no such method.
    UnknownMethod = "MCP-E-004", No, "unknown method", "check the method's name and that the right service is called";
    /// MCP-E-005: the callee does not read this encoding.
    UnsupportedCodec = "MCP-E-005", No, "unsupported codec", "send the body in a codec that the method takes";
    /// MCP-E-006: the body is not what the method takes.
    Undecodable = "MCP-E-006", No, "the body cannot be decoded", "compare the body with what the method takes";
    /// MCP-E-007: the caller did not say who it is.
    Unauthenticated = "MCP-E-007", No, "unauthenticated", "send a valid credential";
    /// MCP-E-008: the caller may not do this.
    PermissionDenied = "MCP-E-008", No, "permission denied", "ask for the permission, or call as somebody who has it";
    /// MCP-E-009: the handler panicked or failed without a fault of its own.
    HandlerFailed = "MCP-E-009", Unknown, "the handler failed", "see the callee's log for the trace id";
    /// MCP-E-010: the connection ended with the call outstanding.
    ConnectionLost = "MCP-E-010", Unknown, "the connection was lost with the call outstanding", "retry if the call is idempotent";
    /// MCP-E-011: no connection could be made.
    ConnectFailed = "MCP-E-011", No, "could not connect", "check that the service runs and that the address is right";
    /// MCP-W-101: the deadline passed.
    DeadlineExceeded = "MCP-W-101", Unknown, "deadline exceeded", "give the call more time, or find what is slow";
    /// MCP-W-102: the caller gave the call up.
    Cancelled = "MCP-W-102", Unknown, "cancelled", "";
    /// MCP-W-103: refused before processing, there is too much to do.
    Overloaded = "MCP-W-103", No, "overloaded: refused before processing", "send less, or later";
    /// MCP-W-104: the caller's rate is above what it is granted.
    RateLimited = "MCP-W-104", No, "rate limited", "send less, or later";
    /// MCP-W-105: the breaker is open.
    CircuitOpen = "MCP-W-105", No, "circuit open", "the target failed too often just now: wait until it has recovered";
    /// MCP-W-106: nothing to send the call to.
    NoEndpoint = "MCP-W-106", No, "no endpoint available", "check discovery and the endpoints' health";
    /// MCP-W-107: no connection became free in time.
    NoConnection = "MCP-W-107", No, "no connection became free in time", "raise the pool's limits, or send less";
    /// MCP-W-108: the peer is going away.
    Draining = "MCP-W-108", No, "the peer is draining", "retry on another endpoint";
}

impl ErrorKind {
    /// The kind of an `MCP-*` code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// The code as a value.
    pub fn error_code(self) -> ErrorCode {
        ErrorCode::from_static(self.code())
    }
}

/// A failure of the stack: of a layer, of a connection, or an `MCP-*` fault that came off the wire.
///
/// It says what failed, at which endpoint, whether the callee may have acted, and when another try makes
/// sense. It is `Clone` because one failed connect answers many waiters. Layers pass it on as
/// [`BoxError`]; the outermost one in a chain of sources speaks ([`Error::find`]), and a layer that wraps
/// one keeps its [`processed`](Error::processed) and [`retry_after`](Error::retry_after)
/// ([`Error::wrapping`]).
///
/// ```
/// use towpath_core::{Error, ErrorKind, Processed};
/// let e = Error::new(ErrorKind::ConnectFailed).at("mcp://127.0.0.1:8080").because("connection refused");
/// assert_eq!(e.processed(), Processed::No);
/// assert_eq!(
///     e.to_string(),
///     "MCP-E-011 could not connect to mcp://127.0.0.1:8080: connection refused \
///      (check that the service runs and that the address is right)",
/// );
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    processed: Processed,
    retry_after: Option<Duration>,
    attempts: u16,
    remote: bool,
    retry_stop: bool,
    /// As it came off the wire; a box, so that an error without one stays small.
    fault: Option<Fault>,
    detail: Cow<'static, str>,
    endpoint: Option<Arc<str>>,
    trace_id: Option<Arc<str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of a kind, with the kind's own word on whether the callee may have acted.
    pub fn new(kind: ErrorKind) -> Self {
        Error(Box::new(Inner {
            kind,
            processed: kind.processed(),
            retry_after: None,
            attempts: 0,
            remote: false,
            retry_stop: false,
            fault: None,
            detail: Cow::Borrowed(""),
            endpoint: None,
            trace_id: None,
            source: None,
        }))
    }

    /// An error of a kind that stands for another one, which becomes its source. If the other one is (or
    /// holds) an [`Error`], what it says about processing, about waiting and about further attempts is kept.
    pub fn wrapping(kind: ErrorKind, source: impl Into<BoxError>) -> Self {
        let source: Arc<dyn StdError + Send + Sync> = source.into().into();
        let mut error = Error::new(kind);
        if let Some(inner) = Error::find(&*source) {
            error.0.processed = inner.processed();
            error.0.retry_after = inner.retry_after();
            error.0.retry_stop = inner.is_retry_stop();
            error.0.endpoint = inner.0.endpoint.clone();
            error.0.trace_id = inner.trace_id().map(Arc::from);
        }
        error.0.source = Some(source);
        error
    }

    /// Says more about the reason, for people.
    #[must_use]
    pub fn because(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, endpoint: impl Into<Arc<str>>) -> Self {
        self.0.endpoint = Some(endpoint.into());
        self
    }

    /// Says whether the callee may have acted.
    #[must_use]
    pub fn with_processed(mut self, processed: Processed) -> Self {
        self.0.processed = processed;
        self
    }

    /// Says when another try makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.0.retry_after = after;
        self
    }

    /// Says after how many attempts.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u16) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Says whether the callee said so, or something on this side.
    #[must_use]
    pub fn with_remote(mut self, remote: bool) -> Self {
        self.0.remote = remote;
        self
    }

    /// Says that attempts are spent where it failed: who called need not make more of them. It goes on the
    /// wire as `retry-stop: 1`, and so stops the retries of a whole chain.
    #[must_use]
    pub fn with_retry_stop(mut self, stop: bool) -> Self {
        self.0.retry_stop = stop;
        self
    }

    /// Keeps the fault that came off the wire. It says the detail and the trace, unless the error has its
    /// own: nothing of it is copied.
    #[must_use]
    pub(crate) fn with_fault(mut self, fault: Fault) -> Self {
        self.0.remote = true;
        self.0.fault = Some(fault);
        self
    }

    /// Says in which trace.
    #[must_use]
    pub fn with_trace_id(mut self, trace_id: impl Into<Arc<str>>) -> Self {
        self.0.trace_id = Some(trace_id.into());
        self
    }

    /// Keeps the error that led to this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the callee may have acted.
    pub fn processed(&self) -> Processed {
        self.0.processed
    }

    /// When another try makes sense, counted from now; `None`: nobody said.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The fault that this error was made of, as it came off the wire: the peer's own code, also one that
    /// this version does not know, its own words, and what had led to it. `None` for what failed on this side,
    /// and for an error that stands for another one ([`Error::wrapping`]).
    ///
    /// What the error itself says may be more: the code alone can mean that nothing was processed.
    pub fn remote_fault(&self) -> Option<&Fault> {
        self.0.fault.as_ref()
    }

    /// After how many attempts; 0: nobody counted.
    pub fn attempts(&self) -> u16 {
        self.0.attempts
    }

    /// Whether attempts are spent where it failed, so that another one from here is of no use.
    pub fn is_retry_stop(&self) -> bool {
        self.0.retry_stop
    }

    /// Whether the callee said so (it came off the wire), or something on this side: a rate limit of the
    /// callee may be another one at the next endpoint, one of our own is not.
    pub fn is_remote(&self) -> bool {
        self.0.remote
    }

    /// The reason, in more words; may be empty.
    pub fn detail(&self) -> &str {
        match &self.0.fault {
            Some(fault) if self.0.detail.is_empty() && fault.message() != self.0.kind.says() => {
                fault.message()
            }
            _ => &self.0.detail,
        }
    }

    /// Where.
    pub fn endpoint(&self) -> Option<&str> {
        self.0.endpoint.as_deref()
    }

    /// In which trace.
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref().or_else(|| self.0.fault.as_ref().and_then(Fault::trace_id))
    }

    /// The outermost [`Error`] in a chain of sources.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Error>() {
                return Some(found);
            }
            next = beneath(error);
        }
        None
    }

    /// The outermost [`Error`] in a chain of sources, by value; an error that holds none becomes one of
    /// `kind`.
    pub fn from_boxed(error: BoxError, kind: ErrorKind) -> Self {
        match error.downcast::<Error>() {
            Ok(own) => *own,
            Err(foreign) => match Error::find(&*foreign) {
                Some(own) => own.clone(),
                None => {
                    let text = foreign.to_string();
                    Error::new(kind).because(text).with_source(foreign)
                }
            },
        }
    }
}

/// The error that led to this one. `io::Error` skips what it holds and tells of that one's source.
pub(crate) fn beneath<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, attempts, endpoint, .. } = &*self.0;
        let (detail, trace_id) = (self.detail(), self.trace_id());
        write!(f, "{} {}", kind.code(), kind.says())?;
        if let Some(endpoint) = endpoint {
            let word = if *kind == ErrorKind::ConnectFailed { "to" } else { "at" };
            write!(f, " {word} {endpoint}")?;
        }
        if *attempts > 1 {
            write!(f, " after {attempts} attempts")?;
        }
        if !detail.is_empty() {
            write!(f, ": {detail}")?;
        }
        if let Some(trace_id) = trace_id {
            write!(f, " [trace {trace_id}]")?;
        }
        match kind.hint() {
            "" => Ok(()),
            hint => write!(f, " ({hint})"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("processed", &self.0.processed)
            .field("retry_after", &self.0.retry_after)
            .field("detail", &self.detail())
            .field("endpoint", &self.0.endpoint)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        if let Some(source) = self.0.source.as_deref() {
            return Some(source);
        }
        // Where it has nothing to add, a chain of sources would only repeat what was said.
        let fault = self.0.fault.as_ref()?;
        (fault.cause().is_some() || !fault.chain().is_empty()).then_some(fault as _)
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Error::new(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_codes_are_one_to_one() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_code(kind.code()), Some(*kind));
        }
        assert_eq!(ErrorKind::from_code("MCP-E-999"), None);
    }

    #[test]
    fn who_wraps_keeps_what_matters() {
        let lost = Error::new(ErrorKind::ConnectionLost)
            .at("10.0.0.1:1")
            .with_retry_after(Some(Duration::from_millis(5)));
        let outer = Error::wrapping(ErrorKind::NoEndpoint, lost);
        assert_eq!(outer.processed(), Processed::Unknown);
        assert_eq!(outer.retry_after(), Some(Duration::from_millis(5)));
        assert_eq!(outer.endpoint(), Some("10.0.0.1:1"));
        assert!(outer.source().is_some());
    }

    #[test]
    fn the_outermost_speaks() {
        #[derive(Debug)]
        struct Foreign(Error);
        impl fmt::Display for Foreign {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("foreign")
            }
        }
        impl StdError for Foreign {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
        let inner = Error::new(ErrorKind::RateLimited);
        let boxed: BoxError = Box::new(Foreign(inner));
        assert_eq!(Error::find(&*boxed).unwrap().kind(), ErrorKind::RateLimited);
        assert_eq!(Error::from_boxed(boxed, ErrorKind::HandlerFailed).kind(), ErrorKind::RateLimited);
        let io: BoxError = std::io::Error::other(Error::new(ErrorKind::Draining)).into();
        assert_eq!(Error::find(&*io).unwrap().kind(), ErrorKind::Draining);
        let plain: BoxError = "plain".into();
        let error = Error::from_boxed(plain, ErrorKind::HandlerFailed);
        assert_eq!((error.kind(), error.detail()), (ErrorKind::HandlerFailed, "plain"));
    }

    #[test]
    fn a_result_of_it_is_one_word() {
        assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
    }
}
