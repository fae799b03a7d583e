//! From a request to its answer: at once, or in a task of its own.

use super::{
    answer,
    call::{Aside, CallFuture, Place, panicked},
    connection::{Begun, End, ServerConnection},
    shared::Call,
    unpack::AT_ONCE,
};
use bytes::Bytes;
use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{self, Poll, Waker},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tower_service::Service;
use towpath_codec::{RequestHead, kind};
use towpath_core::{
    Acceptance, BoxError, CodecId, Context, Mode, Request, Response,
    context::{self, Scope},
};

impl<T, S> ServerConnection<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    pub(super) fn put(&mut self, id: u64, response: &Response, codec: CodecId) {
        if self.shared.packing.wants(response) {
            return self.put_packed(id, response, codec);
        }
        answer::put(&mut self.writing, kind::RESPONSE, id, response, codec, self.peer_max_payload);
    }

    /// Lets the service begin. What is done at once is answered at once.
    #[inline]
    pub(super) fn dispatch(&mut self, head: RequestHead, payload: Bytes, due: Option<(Instant, Instant)>) {
        let (id, mode, codec, bytes) = (head.id, head.mode, head.codec, payload.len());
        let known = head.is_known();
        let mut request = head.begin_request(payload);
        arrived(&head, &mut request, due);
        if !self.extensions.is_empty() {
            *request.extensions_mut() = self.extensions.clone();
        }
        let of = |context: Context| Call { mode, codec, accepted: false, context, bytes, task: None };
        if mode == Mode::Async {
            // It stands in the table from the beginning: its acceptance may come at any time.
            let shared = self.shared.clone();
            request.extensions_mut().insert(Acceptance::new(move || shared.accept(id)));
            self.enter(id, of(request.context().clone()));
        }
        let learn = if known { None } else { Some(request.method().clone()) };
        let entered = context::enter(request.context());
        self.begun = Some(Begun { id, mode, codec });
        let Poll::Ready(result) = self.begin(request) else {
            self.begun = None;
            return self.move_aside(id, of(entered.leave()));
        };
        match mode {
            // By reference: a response is large, and has been moved often enough.
            Mode::Unary => match &result {
                Ok(response) => {
                    self.put(id, response, codec);
                    if let Some(method) = learn.filter(|_| !response.is_fault()) {
                        self.known.learn(&method);
                    }
                }
                Err(_) => {
                    let context = entered.leave();
                    if let Err(error) = result {
                        self.put(id, &answer::guarded(error.into(), codec, Some(&context)), codec);
                    }
                }
            },
            Mode::Async => match result {
                Ok(large) if large.body().len() > AT_ONCE && self.shared.packing.wants(&large) => {
                    self.pack_aside(id, large);
                }
                result => self.shared.finish(id, result.map_err(Into::into)),
            },
            _ => {}
        }
        // It is answered: a panic of what is dropped now, a user's code as well, is nobody's.
        self.begun = None;
        self.place.clear();
    }

    /// The first poll of a call, by nobody's waker: if it is pending, its own task polls it again.
    #[inline]
    fn begin(&mut self, request: Request) -> Poll<Result<Response, S::Error>> {
        let mut cx = task::Context::from_waker(Waker::noop());
        self.place.set(match self.service.poll_ready(&mut cx) {
            Poll::Ready(Ok(())) => called(&mut self.service, request),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            // The clone that waits for its turn goes with the call, so that its turn is not lost.
            Poll::Pending => {
                let fresh = self.service.clone();
                let service = mem::replace(&mut self.service, fresh);
                CallFuture::Unready { service, request: Some(request) }
            }
        });
        self.place.poll_running(&mut cx)
    }

    /// A handler has panicked: its caller is told, and the next call meets a service that has not. An error
    /// ends the connection.
    #[cold]
    pub(super) fn recover(&mut self, panic: &(dyn Any + Send)) -> Result<(), End> {
        let error = panicked(panic);
        if let Some(Begun { id, mode, codec }) = self.begun.take() {
            match mode {
                Mode::Unary => {
                    self.put(id, &answer::guarded(error, codec, Some(&context::last())), codec);
                }
                Mode::Async => self.shared.finish(id, Err(error)),
                _ => {}
            }
        }
        // What is left of the call, and of the service, is a user's, and may panic again.
        let place = mem::replace(&mut self.place, Place::new());
        let _ = catch_unwind(AssertUnwindSafe(|| drop(place)));
        let renewed = catch_unwind(AssertUnwindSafe(|| self.service = self.origin.clone()));
        if renewed.is_err() {
            tracing::error!("a service panicked while it was replaced: its connection is closed");
            return Err(End::Finished);
        }
        Ok(())
    }

    pub(super) fn enter(&mut self, id: u64, call: Call) {
        if let Some(deadline) = call.context.deadline() {
            self.alarm.not_later_than(deadline);
        }
        self.outstanding += 1;
        self.shared.lock().insert(id, call);
    }

    /// A pending call goes on in a task of its own.
    pub(super) fn move_aside(&mut self, id: u64, call: Call) {
        let place = mem::replace(&mut self.place, Place::new());
        let aside = Aside::new(place.with_context(call.context.clone()), self.shared.clone(), id);
        if call.mode != Mode::Async {
            self.enter(id, call);
        }
        let task = tokio::spawn(aside).abort_handle();
        // It may be done already, on another thread.
        if let Some(call) = self.shared.lock().calls.get_mut(&id) {
            call.task = Some(task);
        }
    }
}

/// In a function of its own there is nothing else that would have to be dropped if the service panicked: the compiler makes fewer
/// copies then.
#[inline(never)]
fn called<S: Service<Request>>(service: &mut S, request: Request) -> CallFuture<S> {
    CallFuture::Running { future: service.call(request) }
}

/// What else there is of a request that has arrived; `due` is its deadline, and when its header was there.
#[inline]
pub(super) fn arrived(head: &RequestHead, request: &mut Request, due: Option<(Instant, Instant)>) {
    head.finish_request(request);
    if let Some((deadline, arrival)) = due {
        request.context_mut().set_deadline(Some(deadline));
        request.context_mut().set_stamp(Some(arrival));
    }
}
