//! A failure that a service means.

use super::code::ErrorCode;
use crate::Error;
use std::{borrow::Cow, fmt, time::Duration};

/// A failure that a service means: code, message, first cause, trace id.
///
/// It travels as the body of an answer. A service that fails because another one failed answers with a
/// code of its own and keeps where it came from:
///
/// ```
/// use towpath_core::{ErrorCode, Fault};
/// let short = Fault::new(ErrorCode::from_static("INV-E-003"), "3 left of 85123A").with_trace_id("a1b2");
/// let fault = Fault::new(ErrorCode::from_static("ORD-E-102"), "failed to deduct inventory").wrap(&short);
/// assert_eq!(fault.code(), "ORD-E-102");
/// assert_eq!(fault.cause(), Some(short.code()));
/// assert_eq!(fault.trace_id(), Some("a1b2"));
/// assert_eq!(fault.to_string(), "ORD-E-102 failed to deduct inventory (cause INV-E-003) [trace a1b2]");
/// ```
///
/// A `Result` of it is one word.
#[derive(Clone, PartialEq, Eq)]
pub struct Fault(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    code: ErrorCode,
    cause: Option<ErrorCode>,
    not_processed: bool,
    retry_stop: bool,
    retry_after: Option<Duration>,
    message: Cow<'static, str>,
    trace_id: Option<Box<str>>,
    chain: Vec<ErrorCode>,
}

impl Fault {
    /// The most codes that [`chain`](Self::chain) keeps.
    pub const MAX_CHAIN: usize = 16;

    /// A fault with a message for people.
    pub fn new(code: impl Into<ErrorCode>, message: impl Into<Cow<'static, str>>) -> Self {
        Fault(Box::new(Inner {
            code: code.into(),
            cause: None,
            not_processed: false,
            retry_stop: false,
            retry_after: None,
            message: message.into(),
            trace_id: None,
            chain: Vec::new(),
        }))
    }

    /// Says in which trace. Without it, one is found or made when the fault becomes an answer.
    #[must_use]
    pub fn with_trace_id(mut self, trace_id: impl Into<Box<str>>) -> Self {
        self.0.trace_id = Some(trace_id.into());
        self
    }

