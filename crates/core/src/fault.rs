//! What services fail with on purpose.

use std::{fmt, str::FromStr};

/// `DOMAIN-LEVEL-NUMBER`: 2 to 8 upper-case letters, `E` (error) or `W` (warning), 3 digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode {
    text: [u8; 14],
    len: u8,
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// `E`.
    Error,
    /// `W`.
    Warning,
}

/// The text is no `DOMAIN-LEVEL-NUMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCode;

impl ErrorCode {
    /// Checks a code; usable in constants.
    pub const fn new(code: &str) -> Result<Self, InvalidCode> {
        let b = code.as_bytes();
        if b.len() < 8 || b.len() > 14 {
            return Err(InvalidCode);
        }
        let domain = b.len() - 6;
        let mut text = [0u8; 14];
        let mut i = 0;
        while i < b.len() {
            let fine = if i < domain {
                b[i].is_ascii_uppercase()
            } else {
                match i - domain {
                    0 | 2 => b[i] == b'-',
                    1 => b[i] == b'E' || b[i] == b'W',
                    _ => b[i].is_ascii_digit(),
                }
            };
            if !fine {
                return Err(InvalidCode);
            }
            text[i] = b[i];
            i += 1;
        }
        Ok(ErrorCode { text, len: b.len() as u8 })
    }

    /// A code from a literal: in a constant, a bad one does not compile.
    #[allow(clippy::panic)]
    pub const fn from_static(code: &'static str) -> Self {
        match Self::new(code) {
            Ok(code) => code,
            Err(InvalidCode) => panic!("an error code is DOMAIN-LEVEL-NUMBER, for example ORD-E-102"),
        }
    }

    /// The whole code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorCode {
    type Err = InvalidCode;

    fn from_str(code: &str) -> Result<Self, InvalidCode> {
        ErrorCode::new(code)
    }
}

impl fmt::Display for InvalidCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error code is DOMAIN-LEVEL-NUMBER, for example ORD-E-102")
    }
}

impl std::error::Error for InvalidCode {}

/// A failure that a service means: code, message, cause, trace id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    code: ErrorCode,
    message: String,
}
