//! Any stack as one type: a call costs one allocation, its future.

use super::handle::Inner;
use pin_project_lite::pin_project;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{BoxError, Loan, PerThread, Request, Response};

/// The answer of a call whose stack is not known any more. Nothing happens before the first poll: the stack is called then.
pub(super) struct Answer(State);

// A request is carried here until the first poll rather than in a box, which would have to be made before it is known what
// is to be in it in the end: it was written as a whole, and the future written over it.
#[allow(clippy::large_enum_variant)]
enum State {
    Start { client: Loan<Inner>, of: Of, request: Option<Request> },
    Called(Running),
    Over,
}

/// Which of a client's stacks.
#[derive(Clone, Copy)]
pub(super) enum Of {
    /// That with the client's deadline.
    Client,
    /// That for calls with one of their own.
    Call,
}

/// A call that was begun.
type Running = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

impl Answer {
    #[inline]
    pub(super) fn new(client: Loan<Inner>, of: Of, request: Request) -> Self {
        Answer(State::Start { client, of, request: Some(request) })
    }
}

impl Future for Answer {
    type Output = Result<Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.get_mut().0;
        let begun = match state {
            State::Called(running) => return running.as_mut().poll(cx),
            State::Start { client, of, request } if request.is_some() => client.stack(*of).begin(request, cx),
            // Polled after its end, or after a panic.
            State::Start { .. } | State::Over => return Poll::Pending,
        };
        *state = State::Over;
        let mut running = begun?;
        let polled = running.as_mut().poll(cx);
        if polled.is_pending() {
            *state = State::Called(running);
        }
        polled
    }
}

/// A stack of whatever type, behind a shared reference.
pub(super) trait Erased: Send + Sync {
    /// Calls it, if it is ready at once, as is the rule; else what is begun waits for that. The request is taken from where it
    /// is: it is large, and each move is a copy.
    fn begin(&self, request: &mut Option<Request>, cx: &mut Context<'_>) -> Result<Running, BoxError>;
}

pub(super) fn erase<S>(stack: S) -> Box<dyn Erased>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    let own = PerThread::new(|| Mutex::new(stack.clone()));
    Box::new(Clones { own, spare: Mutex::new(stack) })
}

/// A clone of the stack for each thread: a call need not make one, which costs a reference count and more for each
/// layer.
struct Clones<S> {
    own: PerThread<Mutex<S>>,
    /// Locked to be cloned, and for nothing else.
    spare: Mutex<S>,
}

impl<S> Erased for Clones<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    fn begin(&self, request: &mut Option<Request>, cx: &mut Context<'_>) -> Result<Running, BoxError> {
        let mut taken = self.take();
        match taken.stack().poll_ready(cx) {
            Poll::Ready(Ok(())) => Ok(Box::into_pin(called(taken.stack(), request))),
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Pending => Ok(Box::pin(wait(self.detach(taken), request.take().unwrap_or_default()))),
        }
    }
}

/// A function of its own, in which nothing is alive that would have to be dropped if the stack panicked: the compiler
/// makes fewer copies then.
#[inline(never)]
fn called<S: Service<Request>>(stack: &mut S, request: &mut Option<Request>) -> Box<Called<S::Future>> {
    // It is there: this is done once for each call.
    Box::new(Called { answer: stack.call(request.take().unwrap_or_default()) })
}

/// The clone lives in the future: what is readied is what is called, and its permit goes with it.
async fn wait<S>(mut stack: S, request: Request) -> Result<Response, BoxError>
where
    S: Service<Request, Response = Response>,
    S::Error: Into<BoxError>,
{
    poll_fn(|cx| stack.poll_ready(cx)).await.map_err(Into::into)?;
    stack.call(request).await.map_err(Into::into)
}

pin_project! {
    struct Called<F> {
        #[pin]
        answer: F,
    }
}

impl<F, E> Future for Called<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().answer.poll(cx).map_err(Into::into)
    }
}

/// A thread's clone; or one more, if that is in use: by a thread that shares it, or further up on this one.
enum Taken<'a, S> {
    Own(MutexGuard<'a, S>),
    New(S),
}

