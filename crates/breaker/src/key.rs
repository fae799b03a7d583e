//! Which breaker a call belongs to.

use std::{borrow::Cow, fmt};
use towpath_core::{Method, Request};

/// Says to which breaker a call belongs, for [`BreakerLayer::keyed`](crate::BreakerLayer::keyed).
///
/// [`ByMethod`] is for towpath's own requests. For others, a closure from the request to text
/// ([`keyed_by`](crate::BreakerLayer::keyed_by)) is mostly enough. `()` is for a layer of one breaker.
pub trait BreakerKey<Req> {
    /// The key; `None`: the call belongs to the breaker that all those have in common which have no other.
    fn key<'r>(&self, request: &'r Req) -> Option<Cow<'r, [u8]>>;

    /// The method, if the key is that and nothing else: to tell that a method is the one of the call before is quicker
    /// than to look for its breaker.
    fn method<'r>(&self, _request: &'r Req) -> Option<&'r Method> {
        None
    }

    /// Whether the call belongs to the breaker of the one before, whose [method](Self::method) that was. `false`: it may
    /// or may not.
    #[inline]
    fn is_last(&self, request: &Req, last: Option<&Method>) -> bool {
        matches!((self.method(request), last), (Some(method), Some(last)) if method.is_same(last))
    }
}

impl<Req> BreakerKey<Req> for () {
    #[inline]
    fn key<'r>(&self, _: &'r Req) -> Option<Cow<'r, [u8]>> {
        None
    }

    #[inline]
    fn is_last(&self, _: &Req, _: Option<&Method>) -> bool {
        true
    }
}

/// A breaker for each method.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByMethod;

impl<B> BreakerKey<Request<B>> for ByMethod {
    #[inline]
    fn key<'r>(&self, request: &'r Request<B>) -> Option<Cow<'r, [u8]>> {
        Some(Cow::Borrowed(request.method().as_bytes()))
    }

    #[inline]
    fn method<'r>(&self, request: &'r Request<B>) -> Option<&'r Method> {
        Some(request.method())
    }
}

/// A breaker for each text that a closure finds in the request.
#[derive(Clone, Copy)]
pub struct By<F>(pub(crate) F);

impl<Req, F: Fn(&Req) -> &str> BreakerKey<Req> for By<F> {
    #[inline]
    fn key<'r>(&self, request: &'r Req) -> Option<Cow<'r, [u8]>> {
        Some(Cow::Borrowed((self.0)(request).as_bytes()))
    }
}

impl<F> fmt::Debug for By<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("By")
    }
}
