//! From a request to its answer: at once, or in a task of its own.

use super::{
    answer,
    call::{Aside, CallFuture, Place, panicked},
    connection::ServerConnection,
    shared::Call,
};
use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{self, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;
use towpath_codec::{DecodedRequest, RequestError, kind};
use towpath_core::{
    Acceptance, BoxError, CodecId, Context, Mode, Request, Response,
    context::{self, Scope},
};

/// A request stays where it was decoded until the service takes it.
pub(super) type Decoded = Result<DecodedRequest, RequestError>;

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
    pub(super) fn dispatch(&mut self, id: u64, decoded: &mut Decoded, bytes: usize) {
        let Ok(DecodedRequest { request, .. }) = decoded else { return };
        if !self.extensions.is_empty() {
            *request.extensions_mut() = self.extensions.clone();
        }
        let (mode, codec) = (request.mode(), request.codec());
        let of = |context: Context| Call { mode, codec, accepted: false, context, bytes, task: None };
        if mode == Mode::Async {
            // It stands in the table from the beginning: its acceptance may come at any time.
            let shared = self.shared.clone();
            request.extensions_mut().insert(Acceptance::new(move || shared.accept(id)));
            self.enter(id, of(request.context().clone()));
        }
        let entered = context::enter(request.context());
        let (place, service) = (&mut self.place, &mut self.service);
        let result = match catch_unwind(AssertUnwindSafe(|| begin(place, service, decoded))) {
            Ok(Poll::Ready(result)) => result,
            Ok(Poll::Pending) => return self.move_aside(id, of(entered.leave())),
            Err(panic) => {
                self.service = self.origin.clone();
                Err(panicked(&*panic))
            }
        };
        // What a destructor does is the user's code as well.
        if catch_unwind(AssertUnwindSafe(|| self.place.clear())).is_err() {
            self.place = Place::new();
        }
        match mode {
            // By reference: a response is large, and has been moved often enough.
            Mode::Unary => match &result {
                Ok(response) => self.put(id, response, codec),
                Err(_) => {
                    let context = entered.leave();
                    if let Err(error) = result {
                        self.put(id, &answer::guarded(error, codec, Some(&context)), codec);
                    }
                }
            },
            Mode::Async => self.shared.finish(id, result),
            _ => {}
        }
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

/// The first poll of a call, by nobody's waker: if it is pending, its own task polls it again.
#[inline]
fn begin<S>(place: &mut Place<S>, service: &mut S, decoded: &mut Decoded) -> Poll<Result<Response, BoxError>>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>> + Clone,
{
    let mut cx = task::Context::from_waker(Waker::noop());
    let ready = service.poll_ready(&mut cx);
    let Ok(DecodedRequest { request, .. }) = mem::replace(decoded, Err(RequestError::NoId)) else {
        return Poll::Pending;
    };
    place.set(match ready {
        Poll::Ready(Ok(())) => CallFuture::Running { future: service.call(request) },
        Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
        // The clone that waits for its turn goes with the call, so that its turn is not lost.
        Poll::Pending => {
            let fresh = service.clone();
            CallFuture::Unready { service: mem::replace(service, fresh), request: Some(request) }
        }
    });
    Pin::new(place).poll(&mut cx)
}
