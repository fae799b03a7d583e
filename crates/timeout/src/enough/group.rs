//! Which calls take about as long as each other.

use towpath_core::Request;

/// Says which calls are judged together: those for which it gives the same number. There is room for 64 groups;
/// numbers beyond share them.
///
/// `()` has all calls in one group; [`ByMethod`] is for MCP calls; a closure `Fn(&R) -> u64` is one, too. The
/// number should be spread over all bits, as a hash is.
pub trait Group<R> {
    /// Whether there are several groups at all.
    const SEVERAL: bool = true;

    /// The number of the call's group.
    fn group(&self, request: &R) -> u64;
}

impl<R> Group<R> for () {
    const SEVERAL: bool = false;

    #[inline]
    fn group(&self, _: &R) -> u64 {
        0
    }
}

impl<R, F: Fn(&R) -> u64> Group<R> for F {
    #[inline]
    fn group(&self, request: &R) -> u64 {
        self(request)
    }
}

/// Calls of one method take about as long as each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByMethod;

impl<B> Group<Request<B>> for ByMethod {
    /// FNV-1a (RFC 9923): short names, no allocation, and nothing depends on who meets whom.
    #[inline]
    fn group(&self, request: &Request<B>) -> u64 {
        request
            .method()
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}
