//! What comes back from a call: a result now, or an accepted call with a result later.

use super::{erased::Answer, error::CallError, handle::Started};
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::task::JoinHandle;
use towpath_codec::{BodyCodec, BodyError, Decode, Json, Raw};
use towpath_core::{CodecId, Response, context};
use towpath_transport::Outcome;

/// The result of a call: resolves to an `R`, read with the codec `C`. Nothing is sent before the first poll.
///
/// Cancel safety: dropping it gives the call up; if it was sent, the callee is told and stops.
#[must_use = "a call is not made unless its reply is awaited"]
pub struct Reply<R, C = Json> {
    answer: State,
    codec: C,
    result: PhantomData<fn() -> R>,
}

/// `Refused` or `Begun` → `Done`.
enum State {
    Refused(CallError),
    Begun(Answer),
    Done,
}

impl<R, C> Reply<R, C> {
    pub(super) fn new(started: Started, codec: C) -> Self {
        let answer = match started {
            Ok(answer) => State::Begun(answer),
            Err(error) => State::Refused(error),
        };
        Reply { answer, codec, result: PhantomData }
    }
}

// Nothing in it is ever pinned but what is boxed.
impl<R, C> Unpin for Reply<R, C> {}

impl<R, C: Decode<R>> Future for Reply<R, C> {
    type Output = Result<R, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let State::Begun(answer) = &mut this.answer {
            let answer = ready!(Pin::new(answer).poll(cx));
            this.answer = State::Done;
            return Poll::Ready(match answer {
                Ok(response) => read(&this.codec, &response),
                Err(error) => Err(CallError::from_stack(error)),
            });
        }
        match std::mem::replace(&mut this.answer, State::Done) {
            State::Refused(error) => Poll::Ready(Err(error)),
            // Polled after its end.
            _ => Poll::Pending,
        }
    }
}

impl<R, C> fmt::Debug for Reply<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// Reads an answer. The answer's codec is authoritative: what is in another one is not guessed at. Raw takes
/// any: bytes are bytes.
fn read<R, C: Decode<R>>(codec: &C, response: &Response) -> Result<R, CallError> {
    if let Some(error) = CallError::from_answer(response) {
        return Err(error);
    }
    if response.codec() != C::ID && C::ID != Raw::ID {
        return Err(CallError::Decode(BodyError::decode::<C>(InCodec(response.codec()).to_string())));
    }
    codec.decode(response.body()).map_err(CallError::Decode)
}

struct InCodec(CodecId);

impl fmt::Display for InCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is in {}", self.0)
    }
}

/// An asynchronous call that the callee has accepted: a future of its result.
///
/// The call's deadline goes on to hold. Cancel safety: dropping it gives the call up, and the callee is told.
#[must_use = "dropping it gives the call up"]
pub struct Accepted<R, C = Json> {
    outcome: Pending,
    codec: C,
    result: PhantomData<fn() -> R>,
}

enum Pending {
    Outcome(Outcome),
    /// A service in this process may have answered at once.
    Answered(Option<Response>),
}

impl<R, C: Decode<R>> Accepted<R, C> {
    pub(super) fn new(response: Response, codec: C) -> Result<Self, CallError> {
        if let Some(refusal) = CallError::from_answer(&response) {
            return Err(refusal);
        }
        let outcome = match Outcome::take(&response) {
            Some(outcome) => Pending::Outcome(outcome),
            None => Pending::Answered(Some(response)),
        };
        Ok(Accepted { outcome, codec, result: PhantomData })
    }

    /// The outcome as it comes: codec, metadata, body. A fault of the service is an answer.
    ///
    /// # Errors
    /// If the stack fails; never [`CallError::Fault`].
    ///
    /// # Cancel safety
    /// Dropping it gives the call up.
    pub async fn into_response(self) -> Result<Response, CallError> {
        match self.outcome {
            Pending::Outcome(outcome) => outcome.await.map_err(CallError::Failed),
            Pending::Answered(response) => Ok(response.unwrap_or_default()),
        }
    }

    /// Calls `done` with the result, on a task of its own, in the context of the current one. Aborting the
    /// task gives the call up.
    ///
    /// # Panics
    /// As `tokio::spawn`: outside a runtime.
    pub fn on_complete<F>(self, done: F) -> JoinHandle<()>
    where
        R: 'static,
        C: Send + 'static,
        F: FnOnce(Result<R, CallError>) + Send + 'static,
    {
        context::spawn(async move { done(self.await) })
    }
}

impl<R, C> Unpin for Accepted<R, C> {}

impl<R, C: Decode<R>> Future for Accepted<R, C> {
    type Output = Result<R, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match &mut this.outcome {
            Pending::Outcome(outcome) => Poll::Ready(match ready!(Pin::new(outcome).poll(cx)) {
                Ok(response) => read(&this.codec, &response),
                Err(error) => Err(CallError::Failed(error)),
            }),
            Pending::Answered(response) => match response.take() {
                Some(response) => Poll::Ready(read(&this.codec, &response)),
                None => Poll::Pending,
            },
        }
    }
}

impl<R, C: BodyCodec> fmt::Debug for Accepted<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("codec", &C::NAME).finish_non_exhaustive()
    }
}
