//! Tokens from a list.

use crate::{Token, verifier::Verify};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    future::{Ready, ready},
};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use towpath_core::{Error, ErrorKind, Identity, Live};

/// Which tokens are good, and whose they are. Nothing but their SHA-256 is kept.
///
/// In a file a token stands itself, or as the SHA-256 of it in hex, so that the file holds no secret
/// (`printf %s "$TOKEN" | sha256sum`); what is written out again is always the latter. One subject can have several: to
/// change a token, add the new one, have the clients use it, and remove the old one.
///
/// ```
/// use towpath_auth::TokensConfig;
/// let config: TokensConfig = serde_json::from_str(r#"{"tokens": [
///     {"subject": "shop", "token": "correct-horse-battery", "scopes": ["orders:write"]},
///     {"subject": "ops", "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}
/// ]}"#)?;
/// assert_eq!(config.len(), 2);
/// assert!(!serde_json::to_string(&config)?.contains("horse"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct TokensConfig(Vec<Known>);

#[derive(Clone)]
struct Known {
    digest: [u8; 32],
    identity: Identity,
}

/// A list that makes no sense. It has nothing of a token in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTokens {
    /// The entry of this number, from 1, has neither a `token` nor a `sha256`, or both.
    NotOne(usize),
    /// The `token` of this entry is none.
    BadToken(usize),
    /// The `token` of this entry has less than [`TokensConfig::MIN_LEN`] characters: it can be guessed.
    TooShort(usize),
    /// The `sha256` of this entry is not 64 digits in hex.
    BadDigest(usize),
    /// The token of this entry is that of an earlier one.
    Twice(usize),
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    tokens: Vec<RawKnown>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKnown {
    subject: Box<str>,
    #[serde(default, skip_serializing)]
    token: Option<String>,
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<Box<str>>,
}

impl TokensConfig {
    /// The least that a token must have: 16 characters. They should be random.
    pub const MIN_LEN: usize = 16;

    /// No token is good.
    pub const fn new() -> Self {
        TokensConfig(Vec::new())
    }

    /// Adds a token.
    ///
    /// # Errors
    /// If it can be guessed, being too short, or is there already.
    pub fn with(self, token: &Token, identity: Identity) -> Result<Self, InvalidTokens> {
        if token.secret().len() < Self::MIN_LEN {
            return Err(InvalidTokens::TooShort(self.len() + 1));
        }
        self.with_digest(token.digest(), identity)
    }

    /// Adds a token by its SHA-256.
    ///
    /// # Errors
    /// If it is there already.
    pub fn with_digest(mut self, digest: [u8; 32], identity: Identity) -> Result<Self, InvalidTokens> {
        if self.0.iter().any(|known| known.digest == digest) {
            return Err(InvalidTokens::Twice(self.len() + 1));
        }
        self.0.push(Known { digest, identity });
        Ok(self)
    }

    /// How many tokens are good.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose a token is. It looks at all of them, always, and compares each to its end: how long that takes tells
    /// how long the token is that was shown, and how many are known, but nothing of those.
    fn whose(&self, token: &Token) -> Option<&Identity> {
        let digest = token.digest();
        let mut found = u32::MAX;
        for (at, known) in (0u32..).zip(&self.0) {
            found.conditional_assign(&at, known.digest.ct_eq(&digest));
        }
        self.0.get(found as usize).map(|known| &known.identity)
    }
}

/// Verifies tokens by a list, which can be replaced while it is used: what is no more on it is refused at once.
///
/// The token that a caller shows is hashed (SHA-256), and the digest compared with all that are known, in a time
/// that depends on none of them.
#[derive(Clone, Debug)]
pub struct StaticTokens(Live<TokensConfig>);

impl StaticTokens {
    /// The tokens of this list.
    pub fn new(tokens: impl Into<Live<TokensConfig>>) -> Self {
        StaticTokens(tokens.into())
    }

    /// The list, to read and to replace.
    pub fn config(&self) -> &Live<TokensConfig> {
        &self.0
    }
}

impl<Req> Verify<Req> for StaticTokens {
    type Future = Ready<Result<Identity, Error>>;

    fn verify(&self, token: &Token, _: &Req) -> Self::Future {
        ready(match self.0.get().whose(token) {
            Some(identity) => Ok(identity.clone()),
            None => Err(Error::new(ErrorKind::Unauthenticated).because("the token is not known")),
        })
    }

    fn epoch(&self) -> u64 {
        self.0.version()
    }
}

