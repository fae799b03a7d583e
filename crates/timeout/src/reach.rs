//! How far a limit reaches: to the first response, or to its last byte.

use crate::TimedOut;
use tokio::time::Instant;
use towpath_core::Response;

/// What is still to be kept of a limit when the answer has begun.
#[derive(Debug)]
#[cfg_attr(not(feature = "http"), allow(dead_code))] // nothing else answers piece by piece
pub struct Rest<O> {
    pub(crate) deadline: Instant,
    pub(crate) event: TimedOut,
    pub(crate) observe: O,
}

/// How far the limit of a [`TimeoutLayer`](crate::TimeoutLayer) reaches.
pub trait Reach<Res, O> {
    /// What the layer's service answers with.
    type Response;

    /// The answer has begun in time; `None` if it is the layer's own, to which no limit applies.
    fn answered(&self, response: Res, rest: impl FnOnce() -> Option<Rest<O>>) -> Self::Response;
}

/// To the first response: until the inner service's future is done. For `http` that is the head of the
/// answer, and its body may follow for as long as it likes.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstResponse;

impl<Res, O> Reach<Res, O> for FirstResponse {
    type Response = Res;

    #[inline]
    fn answered(&self, response: Res, _: impl FnOnce() -> Option<Rest<O>>) -> Res {
        response
    }
}

/// To the end of the whole call: until the last byte of the body. See
/// [`TimeoutLayer::whole_call`](crate::TimeoutLayer::whole_call).
#[derive(Clone, Copy, Debug, Default)]
pub struct WholeCall;

/// An MCP answer comes whole: its first response is its last byte.
impl<B, O> Reach<Response<B>, O> for WholeCall {
    type Response = Response<B>;

    #[inline]
    fn answered(&self, response: Response<B>, _: impl FnOnce() -> Option<Rest<O>>) -> Response<B> {
        response
    }
}
