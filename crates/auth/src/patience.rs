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
use towpath_core::{Error, ErrorKind, Processed};

/// The timer is made when somebody really waits.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    waited: bool,
}

impl Patience {
    pub(crate) fn until(deadline: Option<Instant>) -> Self {
        Patience { deadline, timer: None, waited: false }
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll_spent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.waited = true;
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // What is waited for may have used up the task's budget in this poll.
        Pin::new(&mut unconstrained(timer.as_mut())).poll(cx)
    }

    /// Whether anybody had to wait.
    pub(crate) fn has_waited(&self) -> bool {
        self.waited
    }

    /// What the caller hears then; nothing was called.
    pub(crate) fn spent(why: &'static str) -> Error {
        Error::new(ErrorKind::DeadlineExceeded).with_processed(Processed::No).because(why)
    }
}
