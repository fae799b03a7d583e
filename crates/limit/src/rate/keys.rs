//! Who shares a rate with whom: all calls, or those of one key.

use std::hash::{DefaultHasher, Hasher};

/// Finds the key of a call: calls of one key share one rate.
///
/// `()` gives all calls one rate, and costs nothing. A closure `Fn(&Request, &mut KeyHasher)` gives one to each key:
/// whatever it feeds to the hasher is the key. So a key needs no copy, and takes 16 bytes however long it is.
///
/// ```
/// use std::{hash::Hash, time::Duration};
/// use towpath_core::Request;
/// use towpath_limit::{KeyHasher, RateConfig, RateLimitLayer};
///
/// let config = RateConfig::try_new(10, Duration::from_secs(1))?;
/// let by_method = |request: &Request, key: &mut KeyHasher| request.method().as_str().hash(key);
/// let layer = RateLimitLayer::keyed(config, by_method);
/// # Ok::<(), towpath_limit::InvalidRate>(())
/// ```
pub trait RateKey<Request: ?Sized> {
    /// Whether calls are told apart at all.
    const IS_KEYED: bool = true;

    /// Feeds the key of a call to the hasher.
    fn hash(&self, request: &Request, key: &mut KeyHasher);
}

impl<Request: ?Sized> RateKey<Request> for () {
    const IS_KEYED: bool = false;

    #[inline]
    fn hash(&self, _: &Request, _: &mut KeyHasher) {}
}

impl<F: Fn(&Request, &mut KeyHasher), Request: ?Sized> RateKey<Request> for F {
    fn hash(&self, request: &Request, key: &mut KeyHasher) {
        self(request, key);
    }
}

/// Takes the key of a call, as any `Hasher`. Its hash is not to be foreseen, so that nobody can choose a key that
/// is taken for another one.
#[derive(Clone, Debug)]
pub struct KeyHasher(pub(super) DefaultHasher);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}
