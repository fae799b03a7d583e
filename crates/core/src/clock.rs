//! One reading of the clock when a call starts, one when it completes.

use crate::{HasContext, Response};
use tokio::time::Instant;

/// Where layers get the time. A reading costs about 20 ns, as much as a whole layer may; so the first one
/// that needs it reads, and leaves the reading for the others: in the context on the way in, in the
/// response on the way out.
///
/// It is tokio's clock: tests pause it and advance it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Reads the clock.
    #[inline]
    pub fn now() -> Instant {
        Instant::now()
    }

    /// The reading of a call on its way in: the one that is there, or a new one that is left there.
    #[inline]
    pub fn start<R: HasContext>(request: &mut R) -> Instant {
        match request.context_mut() {
            Some(context) => match context.stamp() {
                Some(stamp) => stamp,
                None => {
                    let now = Self::now();
                    context.set_stamp(Some(now));
                    now
                }
            },
            None => Self::now(),
        }
    }

    /// The reading of an answer on its way out: the one that is there, or a new one that is left there.
    #[inline]
    pub fn end<B>(response: &mut Response<B>) -> Instant {
        response.completed().unwrap_or_else(|| {
            let now = Self::now();
            response.set_completed(now);
            now
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_reading_is_taken_once() {
        let mut request = Request::new("A.B", ());
        let first = Clock::start(&mut request);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(Clock::start(&mut request), first);
        let mut response = Response::new(());
        let end = Clock::end(&mut response);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(Clock::end(&mut response), end);
        assert_eq!(end - first, Duration::from_secs(1));
    }
}
