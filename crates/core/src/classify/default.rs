//! The question, and the answer that holds unless somebody knows better.

use super::class::{Class, Verdict};
use crate::{
    BoxError, Brief, Declared, Error, ErrorCode, Fault, Processed, Response, Traits, error::beneath,
};
use bytes::Bytes;
use std::{collections::HashMap, convert::Infallible, error::Error as StdError, sync::Arc, time::Duration};

/// Says what an outcome means. Breaker, retry, balance, metrics and trace ask the same classifier, so that
/// they cannot disagree.
///
/// [`DefaultClassify`] is the one to use; a closure from `Result<&Response, &Error>` to [`Class`] is one too.
pub trait Classify<Res, Err: ?Sized> {
    /// What this outcome means.
    fn classify(&self, outcome: Result<&Res, &Err>) -> Class;

    /// What it means, if it is no success, which most are: there may be a quicker way to tell that than to say all that
    /// it means.
    #[inline]
    fn unless_success(&self, outcome: Result<&Res, &Err>) -> Option<Class> {
        let class = self.classify(outcome);
        if class.is_success() { None } else { Some(class) }
    }
}

impl<F, Res, Err: ?Sized> Classify<Res, Err> for F
where
    F: Fn(Result<&Res, &Err>) -> Class,
{
    fn classify(&self, outcome: Result<&Res, &Err>) -> Class {
        self(outcome)
    }
}

/// What a service fails with, as an error whose sources can be looked through.
///
/// [`BoxError`] is no `std::error::Error` itself; this bridges the two. For an error type of one's own:
/// `fn as_error(&self) -> &(dyn std::error::Error + 'static) { self }`.
pub trait AsError {
    /// The error.
    fn as_error(&self) -> &(dyn StdError + 'static);
}

impl AsError for BoxError {
    fn as_error(&self) -> &(dyn StdError + 'static) {
        &**self
    }
}

impl AsError for dyn StdError + 'static {
    fn as_error(&self) -> &(dyn StdError + 'static) {
        self
    }
}

macro_rules! as_error {
    ($($error:ty),*) => {$(
        impl AsError for $error {
            fn as_error(&self) -> &(dyn StdError + 'static) {
                self
            }
        }
    )*};
}
as_error!(Error, Fault, Infallible, std::io::Error);

/// The idea of failure that holds unless somebody knows better.
///
/// - An error of the stack is judged by its kind. MCP-E-009, E-010, E-011, W-101, W-103, W-107 and W-108 are
///   failures of the endpoint, and another try is useful (whether it is safe is another question); E-001 to
///   E-008 are the caller's own; cancelled, rate limited, circuit open and no endpoint say nothing about
///   an endpoint, and only a rate limit off the wire is worth another try on the spot.
/// - An application's fault is an answer: the endpoint is well, nothing is retried. Unless its service
///   [declared](DefaultClassify::declare) the code `transient` (another try is useful) or `unhealthy` (the
///   endpoint failed), or the fault says `not_processed` or `retry_after_ms` (another try is useful).
/// - `retry-stop: 1` in an answer's metadata, or an error that says so: attempts are spent below; another try
///   is not useful.
/// - An error that holds neither is a failure of the endpoint, and it is not known whether it acted.
///
/// With the `http` feature it judges `http::Response` too: by the status, or by `grpc-status` if the
/// content is gRPC's.
///
/// A clone is one reference count.
///
/// ```
/// use towpath_core::{BoxError, Classify, DefaultClassify, Error, ErrorKind, Response};
/// let classify = DefaultClassify::new();
/// let lost: BoxError = Error::new(ErrorKind::ConnectionLost).into();
/// let outcome: Result<Response, BoxError> = Err(lost);
/// let class = classify.classify(outcome.as_ref());
/// assert!(class.is_failure() && class.is_retryable(true) && !class.is_retryable(false));
/// ```
#[derive(Clone, Debug, Default)]
pub struct DefaultClassify(Option<Arc<HashMap<ErrorCode, Traits>>>);

impl DefaultClassify {
    /// Knows of no service's codes.
    pub const fn new() -> Self {
        DefaultClassify(None)
    }

    /// Adds what a service declared with [`fault_codes!`](crate::fault_codes).
    #[must_use]
    pub fn declare(mut self, declared: &'static [Declared]) -> Self {
        let known = Arc::make_mut(self.0.get_or_insert_default());
        known.extend(declared.iter().filter(|d| d.traits != Traits::NONE).map(|d| (d.code, d.traits)));
        self
    }

    /// What is known of a code.
    pub fn traits(&self, code: ErrorCode) -> Traits {
        self.0.as_ref().and_then(|known| known.get(&code)).copied().unwrap_or_default()
    }

    /// What an error means.
    pub fn error(&self, error: &(dyn StdError + 'static)) -> Class {
        // The outermost that we know speaks.
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(own) = error.downcast_ref::<Error>() {
                return Class::of_error(own);
            }
            if let Some(fault) = error.downcast_ref::<Fault>() {
                let class = self.fault(fault.into());
                return Class { useful: class.useful && !fault.is_retry_stop(), ..class };
            }
            next = beneath(error);
        }
        Class::FAILURE
    }

    /// What a fault means.
    pub fn fault(&self, fault: Brief) -> Class {
        Class::of_fault(fault, self.traits(fault.code))
    }

    fn fault_response(&self, response: &Response) -> Class {
        let metadata = response.metadata();
        let mut class = match Brief::from_response(response) {
            Ok(mut brief) => {
                if brief.retry_after.is_none() {
                    let ms = metadata.get_str("retry-after-ms").and_then(|ms| ms.parse().ok());
                    brief.retry_after = ms.map(Duration::from_millis);
                }
                self.fault(brief)
            }
            // Somebody answered, in words that we cannot read.
            Err(_) => Class { verdict: Verdict::Answer, processed: Processed::Unknown, ..Class::SUCCESS },
        };
        class.useful &= !response.is_retry_stop();
        class
    }
}

impl<E: AsError + ?Sized> Classify<Response<Bytes>, E> for DefaultClassify {
    #[inline]
    fn classify(&self, outcome: Result<&Response, &E>) -> Class {
        match outcome {
            Ok(response) if !response.is_fault() => Class::SUCCESS,
            Ok(response) => self.fault_response(response),
            Err(error) => self.error(error.as_error()),
        }
    }

    #[inline]
    fn unless_success(&self, outcome: Result<&Response, &E>) -> Option<Class> {
        match outcome {
            Ok(response) if !response.is_fault() => None,
            outcome => Some(self.classify(outcome)),
        }
    }
}