impl TryFrom<Raw> for TokensConfig {
    type Error = InvalidTokens;

    fn try_from(raw: Raw) -> Result<Self, InvalidTokens> {
        let mut config = TokensConfig::new();
        for (at, known) in (1..).zip(raw.tokens) {
            let identity = Identity::new(known.subject).with_scopes(known.scopes);
            config = match (known.token, known.sha256) {
                (Some(token), None) => {
                    config.with(&Token::try_new(token).map_err(|_| InvalidTokens::BadToken(at))?, identity)
                }
                (None, Some(hex)) => {
                    config.with_digest(from_hex(&hex).ok_or(InvalidTokens::BadDigest(at))?, identity)
                }
                _ => Err(InvalidTokens::NotOne(at)),
            }?;
        }
        Ok(config)
    }
}

impl From<TokensConfig> for Raw {
    fn from(config: TokensConfig) -> Self {
        let raw = |known: Known| RawKnown {
            subject: known.identity.subject().into(),
            token: None,
            sha256: Some(known.digest.iter().map(|byte| format!("{byte:02x}")).collect()),
            scopes: known.identity.scopes().map(Into::into).collect(),
        };
        Raw { tokens: config.0.into_iter().map(raw).collect() }
    }
}

fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let digits: Vec<u32> = hex.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

/// Whose they are; nothing of the tokens.
impl fmt::Debug for TokensConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|known| &known.identity)).finish()
    }
}

impl fmt::Display for InvalidTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidTokens::NotOne(at) => write!(f, "tokens: entry {at} has not one of token and sha256"),
            InvalidTokens::BadToken(at) => write!(f, "tokens: the token of entry {at} is none"),
            InvalidTokens::TooShort(at) => {
                write!(f, "tokens: the token of entry {at} is under {} characters", TokensConfig::MIN_LEN)
            }
            InvalidTokens::BadDigest(at) => {
                write!(f, "tokens: the sha256 of entry {at} is not 64 hex digits")
            }
            InvalidTokens::Twice(at) => {
                write!(f, "tokens: the token of entry {at} is that of an earlier one")
            }
        }
    }
}

impl std::error::Error for InvalidTokens {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TokensConfig, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn token(text: &str) -> Token {
        text.parse().unwrap()
    }

    #[test]
    fn each_token_is_somebody_s() {
        let mut config = TokensConfig::new();
        for n in 0..5 {
            let token = token(&format!("a-long-enough-token-{n}"));
            config = config.with(&token, Identity::new(format!("caller {n}"))).unwrap();
        }
        for n in 0..5 {
            let shown = token(&format!("a-long-enough-token-{n}"));
            assert_eq!(config.whose(&shown).unwrap().subject(), format!("caller {n}"));
        }
        for other in ["a-long-enough-token-5", "a-long-enough-token-", "a-long-enough-token-00"] {
            assert!(config.whose(&token(other)).is_none(), "{other}");
        }
        assert!(TokensConfig::new().whose(&token("anything")).is_none());
    }

    #[test]
    fn the_form_in_a_file() {
        let secret = "hush-hush-hush-hush";
        let text = format!(r#"{{"tokens":[{{"subject":"a","token":"{secret}","scopes":["x"]}}]}}"#);
        let config = read(&text).unwrap();
        let written = serde_json::to_string(&config).unwrap();
        let again = read(&written).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), written);
        let known = again.whose(&token(secret)).unwrap();
        assert!(known.subject() == "a" && known.has_scope("x"));
        assert!(!format!("{config:?}{written}").contains("hush"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_token() {
        let hex = "0".repeat(64);
        for (entries, says) in [
            (r#"{"subject":"a"}"#.to_owned(), "entry 1 has not one"),
            (
                format!(r#"{{"subject":"a","token":"hushhushhushhush","sha256":"{hex}"}}"#),
                "entry 1 has not one",
            ),
            (r#"{"subject":"a","token":"hush hushhushhush"}"#.to_owned(), "entry 1 is none"),
            (r#"{"subject":"a","token":"hush"}"#.to_owned(), "under 16"),
            (r#"{"subject":"a","sha256":"00"}"#.to_owned(), "64 hex"),
            (
                format!(r#"{{"subject":"a","sha256":"{hex}"}},{{"subject":"b","sha256":"{hex}"}}"#),
                "entry 2 is that",
            ),
            (r#"{"subject":"a","password":"hush"}"#.to_owned(), "unknown field"),
        ] {
            let error = read(&format!(r#"{{"tokens":[{entries}]}}"#)).unwrap_err();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
