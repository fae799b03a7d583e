//! What an accepted asynchronous call comes to.

use super::{
    shared::{Handle, keep, wake},
    table,
};
use crate::fault;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::task::JoinHandle;
use towpath_core::{Error, ErrorKind, Loan, Response};

/// The outcome of an asynchronous call that the callee has accepted: a future of its own.
///
/// The call's own future resolves at the acceptance, with an empty response that carries this:
/// [`Outcome::take`]. The call's deadline goes on to hold. Cancel safety: dropping it gives the call up.
#[must_use = "dropping the outcome gives the call up"]
pub struct Outcome {
    shared: Loan<Handle>,
    state: State,
}

/// `Waiting` → `Done`, or `Ready` → `Done`.
enum State {
    Waiting(u64),
    Ready(Option<table::Outcome>),
    Done,
}

/// Responses can be cloned and an outcome cannot: the first who takes it has it.
#[derive(Clone)]
struct Carried(Arc<Mutex<Option<Outcome>>>);

impl Outcome {
    pub(crate) fn new(shared: Loan<Handle>, id: u64) -> Self {
        Outcome { shared, state: State::Waiting(id) }
    }

    pub(crate) fn ready(shared: Loan<Handle>, outcome: table::Outcome) -> Self {
        Outcome { shared, state: State::Ready(Some(outcome)) }
    }

    pub(crate) fn put(self, response: &mut Response) {
        response.extensions_mut().insert(Carried(Arc::new(Mutex::new(Some(self)))));
    }

    /// Takes the outcome out of the response of an asynchronous call. `None` if the call was not
    /// asynchronous, if it was refused (then the response says why), or if somebody has taken it.
    pub fn take<B>(response: &Response<B>) -> Option<Outcome> {
        let carried = response.extensions().get::<Carried>()?;
        carried.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Calls `done` with the outcome, on a task of its own. Aborting the task gives the call up.
    ///
    /// # Panics
    /// As `tokio::spawn`: outside a runtime.
    pub fn on_complete<F>(self, done: F) -> JoinHandle<()>
    where
        F: FnOnce(Result<Response, Error>) + Send + 'static,
    {
        towpath_core::context::spawn(async move { done(self.await) })
    }
}

impl Future for Outcome {
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let outcome = match &mut this.state {
            State::Waiting(id) => {
                let id = *id;
                let mut state = this.shared.lock();
                match state.table.get(id) {
                    Some(slot) if slot.outcome.is_none() => {
                        keep(&mut slot.waker, cx.waker());
                        return Poll::Pending;
                    }
                    _ => {}
                }
                let outcome = state.table.leave(id).and_then(|(_, outcome)| outcome);
                let next = this.shared.next_in_line(&mut state);
                this.shared.show_taken(&state);
                drop(state);
                wake(next);
                outcome
            }
            State::Ready(outcome) => outcome.take(),
            State::Done => None,
        };
        this.state = State::Done;
        Poll::Ready(match outcome {
            Some(outcome) => fault::sort_pushed(outcome, &this.shared.peer),
            None => {
                Err(this.shared.error(ErrorKind::Cancelled).because("the future was polled after its end"))
            }
        })
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if let State::Waiting(id) = self.state {
            self.shared.leave(id);
        }
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome").field("peer", &self.shared.peer).finish_non_exhaustive()
    }
}
