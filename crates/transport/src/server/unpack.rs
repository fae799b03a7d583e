//! Compressed bodies on their way in and out, aside from the connection's own task.

use super::{
    answer,
    call::CallFuture,
    connection::{Begun, ServerConnection},
    shared::Call,
    work::arrived,
};
use crate::compression::unpack_request;
use bytes::Bytes;
use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    task::{JoinError, spawn_blocking},
    time::Instant,
};
use tower_service::Service;
use towpath_codec::{Compressed, RequestHead, kind};
use towpath_core::{Acceptance, BoxError, CodecId, Error, ErrorKind, Mode, Request, Response, context};

/// Bodies above this size are not compressed or decompressed where others wait for it.
pub(super) const AT_ONCE: usize = 64 * 1024;

/// So many of them are in work at a time on one connection. What is begun cannot be stopped: a peer that cancels
/// its calls as fast as it makes them would have hundreds in work, with up to `max_payload` bytes each that no
/// longer count as held.
pub(crate) const TURNS: usize = 2;

/// Work on a large body, on a thread for that, when it has its turn. Who gives up before that has it not done.
async fn aside<T: Send + 'static>(
    turns: Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    // It fails when the semaphore is closed, which it never is.
    let turn = turns.acquire_owned().await.ok();
    spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    })
    .await
}

/// A request whose body is being decompressed.
pub(crate) enum Unpacking {
    /// A short one: where the call is.
    Here(Request),
    Elsewhere(Pin<Box<dyn Future<Output = Result<Request, Error>> + Send>>),
}

impl Unpacking {
    fn new(mut request: Request, len: usize, turns: impl FnOnce() -> Arc<Semaphore>) -> Self {
        if len <= AT_ONCE {
            return Unpacking::Here(request);
        }
        let turns = turns();
        Unpacking::Elsewhere(Box::pin(async {
            let unpacked = aside(turns, move || unpack_request(&mut request).map(|()| request)).await;
            unpacked.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Cancelled)
                    .because("the runtime ended while its body was decompressed"))
            })
        }))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Request, Error>> {
        match self {
            Unpacking::Here(request) => Poll::Ready(unpack_request(request).map(|()| mem::take(request))),
            Unpacking::Elsewhere(unpacked) => unpacked.as_mut().poll(cx),
        }
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
        let mut request = head.begin_request(payload);
        arrived(&head, &mut request, due);
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
        // A clone is a user's code: if it panics, it is this call that ends.
        self.begun = Some(Begun { id, mode, codec });
        let entered = context::enter(&call.context);
        let service = self.service.clone();
        drop(entered);
        self.begun = None;
        let unpacking = Unpacking::new(request, len, || self.shared.turns());
        self.place.set(CallFuture::Packed { service: Some(service), unpacking });
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
        self.pack_aside(id, response);
    }

    /// The answer of a call that stands in the table is there at once, and is large.
    #[cold]
    pub(super) fn pack_aside(&mut self, id: u64, response: Response) {
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            let packing = shared.clone();
            let packed = aside(shared.turns(), move || packing.packing.packed(response)).await;
            shared.finish(id, packed.map_err(Into::into));
        });
        if let Some(call) = self.shared.lock().calls.get_mut(&id) {
            call.task = Some(task.abort_handle());
        }
    }
}

#[cfg(all(test, feature = "zstd"))]
mod tests {
    use super::*;
    use std::task::Waker;
    use towpath_codec::{Algorithm, Compressed};

    /// However many are given up: no more are in work than have their turn, and none that was given up before.
    #[tokio::test]
    async fn large_bodies_are_unpacked_in_turn() {
        let turns = Arc::new(Semaphore::new(TURNS));
        let all = turns.clone().acquire_many_owned(TURNS as u32).await.unwrap();
        let body = towpath_codec::compress(Algorithm::Zstd, &vec![b'0'; 1 << 20]).unwrap();
        let unpacking = || {
            let mut request = Request::new("A.B", body.clone());
            request.extensions_mut().insert(Compressed);
            Unpacking::new(request, 1 << 20, || turns.clone())
        };
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            assert!(unpacking().poll(&mut cx).is_pending());
        }
        let mut kept = unpacking();
        assert!(kept.poll(&mut cx).is_pending());
        assert_eq!(Arc::strong_count(&turns), 3, "this one, that of the turns, that of who waits");
        drop(all);
        let request = std::future::poll_fn(|cx| kept.poll(cx)).await.unwrap();
        assert_eq!(request.body().len(), 1 << 20);
        assert_eq!(turns.available_permits(), TURNS);
    }
}