    /// Says when another try makes sense, counted from the answer. On the wire these are whole
    /// milliseconds, rounded up.
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.0.retry_after = after;
        self
    }

    /// Says that the service has not acted on the call: it may be made again without harm.
    #[must_use]
    pub fn with_not_processed(mut self, not_processed: bool) -> Self {
        self.0.not_processed = not_processed;
        self
    }

    /// Says that attempts are spent here: who called need not make more of them. It is no part of the body: the
    /// answer says it in its metadata, `retry-stop: 1`.
    #[must_use]
    pub fn with_retry_stop(mut self, stop: bool) -> Self {
        self.0.retry_stop = stop;
        self
    }

    /// Says which code it came from, where there is no fault to [`wrap`](Self::wrap).
    #[must_use]
    pub fn with_cause(mut self, cause: ErrorCode) -> Self {
        self.0.cause = Some(cause);
        self
    }

    /// Sets the codes on the way, as they came.
    pub(super) fn with_chain(mut self, chain: Vec<ErrorCode>) -> Self {
        self.0.chain = chain;
        self
    }

    /// Puts this fault around the one that led to it: own code and message outside, the first code of the
    /// inner one's chain as the cause, every code on the way in the chain, the inner one's trace id.
    ///
    /// What the inner one says about processing and waiting is not taken over: that the inventory did not
    /// act does not mean that the order service did not. Say it again where it holds. That attempts are spent
    /// ([`retry_stop`](Self::is_retry_stop)) holds all the way up.
    #[must_use]
    pub fn wrap(self, inner: &Fault) -> Self {
        let stop = self.is_retry_stop() || inner.is_retry_stop();
        self.around(inner.codes(), inner.trace_id()).with_retry_stop(stop)
    }

    /// Puts this fault around a failure of the stack, as [`wrap`](Self::wrap): the cause is its `MCP-*`
    /// code, or what led to that one at the callee, if it said so.
    #[must_use]
    pub fn wrap_error(self, inner: &Error) -> Self {
        let stop = self.is_retry_stop() || inner.is_retry_stop();
        let around = match inner.remote_fault() {
            Some(fault) => self.around(fault.codes(), inner.trace_id()),
            None => self.around([inner.kind().error_code()], inner.trace_id()),
        };
        around.with_retry_stop(stop)
    }

    /// Takes over from what, and by which way, another fault came.
    pub(super) fn with_origin_of(mut self, other: &Fault) -> Self {
        self.0.cause = other.0.cause;
        self.0.chain = other.0.chain.clone();
        self
    }

    fn around(mut self, inner: impl IntoIterator<Item = ErrorCode>, trace_id: Option<&str>) -> Self {
        let mut chain: Vec<_> = self.codes().chain(inner).collect();
        self.0.cause = chain.last().copied();
        // The outermost codes stay: the innermost is the cause, and not lost.
        chain.truncate(Self::MAX_CHAIN);
        self.0.chain = chain;
        if let Some(trace_id) = trace_id {
            self.0.trace_id = Some(trace_id.into());
        }
        self
    }

    /// Every code that is known, outermost first, ending with the first cause; whoever wrote the chain may
    /// have left the ends out.
    fn codes(&self) -> impl Iterator<Item = ErrorCode> {
        let Inner { code, cause, chain, .. } = &*self.0;
        let own = if chain.first() == Some(code) { None } else { Some(*code) };
        let last = chain.last().unwrap_or(code);
        let cause = if cause.as_ref() == Some(last) { None } else { *cause };
        own.into_iter().chain(chain.iter().copied()).chain(cause)
    }

    /// What failed.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// What failed, for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The first code of the chain of faults that led here, if there was one.
    pub fn cause(&self) -> Option<ErrorCode> {
        self.0.cause
    }

    /// Every code on the way, this fault's own first, at most [`MAX_CHAIN`](Self::MAX_CHAIN). Empty
    /// unless the fault wraps another.
    pub fn chain(&self) -> &[ErrorCode] {
        &self.0.chain
    }

    /// In which trace.
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// When another try makes sense, counted from the answer; `None`: the service did not say.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether attempts are spent where it came from, so that another one is of no use.
    pub fn is_retry_stop(&self) -> bool {
        self.0.retry_stop
    }

    /// Whether the service says that it has not acted on the call.
    pub fn not_processed(&self) -> bool {
        self.0.not_processed
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { code, cause, message, trace_id, .. } = &*self.0;
        write!(f, "{code}")?;
        if !message.is_empty() {
            write!(f, " {message}")?;
        }
        if let Some(cause) = cause {
            write!(f, " (cause {cause})")?;
        }
        if let Some(trace_id) = trace_id {
            write!(f, " [trace {trace_id}]")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("cause", &self.0.cause)
            .field("chain", &self.0.chain)
            .field("trace_id", &self.0.trace_id)
            .field("retry_after", &self.0.retry_after)
            .field("not_processed", &self.0.not_processed)
            .finish()
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use proptest::prelude::*;

    fn code(n: usize) -> ErrorCode {
        format!("SVC-E-{n:03}").parse().unwrap()
    }

    #[test]
    fn a_cause_without_a_chain_is_kept_when_wrapped() {
        let foreign = Fault::new(code(2), "").with_cause(code(3));
        let fault = Fault::new(code(1), "").wrap(&foreign);
        assert_eq!(fault.cause(), Some(code(3)));
        assert_eq!(fault.chain(), [code(1), code(2), code(3)]);
        // A peer that leaves its own code out of the chain.
        let foreign = foreign.with_chain(vec![code(3)]);
        assert_eq!(Fault::new(code(1), "").wrap(&foreign).chain(), [code(1), code(2), code(3)]);
    }

    #[test]
    fn an_error_of_the_stack_is_a_cause() {
        let lost = Error::new(ErrorKind::ConnectionLost).with_trace_id("t");
        let fault = Fault::new(code(1), "no inventory").with_trace_id("own").wrap_error(&lost);
        assert_eq!(fault.cause(), Some(ErrorCode::from_static("MCP-E-010")));
        assert_eq!(fault.chain().len(), 2);
        assert_eq!(fault.trace_id(), Some("t"));
    }

    #[test]
    fn an_own_trace_id_stays_if_the_inner_has_none() {
        let fault = Fault::new(code(1), "").with_trace_id("own").wrap(&Fault::new(code(2), ""));
        assert_eq!(fault.trace_id(), Some("own"));
    }

    #[test]
    fn what_the_inner_did_not_do_the_outer_may_have() {
        let inner =
            Fault::new(code(2), "").with_not_processed(true).with_retry_after(Some(Duration::from_secs(1)));
        let outer = Fault::new(code(1), "").wrap(&inner);
        assert!(!outer.not_processed() && outer.retry_after().is_none());
    }

    #[test]
    fn a_result_of_it_is_one_word() {
        assert_eq!(size_of::<Result<(), Fault>>(), size_of::<usize>());
    }

    proptest! {
        #[test]
        fn wrapping_keeps_the_first_cause_and_the_outermost_codes(depth in 2usize..40) {
            let mut fault = Fault::new(code(0), "first").with_trace_id("t");
            for n in 1..depth {
                fault = Fault::new(code(n), "next").wrap(&fault);
            }
            prop_assert_eq!(fault.code(), code(depth - 1));
            prop_assert_eq!(fault.cause(), Some(code(0)));
            prop_assert_eq!(fault.trace_id(), Some("t"));
            let expected: Vec<_> = (0..depth).rev().take(Fault::MAX_CHAIN).map(code).collect();
            prop_assert_eq!(fault.chain(), &expected[..]);
        }
    }
}
