//! What can be wrong with an envelope, on the way out and on the way in.

use std::fmt;
use towpath_core::{Error, ErrorKind, InvalidMethod, Processed};

/// Why a message cannot be put into a frame. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// It is longer than what a frame can carry, or the peer takes.
    TooLarge {
        /// Its length, in bytes.
        len: u64,
        /// The limit, in bytes.
        max: u64,
    },
    /// The method has no name, or one that is too long.
    BadMethod(InvalidMethod),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::TooLarge { len, max } => write!(f, "{len} bytes are above the limit of {max}"),
            EncodeError::BadMethod(why) => fmt::Display::fmt(why, f),
        }
    }
}

impl std::error::Error for EncodeError {}

impl From<EncodeError> for Error {
    #[cold]
    fn from(error: EncodeError) -> Self {
        let kind = match error {
            EncodeError::TooLarge { .. } => ErrorKind::TooLarge,
            EncodeError::BadMethod(_) => ErrorKind::Malformed,
        };
        Error::new(kind).because(error.to_string())
    }
}

/// Why a REQUEST cannot be taken. Whether its id is in order is the connection's business, and goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// There is no id, or it is 0: the connection ends with GOAWAY 4.
    NoId,
    /// The id can be read, the rest cannot: that call is answered with MCP-E-001, and the connection lives.
    Malformed {
        /// The call.
        id: u64,
        /// What is wrong, for people.
        why: &'static str,
    },
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::NoId => f.write_str(NO_ID),
            RequestError::Malformed { why, .. } => f.write_str(why),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<RequestError> for Error {
    #[cold]
    fn from(error: RequestError) -> Self {
        let why = match error {
            RequestError::NoId => NO_ID,
            RequestError::Malformed { why, .. } => why,
        };
        Error::new(ErrorKind::Malformed).because(why)
    }
}

/// Why a RESPONSE or a PUSH cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// There is no id, or it is 0: the connection ends with GOAWAY 4.
    NoId,
    /// The id can be read, the rest cannot: that call fails, the connection lives.
    Malformed {
        /// The call.
        id: u64,
        /// What is wrong, for people.
        why: &'static str,
    },
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseError::NoId => f.write_str(NO_ID),
            ResponseError::Malformed { why, .. } => write!(f, "the answer is malformed: {why}"),
        }
    }
}

impl std::error::Error for ResponseError {}

/// The callee may well have acted: it answered something.
impl From<ResponseError> for Error {
    #[cold]
    fn from(error: ResponseError) -> Self {
        Error::new(ErrorKind::Malformed).with_processed(Processed::Unknown).because(error.to_string())
    }
}

/// A GOAWAY or SETTINGS frame that is too short: the connection ends with GOAWAY 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlError(pub(crate) &'static str);

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ControlError {}

const NO_ID: &str = "the payload has no id, or id 0";
