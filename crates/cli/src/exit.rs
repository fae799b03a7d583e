//! How the program ends.

use crate::say;
use serde_json::json;
use std::{
    io::{Write, stderr},
    process::ExitCode,
};
use towpath::{CallError, Error, ErrorCode, ErrorKind, Fault, Processed, Response};

/// How much of a body that cannot be read is shown, in bytes.
const SHOWN: usize = 4 << 10;

/// Why it ends otherwise than with 0.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A fault, as JSON.
    Fault(String),
    /// What the user said makes no sense.
    Usage(String),
    /// No service there, or not any more.
    NotReached(String),
    /// The time is up.
    Deadline(String),
    /// The time is up for a call, as JSON: the callee's fault, or what stands for it.
    Late(String),
    /// Something here.
    Other(String),
}

/// What is said.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Fault(text)
            | Failure::Usage(text)
            | Failure::NotReached(text)
            | Failure::Deadline(text)
            | Failure::Late(text)
            | Failure::Other(text) => f.write_str(text),
        }
    }
}

impl Failure {
    /// Says it on stderr, and gives the code.
    pub(crate) fn report(self) -> ExitCode {
        let towpath = |text: String| format!("towpath: {}\n", say::plain(&text));
        let (code, text) = match self {
            Failure::Fault(json) => (1, say::json(&json) + "\n"),
            Failure::Other(text) => (1, towpath(text)),
            Failure::Usage(text) => {
                (2, format!("error: {}\n\nFor more information, try '--help'.\n", say::plain(&text)))
            }
            Failure::NotReached(text) => (3, towpath(text)),
            Failure::Deadline(text) => (4, towpath(text)),
            Failure::Late(json) => (4, say::json(&json) + "\n"),
        };
        // Nobody is left to be told if this fails.
        let _ = stderr().write_all(text.as_bytes());
        ExitCode::from(code)
    }

    /// The answer that is a fault. What came as JSON is told as it came, with members that nobody here knows.
    pub(crate) fn answered(response: &Response) -> Self {
        let body = response.body();
        match Fault::from_response(response) {
            Ok(fault) if response.codec() == towpath::CodecId::JSON => {
                Self::told(fault.code(), String::from_utf8_lossy(body).into_owned())
            }
            Ok(fault) => Self::fault(&fault),
            Err(why) => {
                let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
                let error = json!({
                    "code": ErrorKind::Undecodable.code(),
                    "message": format!("the service answered with a fault that cannot be read: {why}"),
                    "codec": response.codec().to_string(),
                    "body": shown,
                });
                Failure::Fault(json!({ "error": error }).to_string())
            }
        }
    }

    fn fault(fault: &Fault) -> Self {
        Self::told(fault.code(), String::from_utf8_lossy(&fault.to_json()).into_owned())
    }

    fn told(code: ErrorCode, json: String) -> Self {
        if code == ErrorKind::DeadlineExceeded.code() { Failure::Late(json) } else { Failure::Fault(json) }
    }
}

/// What failed here, in the form of a fault.
fn own(error: &Error) -> Fault {
    let text = error.to_string();
    let message = text.strip_prefix(error.kind().code()).unwrap_or(&text).trim_start().to_owned();
    let fault = Fault::new(error.kind(), message)
        .with_not_processed(error.processed() == Processed::No)
        .with_retry_after(error.retry_after());
    match error.trace_id() {
        Some(trace_id) => fault.with_trace_id(trace_id),
        None => fault,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // It came off the wire: the service was reached, whatever it says of others that were not.
        if let Some(fault) = error.remote_fault() {
            return Failure::fault(fault);
        }
        match error.kind() {
            ErrorKind::ConnectFailed
            | ErrorKind::ConnectionLost
            | ErrorKind::Draining
            | ErrorKind::NoEndpoint
            | ErrorKind::Version
            | ErrorKind::Unauthenticated => Failure::NotReached(error.to_string()),
            _ => Failure::fault(&own(&error)),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Fault(fault) => Failure::fault(&fault),
            CallError::Failed(error) => error.into(),
            other => Failure::Other(other.to_string()),
        }
    }
}
