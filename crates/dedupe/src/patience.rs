//! A wait that ends with the call's deadline.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

/// The timer is made when somebody really waits.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(crate) fn until(deadline: Option<Instant>) -> Self {
        Patience { deadline, timer: None }
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll_spent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // What is waited for may have used up the task's budget in this poll.
        Pin::new(&mut unconstrained(timer.as_mut())).poll(cx)
    }
}
