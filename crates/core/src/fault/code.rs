//! The names of failures.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str, str::FromStr};

/// The longest code: a domain of 8, and `-E-000`.
const MAX_LEN: usize = 14;
/// What follows the domain: `-E-000`.
const TAIL: usize = 6;

/// The name of a failure, `DOMAIN-LEVEL-NUMBER`: 2 to 8 upper-case letters, `E` (error) or `W` (warning),
/// 3 digits. It is a plain value of 15 bytes; copying it costs nothing.
///
/// The domain `MCP` is the stack's own ([`ErrorKind`](crate::ErrorKind)); a service takes one of its own
/// and declares its codes with [`fault_codes!`](crate::fault_codes).
///
/// ```
/// use towpath_core::{ErrorCode, Level};
/// const DEDUCT_FAILED: ErrorCode = ErrorCode::from_static("ORD-E-102");
/// assert_eq!((DEDUCT_FAILED.domain(), DEDUCT_FAILED.level(), DEDUCT_FAILED.number()), ("ORD", Level::Error, 102));
/// assert!("ord-e-102".parse::<ErrorCode>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode {
    text: [u8; MAX_LEN],
    len: u8,
}

/// How bad a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// `E`: somebody has to look at it.
    Error,
    /// `W`: it happens, and may pass by itself.
    Warning,
}

/// The text is no `DOMAIN-LEVEL-NUMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCode;

impl ErrorCode {
    /// Checks a code; usable in constants.
    ///
    /// # Errors
    /// If the text is no `DOMAIN-LEVEL-NUMBER`.
    pub const fn new(code: &str) -> Result<Self, InvalidCode> {
        let b = code.as_bytes();
        if b.len() < 2 + TAIL || b.len() > MAX_LEN {
            return Err(InvalidCode);
        }
        let domain = b.len() - TAIL;
        let mut text = [0u8; MAX_LEN];
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
    ///
    /// # Panics
    /// If the literal is no code, and it was not in a constant.
    #[allow(clippy::panic)]
    #[track_caller]
    pub const fn from_static(code: &'static str) -> Self {
        match Self::new(code) {
            Ok(code) => code,
            Err(InvalidCode) => panic!("an error code is DOMAIN-LEVEL-NUMBER, for example ORD-E-102"),
        }
    }

    /// The whole code.
    #[inline]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }

    /// Whose failure it is: what stands before the first dash.
    pub fn domain(&self) -> &str {
        &self.as_str()[..usize::from(self.len) - TAIL]
    }

    /// How bad it is.
    pub const fn level(&self) -> Level {
        match self.text[self.len as usize - TAIL + 1] {
            b'W' => Level::Warning,
            _ => Level::Error,
        }
    }

    /// Its number within the domain and the level, 0 to 999.
    pub const fn number(&self) -> u16 {
        let first = self.len as usize - 3;
        (self.text[first] - b'0') as u16 * 100
            + (self.text[first + 1] - b'0') as u16 * 10
            + (self.text[first + 2] - b'0') as u16
    }

    /// Whether it is one of the stack's own.
    pub const fn is_mcp(&self) -> bool {
        matches!(self.text, [b'M', b'C', b'P', b'-', ..])
    }

    /// `==` for constants.
    pub(crate) const fn same(&self, other: &ErrorCode) -> bool {
        let mut i = 0;
        while i < MAX_LEN {
            if self.text[i] != other.text[i] {
                return false;
            }
            i += 1;
        }
        true
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
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

impl TryFrom<&str> for ErrorCode {
    type Error = InvalidCode;

    fn try_from(code: &str) -> Result<Self, InvalidCode> {
        ErrorCode::new(code)
    }
}

impl PartialEq<str> for ErrorCode {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for ErrorCode {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        ErrorCode::new(&text).map_err(de::Error::custom)
    }
}

impl fmt::Display for InvalidCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error code is DOMAIN-LEVEL-NUMBER, for example ORD-E-102")
    }
}

impl std::error::Error for InvalidCode {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bad_codes_are_refused() {
        for bad in [
            "",
            "O-E-102",
            "ABCDEFGHI-E-102",
            "ord-E-102",
            "ORD-X-102",
            "ORD-E-10",
            "ORD-E-1022",
            "ORDE-102",
            "ORD-E-1a2",
            "ORD-E_102",
            "ÖRD-E-102",
            " ORD-E-102",
        ] {
            assert_eq!(ErrorCode::new(bad), Err(InvalidCode), "{bad:?}");
        }
    }

    #[test]
    fn the_stack_has_a_domain_of_its_own() {
        assert!(ErrorCode::from_static("MCP-W-101").is_mcp());
        assert!(!ErrorCode::from_static("MCPX-W-101").is_mcp());
        assert!(!ErrorCode::from_static("ORD-W-101").is_mcp());
    }

    #[test]
    fn it_is_text_in_serde() {
        let code = ErrorCode::from_static("ORD-W-007");
        let text = serde_json::to_string(&code).unwrap();
        assert_eq!(text, "\"ORD-W-007\"");
        assert_eq!(serde_json::from_str::<ErrorCode>(&text).unwrap(), code);
        assert_eq!(serde_json::from_str::<ErrorCode>(r#""\u004fRD-W-007""#).unwrap(), code);
        assert!(serde_json::from_str::<ErrorCode>("\"nope\"").is_err());
    }

    proptest! {
        #[test]
        fn parts_make_the_whole(domain in "[A-Z]{2,8}", level in "[EW]", number in 0u16..1000) {
            let text = format!("{domain}-{level}-{number:03}");
            let code: ErrorCode = text.parse().unwrap();
            prop_assert_eq!(code.as_str(), &text);
            prop_assert_eq!(code.domain(), &domain);
            prop_assert_eq!(code.number(), number);
            prop_assert_eq!(code.level() == Level::Warning, level == "W");
            prop_assert!(code.same(&code));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,16}") {
            if let Ok(code) = ErrorCode::new(&text) {
                prop_assert_eq!(code.as_str(), text);
            }
        }
    }
}
