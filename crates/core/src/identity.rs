//! Who makes a call.

use crate::Extensions;
use std::{
    any::Any,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// Who makes a call, as a server found out. What verifies callers leaves it in the request's extensions; what has
/// to tell callers apart (permissions, quotas, idempotency keys) reads it there, and so does a handler.
///
/// It says nothing secret: it is shown in logs. A clone is one reference count.
///
/// ```
/// use std::time::Duration;
/// use towpath_core::Identity;
/// let shop = Identity::new("shop").with_scopes(["orders:read", "orders:write"]).valid_for(Duration::from_secs(60));
/// assert!(shop.subject() == "shop" && shop.has_scope("orders:write") && !shop.has_scope("users:read"));
/// ```
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    subject: Box<str>,
    scopes: Vec<Box<str>>,
    expires: Option<Instant>,
    claims: Extensions,
}

impl Identity {
    /// Somebody of that name, who may do nothing in particular, for as long as nobody says otherwise.
    pub fn new(subject: impl Into<Box<str>>) -> Self {
        let (scopes, claims) = (Vec::new(), Extensions::new());
        Identity(Arc::new(Inner { subject: subject.into(), scopes, expires: None, claims }))
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Says what they may do, in the words of whoever named them.
    #[must_use]
    pub fn with_scopes<T: Into<Box<str>>>(self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.change(|inner| inner.scopes.extend(scopes.into_iter().map(Into::into)))
    }

    /// Says when this is not known any more.
    #[must_use]
    pub fn with_expiry(self, at: Instant) -> Self {
        self.change(|inner| inner.expires = Some(at))
    }

    /// As [`with_expiry`](Self::with_expiry), so long from now.
    #[must_use]
    pub fn valid_for(self, time: Duration) -> Self {
        let now = Instant::now();
        // Further away than the clock goes is never.
        self.change(|inner| inner.expires = now.checked_add(time))
    }

    /// As [`with_expiry`](Self::with_expiry), by the clock on the wall, as tokens have it.
    #[must_use]
    pub fn valid_until(self, at: SystemTime) -> Self {
        let left = at.duration_since(SystemTime::now()).unwrap_or_default();
        self.valid_for(left)
    }

    /// Adds anything else that is known of them; one value of each type. It is not shown.
    #[must_use]
    pub fn with_claim<T: Any + Send + Sync>(self, claim: T) -> Self {
        self.change(|inner| inner.claims.insert(claim))
    }

    /// Their name: the `sub` of a JWT.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// What they may do.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.0.scopes.iter().map(|scope| &**scope)
    }

    /// Whether they may do this.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|own| own == scope)
    }

    /// When this is not known any more; `None`: nobody said.
    pub fn expires(&self) -> Option<Instant> {
        self.0.expires
    }

    /// Something else that is known of them.
    pub fn claim<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.claims.get()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("subject", &self.0.subject)
            .field("scopes", &self.0.scopes)
            .field("expires", &self.0.expires)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_said_is_known() {
        let plain = Identity::new("ops");
        let more = plain.clone().with_claim(7u8).with_expiry(Instant::now());
        assert_eq!((plain.claim::<u8>(), plain.expires()), (None, None));
        assert_eq!((more.claim::<u8>(), more.expires()), (Some(&7), Some(Instant::now())));
        assert_eq!((more.to_string().as_str(), more.scopes().count()), ("ops", 0));
        let past = plain.clone().valid_until(SystemTime::now() - Duration::from_secs(1));
        assert_eq!(past.expires(), Some(Instant::now()));
        assert_eq!(plain.valid_for(Duration::MAX).expires(), None);
    }
}
