//! What a call comes to when it does not come to a result.

use std::{fmt, time::Duration};
use towpath_codec::BodyError;
use towpath_core::{
    BoxError, Error, ErrorCode, ErrorKind, Fault, Processed, Response, metadata::InvalidMetadata,
};

/// Why a call has no result.
///
/// It says in one line what failed, where, after how many attempts, and what can be done about it:
///
/// ```text
/// MCP-E-011 could not connect to mcp://127.0.0.1:8080: connection refused: nobody listens there (check that
/// the service runs and that the address is right)
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The service's own answer: it could not do what it was asked.
    Fault(Fault),
    /// The stack failed, here or at the callee: an `MCP-*` code.
    Failed(Error),
    /// The body cannot be written; nothing was sent.
    Encode(BodyError),
    /// The answer is not what was expected; the callee has done its work.
    Decode(BodyError),
    /// A metadata key is none; nothing was sent.
    Metadata {
        /// The key.
        key: Box<str>,
        /// What is wrong with it.
        why: InvalidMetadata,
    },
    /// A layer that is not ours failed in its own words.
    Layer(BoxError),
}

impl CallError {
    /// The code: the fault's, or the stack's; `None` for a foreign layer's error.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            CallError::Fault(fault) => Some(fault.code()),
            CallError::Failed(error) => Some(error.kind().error_code()),
            CallError::Encode(_) | CallError::Metadata { .. } => Some(ErrorKind::Malformed.error_code()),
            CallError::Decode(_) => Some(ErrorKind::Undecodable.error_code()),
            CallError::Layer(_) => None,
        }
    }

    /// The service's own answer, if it is that.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            CallError::Fault(fault) => Some(fault),
            _ => None,
        }
    }

    /// The stack's error, if it is that.
    pub fn error(&self) -> Option<&Error> {
        match self {
            CallError::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the deadline passed, here or at the callee.
    pub fn is_timeout(&self) -> bool {
        self.error().is_some_and(|error| error.kind() == ErrorKind::DeadlineExceeded)
    }

    /// Whether the callee may have acted.
    pub fn processed(&self) -> Processed {
        match self {
            CallError::Fault(fault) if fault.not_processed() => Processed::No,
            CallError::Fault(_) | CallError::Decode(_) => Processed::Yes,
            CallError::Failed(error) => error.processed(),
            CallError::Encode(_) | CallError::Metadata { .. } => Processed::No,
            CallError::Layer(_) => Processed::Unknown,
        }
    }

    /// When another try makes sense, counted from now; `None`: nobody said.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            CallError::Fault(fault) => fault.retry_after(),
            CallError::Failed(error) => error.retry_after(),
            _ => None,
        }
    }

    /// The fault with which a handler answers because of this: its own code outside, the first cause of the
    /// chain and the trace id kept.
    ///
    /// ```
    /// use towpath::{CallError, Error, ErrorKind, Fault, fault_codes};
    /// fault_codes! {
    ///     /// What the order service fails with.
    ///     pub enum OrderFault {
    ///         /// Stock could not be deducted.
    ///         DeductFailed = "ORD-E-102", "failed to deduct inventory";
    ///     }
    /// }
    /// let refused = CallError::Failed(Error::new(ErrorKind::Overloaded));
    /// let fault = refused.wrapped_in(OrderFault::DeductFailed);
    /// assert_eq!(fault.code(), "ORD-E-102");
    /// assert_eq!(fault.cause().unwrap(), "MCP-W-103");
    /// ```
    pub fn wrapped_in(&self, own: impl Into<Fault>) -> Fault {
        let own = own.into();
        match self {
            CallError::Fault(fault) => own.wrap(fault),
            CallError::Failed(error) => own.wrap_error(error),
            CallError::Encode(error) | CallError::Decode(error) => own.wrap_error(&error.clone().into()),
            CallError::Metadata { .. } => own.wrap_error(&ErrorKind::Malformed.into()),
            CallError::Layer(_) => own,
        }
    }

    /// What a stack failed with.
    pub(super) fn from_stack(error: BoxError) -> Self {
        match error.downcast::<Error>() {
            Ok(own) => CallError::Failed(*own),
            Err(foreign) => match Error::find(&*foreign) {
                Some(own) => CallError::Failed(own.clone()),
                None => CallError::Layer(foreign),
            },
        }
    }

    /// What the answer says, if it is a fault. Over the wire the stack's own faults are errors already; a
    /// service in this process may still answer with one.
    pub(super) fn from_answer(response: &Response) -> Option<Self> {
        if !response.is_fault() {
            return None;
        }
        Some(match Fault::from_response(response).map(Fault::into_error) {
            Ok(Ok(error)) => CallError::Failed(error),
            Ok(Err(fault)) => CallError::Fault(fault),
            Err(why) => {
                let why = format!("the answer is a fault that cannot be read: {why}");
                CallError::Failed(
                    Error::new(ErrorKind::Undecodable).because(why).with_processed(Processed::Yes),
                )
            }
        })
    }

    pub(super) fn metadata(key: &str, why: InvalidMetadata) -> Self {
        CallError::Metadata { key: key.into(), why }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Fault(fault) => fault.fmt(f),
            CallError::Failed(error) => error.fmt(f),
            CallError::Encode(error) => write!(f, "nothing was sent: {error}"),
            CallError::Decode(error) => {
                write!(
                    f,
                    "the call was answered, but {error} (compare the type with what the method returns)"
                )
            }
            CallError::Metadata { key, why } => {
                write!(f, "nothing was sent: {key:?} cannot be a metadata key: {why}")
            }
            CallError::Layer(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallError::Fault(fault) => Some(fault),
            CallError::Failed(error) => Some(error),
            CallError::Encode(error) | CallError::Decode(error) => Some(error),
            CallError::Metadata { why, .. } => Some(why),
            CallError::Layer(error) => Some(&**error),
        }
    }
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> Self {
        CallError::Fault(fault)
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        CallError::Failed(error)
    }
}

/// A handler whose own call has no result fails with MCP-E-009, which names the code of that call as its cause: so `?` does
/// in a handler. Whoever knows better what it means to its caller says that with a code of its own and
/// [`Fault::wrap`].
impl From<CallError> for Fault {
    fn from(error: CallError) -> Fault {
        let failed = Fault::new(ErrorKind::HandlerFailed, "the handler failed because a call of its own did");
        match (&error, error.code()) {
            (CallError::Fault(fault), _) => failed.wrap(fault),
            (CallError::Failed(error), _) => failed.wrap_error(error),
            (_, Some(code)) => failed.with_cause(code),
            (_, None) => failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_within_a_handler_is_the_cause_of_its_fault() {
        let cause = |error: CallError| {
            let fault = Fault::from(error);
            (fault.code().to_string(), fault.cause().map(|code| code.to_string()))
        };
        let handler = "MCP-E-009".to_owned();
        let lost = CallError::from(Error::new(ErrorKind::ConnectionLost));
        assert_eq!(cause(lost), (handler.clone(), Some("MCP-E-010".to_owned())));
        let own = CallError::from(Fault::new(ErrorKind::Overloaded, "later"));
        assert_eq!(cause(own), (handler.clone(), Some(ErrorKind::Overloaded.error_code().to_string())));
        assert_eq!(cause(CallError::Layer("no".into())), (handler, None));
    }
}
