//! Compressed bodies on their way in and out, aside from the connection's own task.

use super::{answer, call::CallFuture, connection::ServerConnection, shared::Call, work::arrived};
use crate::compression::unpack_request;
use bytes::Bytes;
use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};
use tower_service::Service;
use towpath_codec::{Compressed, RequestHead, kind};
use towpath_core::{Acceptance, BoxError, CodecId, Error, ErrorKind, Mode, Request, Response};

/// Bodies above this size are not compressed or decompressed where others wait for it.
const AT_ONCE: usize = 64 * 1024;

/// A request whose body is being decompressed.
pub(crate) enum Unpacking {
    /// A short one: where the call is.
    Here(Request),
    Elsewhere(JoinHandle<Result<Request, Error>>),
}

impl Unpacking {
    fn new(mut request: Request, len: usize) -> Self {
        if len <= AT_ONCE {
            return Unpacking::Here(request);
        }
        Unpacking::Elsewhere(spawn_blocking(move || unpack_request(&mut request).map(|()| request)))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Request, Error>> {
        Poll::Ready(match self {
            Unpacking::Here(request) => unpack_request(request).map(|()| mem::take(request)),
            Unpacking::Elsewhere(task) => ready!(Pin::new(task).poll(cx)).unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Cancelled)
                    .because("the runtime ended while its body was decompressed"))
            }),
        })
    }
}

impl<T, S> ServerConnection<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    /// Begins a call whose body is compressed, in a task of its own. What comes out of it counts as held
    /// from here on: a peer cannot make this side hold more by compressing.
    #[cold]
    pub(super) fn unpack(&mut self, head: RequestHead, payload: Bytes, due: Option<(Instant, Instant)>) {
        let (id, bytes) = (head.id, payload.len());
        let mut request = arrived(head, payload, due);
        if !self.extensions.is_empty() {
            *request.extensions_mut() = self.extensions.clone();
            request.extensions_mut().insert(Compressed);
        }
        let (mode, codec, context) = (request.mode(), request.codec(), request.context().clone());
        let len = towpath_codec::declared_len(request.body()).unwrap_or(0) as usize;
        let held = self.shared.lock().held;
        if held > 0 && held + len > self.config.max_held {
            if mode != Mode::OneWay {
                let error = Error::new(ErrorKind::Overloaded)
                    .because("its body is too much beside those of the calls in work");
                self.put(id, &answer::refusal(&error, codec, Some(&context)), codec);
            }
            return;
        }
        let call = Call { mode, codec, accepted: false, context, bytes: bytes + len, task: None };
        if mode == Mode::Async {
            let shared = self.shared.clone();
            request.extensions_mut().insert(Acceptance::new(move || shared.accept(id)));
            self.enter(id, call.clone());
        }
        let unpacking = Unpacking::new(request, len);
        self.place.set(CallFuture::Packed { service: Some(self.service.clone()), unpacking });
        self.move_aside(id, call);
    }

    /// An answer that is there at once and is to be compressed.
    #[cold]
    pub(super) fn put_packed(&mut self, id: u64, response: &Response, codec: CodecId) {
        let response = response.clone();
        if response.body().len() <= AT_ONCE {
            let packed = self.shared.packing.packed(response);
            answer::put(&mut self.writing, kind::RESPONSE, id, &packed, codec, self.peer_max_payload);
            return;
        }
        let bytes = response.body().len();
        let context = towpath_core::Context::new();
        self.enter(id, Call { mode: Mode::Unary, codec, accepted: false, context, bytes, task: None });
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            let packing = shared.clone();
            let packed = spawn_blocking(move || packing.packing.packed(response)).await;
            shared.finish(id, packed.map_err(Into::into));
        });
        if let Some(call) = self.shared.lock().calls.get_mut(&id) {
            call.task = Some(task.abort_handle());
        }
    }
}
