//! One timer for all that a connection waits for.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// The earliest of many deadlines, without a timer for each: whoever learns of a deadline says "not later
/// than", and whoever is woken looks through all of them and says when to look again.
///
/// Looking whether it has rung costs one atomic load; the timer is touched only when the time moves
/// forward to an earlier one.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    at: Option<Instant>,
    /// Made at the first use: most tests and short connections never need one.
    sleep: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
}

impl Alarm {
    /// Makes sure that the alarm rings at `at` or earlier.
    #[inline]
    pub(crate) fn not_later_than(&mut self, at: Instant) {
        if self.at.is_none_or(|armed| at < armed) {
            self.set(at);
        }
    }

    #[cold]
    fn set(&mut self, at: Instant) {
        self.at = Some(at);
        // Registered by the next `poll`.
        self.waker = None;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(sleep_until(at))),
        }
    }

    /// Whether it rings; then it is off until it is set again. Otherwise the task is woken when it does.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(_), Some(sleep)) = (self.at, &mut self.sleep) else { return Poll::Pending };
        if !sleep.is_elapsed() && self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        if sleep.as_mut().poll(cx).is_ready() {
            self.at = None;
            return Poll::Ready(());
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, time::Duration};

    #[tokio::test(start_paused = true)]
    async fn the_earliest_rings_once() {
        let start = Instant::now();
        let mut alarm = Alarm::default();
        alarm.not_later_than(start + Duration::from_secs(5));
        alarm.not_later_than(start + Duration::from_secs(2));
        alarm.not_later_than(start + Duration::from_secs(9));
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        let silent = tokio::time::timeout(Duration::from_secs(20), poll_fn(|cx| alarm.poll(cx)));
        assert!(silent.await.is_err());
        alarm.not_later_than(Instant::now() + Duration::from_secs(1));
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(23));
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_time_wakes_a_task_that_waits() {
        let mut alarm = Alarm::default();
        alarm.not_later_than(Instant::now() + Duration::from_secs(50));
        let mut task = tokio_test_poll(&mut alarm);
        assert!(task.is_pending());
        alarm.not_later_than(Instant::now() + Duration::from_secs(1));
        task = tokio_test_poll(&mut alarm);
        assert!(task.is_pending());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(tokio_test_poll(&mut alarm).is_ready());
    }

    fn tokio_test_poll(alarm: &mut Alarm) -> Poll<()> {
        alarm.poll(&mut Context::from_waker(Waker::noop()))
    }
}
