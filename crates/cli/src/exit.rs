//! How the program ends.

use std::{
    io::{Write, stderr},
    process::ExitCode,
};
use towpath::{CallError, Error, ErrorKind, Fault};

/// Why it ends otherwise than with 0.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A fault, as JSON.
    Fault(Vec<u8>),
    /// What the user said makes no sense.
    Usage(String),
    /// No service there, or not any more.
    NotReached(String),
    /// The time is up.
    Deadline(String),
    /// Something here.
    Other(String),
}

impl Failure {
    /// Says it on stderr, and gives the code.
    pub(crate) fn report(self) -> ExitCode {
        let (code, mut line) = match self {
            Failure::Fault(json) => (1, json),
            Failure::Other(text) => (1, format!("towpath: {text}").into()),
            Failure::Usage(text) => {
                (2, format!("error: {text}\n\nFor more information, try '--help'.").into())
            }
            Failure::NotReached(text) => (3, format!("towpath: {text}").into()),
            Failure::Deadline(text) => (4, format!("towpath: {text}").into()),
        };
        line.push(b'\n');
        // Nobody is left to be told if this fails.
        let _ = stderr().write_all(&line);
        ExitCode::from(code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::DeadlineExceeded => Failure::Deadline(error.to_string()),
            // It came off the wire: a fault of the stack at the other side.
            _ if error.is_remote() => Failure::Fault(Fault::from_error(&error).to_json().to_vec()),
            ErrorKind::ConnectFailed
            | ErrorKind::ConnectionLost
            | ErrorKind::Draining
            | ErrorKind::Version
            | ErrorKind::Unauthenticated => Failure::NotReached(error.to_string()),
            _ => Failure::Fault(Fault::from_error(&error).to_json().to_vec()),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Fault(fault) => Failure::Fault(fault.to_json().to_vec()),
            CallError::Failed(error) => error.into(),
            other => Failure::Other(other.to_string()),
        }
    }
}
