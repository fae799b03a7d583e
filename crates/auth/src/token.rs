//! A bearer token, which is shown to nobody.

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// The scheme in front of a token (RFC 6750).
const SCHEME: &[u8] = b"Bearer ";

/// A bearer token: visible ASCII, at most 16 KiB. It is shown nowhere: neither `Debug` nor an error has any of it,
/// and there is no `Display`. A clone is one reference count.
///
/// ```
/// use towpath_auth::Token;
/// let token: Token = "correct-horse-battery".parse()?;
/// assert_eq!(token.as_authorization(), b"Bearer correct-horse-battery");
/// assert_eq!(format!("{token:?}"), "Token(…)");
/// assert!("two words".parse::<Token>().is_err());
/// # Ok::<(), towpath_auth::InvalidToken>(())
/// ```
#[derive(Clone)]
pub struct Token(Bytes);

/// What is no bearer token; it does not say what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidToken {
    /// There is none.
    Empty,
    /// It is longer than [`Token::MAX_LEN`].
    TooLong,
    /// It has blanks, control characters or anything beyond ASCII in it.
    BadCharacter,
    /// The value is not `Bearer`, a blank, and a token.
    NotBearer,
}

impl Token {
    /// The most that a token may have: 16 KiB. JWTs have 1 to 2 KiB.
    pub const MAX_LEN: usize = 16 * 1024;

    /// Checks a token.
    ///
    /// # Errors
    /// If it is empty, too long, or has anything but visible ASCII.
    pub fn try_new(token: impl AsRef<[u8]>) -> Result<Self, InvalidToken> {
        let token = token.as_ref();
        match token.len() {
            0 => return Err(InvalidToken::Empty),
            1..=Self::MAX_LEN => {}
            _ => return Err(InvalidToken::TooLong),
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(InvalidToken::BadCharacter);
        }
        let mut value = BytesMut::with_capacity(SCHEME.len() + token.len());
        value.put_slice(SCHEME);
        value.put_slice(token);
        Ok(Token(value.freeze()))
    }

    /// Reads what stands under `authorization`: `Bearer`, in letters of whichever case, blanks, a token.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn from_authorization(value: &[u8]) -> Result<Self, InvalidToken> {
        let value = value.trim_ascii();
        match value.split_at_checked(SCHEME.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => {
                Token::try_new(token.trim_ascii())
            }
            _ => Err(InvalidToken::NotBearer),
        }
    }

    /// The token itself. Keep it out of logs.
    pub fn secret(&self) -> &[u8] {
        &self.0[SCHEME.len()..]
    }

    /// With its scheme in front, as it travels under `authorization`.
    pub fn as_authorization(&self) -> &[u8] {
        &self.0
    }

    /// As [`as_authorization`](Self::as_authorization), sharing the token's memory.
    pub fn to_authorization(&self) -> Bytes {
        self.0.clone()
    }

    /// The SHA-256 of the token: what is kept of it where only its equality matters.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.secret()).into()
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(token: &str) -> Result<Self, InvalidToken> {
        Token::try_new(token)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidToken::Empty => "the token is empty",
            InvalidToken::TooLong => "the token is longer than 16 KiB",
            InvalidToken::BadCharacter => "the token has something other than visible ASCII in it",
            InvalidToken::NotBearer => "the credential is no bearer token",
        })
    }
}

impl std::error::Error for InvalidToken {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_token() {
        assert_eq!(Token::try_new("").unwrap_err(), InvalidToken::Empty);
        assert_eq!(Token::try_new("a\n").unwrap_err(), InvalidToken::BadCharacter);
        assert_eq!(Token::try_new("é").unwrap_err(), InvalidToken::BadCharacter);
        assert!(Token::try_new(vec![b'a'; Token::MAX_LEN]).is_ok());
        assert_eq!(Token::try_new(vec![b'a'; Token::MAX_LEN + 1]).unwrap_err(), InvalidToken::TooLong);
    }

    #[test]
    fn what_stands_under_authorization() {
        let read = |value: &str| Token::from_authorization(value.as_bytes()).map(|t| t.secret().to_vec());
        for fine in ["Bearer abc", "bearer abc", "BEARER   abc", " Bearer abc "] {
            assert_eq!(read(fine).unwrap(), b"abc", "{fine:?}");
        }
        assert_eq!(read("Bearer "), Err(InvalidToken::NotBearer));
        for other in ["", "abc", "Basic abc", "Bearerabc", "Bearer"] {
            assert_eq!(read(other), Err(InvalidToken::NotBearer), "{other:?}");
        }
        assert_eq!(read("Bearer a b"), Err(InvalidToken::BadCharacter));
    }
}