impl<S: Clone> Clones<S> {
    #[inline]
    fn take(&self) -> Taken<'_, S> {
        match self.own.get().try_lock() {
            Ok(own) => Taken::Own(own),
            Err(error) => self.take_otherwise(error),
        }
    }

    #[cold]
    fn take_otherwise<'a>(&'a self, error: TryLockError<MutexGuard<'a, S>>) -> Taken<'a, S> {
        match error {
            TryLockError::WouldBlock => Taken::New(self.one_more()),
            // A layer panicked with it. What it had reserved goes with it.
            TryLockError::Poisoned(own) => {
                let mut own = own.into_inner();
                *own = self.one_more();
                self.own.get().clear_poison();
                Taken::Own(own)
            }
        }
    }

    /// What was taken, alone; the thread gets another one.
    #[cold]
    fn detach(&self, taken: Taken<'_, S>) -> S {
        match taken {
            Taken::Own(mut own) => std::mem::replace(&mut *own, self.one_more()),
            Taken::New(stack) => stack,
        }
    }

    fn one_more(&self) -> S {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S> Taken<'_, S> {
    #[inline]
    fn stack(&mut self) -> &mut S {
        match self {
            Taken::Own(own) => own,
            Taken::New(stack) => stack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };
    use tokio_test::{assert_pending, assert_ready, task};
    use tower::{ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

    fn request() -> Request {
        Request::new("A.B", bytes::Bytes::new())
    }

    async fn call(stack: &dyn Erased, request: Request) -> Result<Response, BoxError> {
        let mut request = Some(request);
        poll_fn(|cx| Poll::Ready(stack.begin(&mut request, cx))).await?.await
    }

    /// A clone that waited for its turn goes with its call; the next call of the thread has another one.
    #[test]
    fn what_is_readied_is_what_is_called() {
        let inner = service_fn(|_: Request| async {
            tokio::task::yield_now().await;
            Ok::<_, BoxError>(Response::default())
        });
        let stack = ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(1)).service(inner);
        let stack = erase(stack);
        let mut calls: Vec<_> = (0..3).map(|_| task::spawn(call(&*stack, request()))).collect();
        calls.iter_mut().for_each(|call| assert_pending!(call.poll()));
        drop(calls.remove(1));
        let mut last = calls.pop().unwrap();
        assert_pending!(last.poll());
        let mut first = calls.pop().unwrap();
        assert!(assert_ready!(first.poll()).is_ok());
        drop(first);
        assert!(last.is_woken());
        assert_pending!(last.poll());
        assert!(assert_ready!(last.poll()).is_ok());
    }

    /// A panic in a layer takes its clone with it, and what that had reserved.
    #[test]
    fn a_panic_harms_no_other_call() {
        let calls = Arc::new(AtomicUsize::new(0));
        let inner = service_fn(move |_: Request| {
            if calls.fetch_add(1, Relaxed) < 2 {
                panic!("on purpose");
            }
            async { Ok::<_, BoxError>(Response::default()) }
        });
        let stack = ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(1)).service(inner);
        let stack = erase(stack);
        for _ in 0..2 {
            let mut call = task::spawn(call(&*stack, request()));
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call.poll()));
            assert!(caught.is_err());
        }
        assert!(assert_ready!(task::spawn(call(&*stack, request())).poll()).is_ok());
    }

    /// A service that makes a call on its own stack, in the middle of being called.
    #[test]
    fn a_call_within_a_call_finds_a_clone() {
        let outer: Arc<std::sync::OnceLock<Box<dyn Erased>>> = Arc::default();
        let stack = {
            let outer = outer.clone();
            service_fn(move |request: Request| {
                if request.method().as_bytes() == b"A.B" {
                    let within = call(&**outer.get().unwrap(), Request::new("A.C", bytes::Bytes::new()));
                    assert!(assert_ready!(task::spawn(within).poll()).is_ok());
                }
                async { Ok::<_, BoxError>(Response::default()) }
            })
        };
        assert!(outer.set(erase(stack.map_response(|response: Response| response))).is_ok());
        assert!(assert_ready!(task::spawn(call(&**outer.get().unwrap(), request())).poll()).is_ok());
    }
}
