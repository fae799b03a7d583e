//! What is asked of calls: a validated value.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use towpath_core::{Identity, Patterns};

/// What a [`VerifyLayer`](crate::VerifyLayer) asks of calls, and how long it takes a credential for good. In a
/// file, what is left out has its default:
///
/// ```
/// use std::time::Duration;
/// use towpath_auth::VerifyConfig;
/// let config: VerifyConfig = serde_json::from_str(r#"{
///     "exempt": ["Health.*"],
///     "require": [{"methods": ["OrderService.Place"], "scope": "orders:write"}]
/// }"#)?;
/// assert_eq!(config.cache_age(), Duration::from_secs(60));
/// assert!(serde_json::from_str::<VerifyConfig>(r#"{"cache_age_ms": 3600001}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct VerifyConfig {
    cache_age: Duration,
    cache_entries: usize,
    exempt: Patterns,
    require: Vec<Requirement>,
}

/// What methods ask of whoever calls them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Which methods; of an `http::Request`, which paths.
    pub methods: Patterns,
    /// The [scope](Identity::has_scope) that they ask for.
    pub scope: Box<str>,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    cache_age_ms: u64,
    cache_entries: usize,
    exempt: Patterns,
    require: Vec<Requirement>,
}

/// A config that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidVerify {
    /// `cache_age_ms` is above [`VerifyConfig::MAX_CACHE_AGE`].
    CacheTooOld(Duration),
    /// `cache_entries` is not from 2 to [`VerifyConfig::MAX_CACHE_ENTRIES`].
    BadCacheEntries(usize),
}

impl VerifyConfig {
    /// The longest that a credential is taken for good without another look: an hour.
    pub const MAX_CACHE_AGE: Duration = Duration::from_secs(3_600);

    /// The most credentials that are kept: a million, some 200 MB.
    pub const MAX_CACHE_ENTRIES: usize = 1_000_000;

    /// Takes a verified credential for good for so long: 60 s by default, half of what Kubernetes takes for its
    /// webhooks. A credential that is revoked serves at most as long, and never beyond its own expiry. Zero: every
    /// call is verified.
    ///
    /// # Errors
    /// If it is above [`MAX_CACHE_AGE`](Self::MAX_CACHE_AGE).
    pub fn with_cache_age(mut self, age: Duration) -> Result<Self, InvalidVerify> {
        if age > Self::MAX_CACHE_AGE {
            return Err(InvalidVerify::CacheTooOld(age));
        }
        self.cache_age = age;
        Ok(self)
    }

    /// Keeps so many credentials: 10 000 by default, some 2 MB. Beyond that, those that were not used for
    /// longest are verified anew.
    ///
    /// # Errors
    /// If it is under 2, or above [`MAX_CACHE_ENTRIES`](Self::MAX_CACHE_ENTRIES).
    pub fn with_cache_entries(mut self, entries: usize) -> Result<Self, InvalidVerify> {
        if !(2..=Self::MAX_CACHE_ENTRIES).contains(&entries) {
            return Err(InvalidVerify::BadCacheEntries(entries));
        }
        self.cache_entries = entries;
        Ok(self)
    }

    /// Asks nothing of calls of these methods: nobody looks at their credential, and their handlers hear of no
    /// identity. None by default.
    #[must_use]
    pub fn with_exempt(mut self, methods: Patterns) -> Self {
        self.exempt = methods;
        self
    }

    /// Asks for a scope, too. A method that is in several requirements has to have all of their scopes.
    #[must_use]
    pub fn with_required(mut self, methods: Patterns, scope: impl Into<Box<str>>) -> Self {
        self.require.push(Requirement { methods, scope: scope.into() });
        self
    }

    /// How long a verified credential is taken for good.
    pub const fn cache_age(&self) -> Duration {
        self.cache_age
    }

    /// How many credentials are kept.
    pub const fn cache_entries(&self) -> usize {
        self.cache_entries
    }

    /// Of what calls nothing is asked.
    pub const fn exempt(&self) -> &Patterns {
        &self.exempt
    }

    /// What is asked beside a good credential.
    pub fn required(&self) -> &[Requirement] {
        &self.require
    }

    /// The scope that somebody lacks for a method, if any.
    pub(super) fn lacking(&self, identity: &Identity, method: &str) -> Option<&str> {
        let asked = self.require.iter().filter(|asked| !identity.has_scope(&asked.scope));
        asked.into_iter().find(|asked| asked.methods.matches(method)).map(|asked| &*asked.scope)
    }
}

/// A credential is asked of every call, and taken for good for 60 s; 10 000 are kept.
impl Default for VerifyConfig {
    fn default() -> Self {
        VerifyConfig {
            cache_age: Duration::from_secs(60),
            cache_entries: 10_000,
            exempt: Patterns::default(),
            require: Vec::new(),
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        VerifyConfig::default().into()
    }
}

impl TryFrom<Raw> for VerifyConfig {
    type Error = InvalidVerify;

    fn try_from(raw: Raw) -> Result<Self, InvalidVerify> {
        let config = VerifyConfig { exempt: raw.exempt, require: raw.require, ..VerifyConfig::default() };
        config.with_cache_age(Duration::from_millis(raw.cache_age_ms))?.with_cache_entries(raw.cache_entries)
    }
}

impl From<VerifyConfig> for Raw {
    fn from(config: VerifyConfig) -> Self {
        let VerifyConfig { cache_age, cache_entries, exempt, require } = config;
        // At most an hour.
        Raw { cache_age_ms: cache_age.as_millis() as u64, cache_entries, exempt, require }
    }
}

impl fmt::Display for InvalidVerify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidVerify::CacheTooOld(age) => write!(f, "cache_age_ms is {age:?}: at most an hour"),
            InvalidVerify::BadCacheEntries(entries) => {
                write!(f, "cache_entries is {entries}: 2 to {}", VerifyConfig::MAX_CACHE_ENTRIES)
            }
        }
    }
}

impl std::error::Error for InvalidVerify {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_in_a_file() {
        let text = r#"{"cache_age_ms":0,"cache_entries":7,"exempt":["Health.*"],"require":[{"methods":["A.*"],"scope":"a"}]}"#;
        let config: VerifyConfig = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
        for (text, says) in [
            (r#"{"cache_age_ms":3600001}"#, "cache_age_ms"),
            (r#"{"cache_entries":1}"#, "cache_entries"),
            (r#"{"cache_entries":1000001}"#, "cache_entries"),
            (r#"{"exempts":[]}"#, "unknown field"),
            (r#"{"require":[{"methods":["A.*"],"scopes":"a"}]}"#, "unknown field"),
        ] {
            let error = serde_json::from_str::<VerifyConfig>(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn all_scopes_are_needed() {
        let patterns = |pattern| [pattern].into_iter().collect();
        let config = VerifyConfig::default()
            .with_required(patterns("Orders.*"), "orders")
            .with_required(patterns("*.Delete"), "admin");
        let shop = Identity::new("shop").with_scopes(["orders"]);
        assert_eq!(config.lacking(&shop, "Orders.Place"), None);
        assert_eq!(config.lacking(&shop, "Orders.Delete"), Some("admin"));
        assert_eq!(config.lacking(&Identity::new("x"), "Orders.Delete"), Some("orders"));
        assert_eq!(config.lacking(&Identity::new("x"), "Users.Get"), None);
    }
}
