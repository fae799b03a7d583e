//! One call.

use crate::{
    drive::Drive,
    event::DedupeEvent,
    lead::{Came, FIRST, Lead, Leading, REPLAYED, State as Common, Waiting},
    patience::Patience,
    request::Keyed,
    response::{Replay, Worth},
    table::Answer,
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_service::Service;
use towpath_core::{Error, ErrorKind, Observe, OnReject, Processed};

pin_project! {
    /// A call of a [`Dedupe`](crate::Dedupe): the answer of the inner service, to this call or to an earlier one.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, Res, D, C, R, O>
    where
        S: Service<Req>,
        Res: Clone,
        D: Drive<Leading<S::Future, Res, C, O>>,
    {
        #[pin]
        state: State<S, Req, Res, S::Future, D::Future, D, C, O>,
        reject: R,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, Res, F, G, D, C, O>
    where
        Res: Clone,
    {
        // It is answered, or turned away, without a call.
        Answered { answer: Option<Result<Res, Error>> },
        // It has no key: the inner service was called.
        Passing { #[pin] future: F },
        // Another call of its key is being made.
        Waiting { waiting: Waiting<Res>, request: Option<Req>, maker: Option<Maker<S, Res, D, C, O>>, patience: Patience },
        // That one came to nothing: the inner service is being readied for this one.
        Readying { lead: Option<Lead<Res>>, request: Option<Req>, maker: Maker<S, Res, D, C, O>, patience: Patience },
        // It is the first of its key: the inner service was called.
        Leading { #[pin] future: G },
    }
}

/// What a call needs to be made after all.
pub(crate) struct Maker<S, Res, D, C, O> {
    pub(crate) inner: S,
    pub(crate) state: Arc<Common<Res>>,
    pub(crate) drive: D,
    pub(crate) worth: C,
    pub(crate) observe: O,
}

/// What a call gets that was answered before.
pub(crate) fn replay<Req: Keyed, Res: Clone>(
    state: &Common<Res>,
    observe: &impl Observe<DedupeEvent>,
    request: &Req,
    answer: Answer<Res>,
) -> Result<Res, Error> {
    state.counts.add(REPLAYED, 1);
    observe.observe(&DedupeEvent::Replayed);
    match answer {
        Answer::Kept(response) | Answer::Passing(response) => {
            request.accept();
            Ok(response)
        }
        Answer::Gone => Err(Error::new(ErrorKind::TooLarge)
            .with_processed(Processed::Yes)
            .because("the call was made before, and its answer was too large to be kept")),
    }
}

impl<S, Req, Res, D, C, R, O> ResponseFuture<S, Req, Res, D, C, R, O>
where
    S: Service<Req, Response = Res>,
    Res: Clone,
    D: Drive<Leading<S::Future, Res, C, O>>,
{
    pub(crate) fn answered(answer: Result<Res, Error>, reject: R) -> Self {
        ResponseFuture { state: State::Answered { answer: Some(answer) }, reject }
    }

    pub(crate) fn passing(future: S::Future, reject: R) -> Self {
        ResponseFuture { state: State::Passing { future }, reject }
    }

    pub(crate) fn leading(future: D::Future, reject: R) -> Self {
        ResponseFuture { state: State::Leading { future }, reject }
    }

    pub(crate) fn waiting(
        waiting: Waiting<Res>,
        maker: Maker<S, Res, D, C, O>,
        request: Req,
        reject: R,
    ) -> Self
    where
        Req: Keyed,
    {
        let patience = Patience::until(request.deadline());
        let (request, maker) = (Some(request), Some(maker));
        ResponseFuture { state: State::Waiting { waiting, request, maker, patience }, reject }
    }
}

impl<S, Req, Res, D, C, R, O> Future for ResponseFuture<S, Req, Res, D, C, R, O>
where
    Req: Keyed,
    Res: Replay,
    S: Service<Req, Response = Res>,
    D: Drive<Leading<S::Future, Res, C, O>, Future: Future<Output = Result<Res, S::Error>>>,
    C: Worth<Res> + Clone,
    R: OnReject<Res, S::Error>,
    O: Observe<DedupeEvent> + Clone,
{
    type Output = Result<Res, R::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                // Passing -> over
                StateProj::Passing { future } => {
                    return future.poll(cx).map(|result| result.map_err(|error| this.reject.pass(error)));
                }
                // Leading -> over
                StateProj::Leading { future } => {
                    return future.poll(cx).map(|result| result.map_err(|error| this.reject.pass(error)));
                }
                // Answered -> over
                StateProj::Answered { answer } => {
                    let Some(answer) = answer.take() else { return Poll::Pending };
                    return Poll::Ready(answer.or_else(|error| this.reject.reject(error)));
                }
                // Waiting -> Answered, with the other's answer or when time is up; Readying, if it came to nothing
                StateProj::Waiting { waiting, request, maker, patience } => match waiting.poll(cx) {
                    Poll::Ready(came) => {
                        let (Some(request), Some(maker)) = (request.take(), maker.take()) else {
                            return Poll::Pending;
                        };
                        match came {
                            Came::Answer(answer) => {
                                let answer = replay(&maker.state, &maker.observe, &request, answer);
                                State::Answered { answer: Some(answer) }
                            }
                            Came::Lead(lead) => {
                                maker.observe.observe(&DedupeEvent::TookOver);
                                let patience = Patience::until(request.deadline());
                                let (lead, request) = (Some(lead), Some(request));
                                State::Readying { lead, request, maker, patience }
                            }
                        }
                    }
                    Poll::Pending => {
                        ready!(patience.poll_spent(cx));
                        State::Answered { answer: Some(Err(late())) }
                    }
                },
                // Readying -> Leading, when the inner service is ready; Answered, when time is up
                StateProj::Readying { lead, request, maker, patience } => match maker.inner.poll_ready(cx) {
                    Poll::Ready(Ok(())) => {
                        let (Some(lead), Some(mut request)) = (lead.take(), request.take()) else {
                            return Poll::Pending;
                        };
                        request.waited();
                        maker.state.counts.add(FIRST, 1);
                        let (worth, observe) = (maker.worth.clone(), maker.observe.clone());
                        let call = Leading::new(maker.inner.call(request), lead, worth, observe);
                        State::Leading { future: maker.drive.drive(call) }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(this.reject.pass(error))),
                    Poll::Pending => {
                        ready!(patience.poll_spent(cx));
                        State::Answered { answer: Some(Err(late())) }
                    }
                },
            };
            this.state.set(next);
        }
    }
}

/// The other one may have been made, or be made still.
fn late() -> Error {
    Error::new(ErrorKind::DeadlineExceeded)
        .with_processed(Processed::Unknown)
        .because("another call of its idempotency key was not over in time")
}

impl<S, Req, Res, D, C, R, O> fmt::Debug for ResponseFuture<S, Req, Res, D, C, R, O>
where
    S: Service<Req>,
    Res: Clone,
    D: Drive<Leading<S::Future, Res, C, O>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseFuture")
            .field(&match self.state {
                State::Answered { .. } => "answered",
                State::Passing { .. } => "passing",
                State::Waiting { .. } => "waiting",
                State::Readying { .. } => "readying",
                State::Leading { .. } => "leading",
            })
            .finish()
    }
}
