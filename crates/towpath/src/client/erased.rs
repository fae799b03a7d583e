//! Any stack as one type: a call costs one allocation, its future.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    task::{Context, Poll, ready},
};
use tower_service::Service;
use towpath_core::{BoxError, Loan, PerThread, Request, Response, Shared};

/// The future of a call whose stack is not known any more.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

/// A stack behind a shared reference.
/// A stack of whatever type.
pub(super) trait Erased: Send + Sync {
    fn call(&self, request: Request) -> Answer;
}

pub(super) fn erase<S>(stack: S) -> Box<dyn Erased>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    let own = PerThread::new(|| Mutex::new(stack.clone()));
    Box::new(Stack(Shared::new(Clones { own, spare: Mutex::new(stack) })))
}

/// A clone of the stack for each thread: a call need not make one, which costs a reference count and more for each
/// layer.
struct Clones<S> {
    own: PerThread<Mutex<S>>,
    /// Locked to be cloned, and for nothing else.
    spare: Mutex<S>,
}

struct Stack<S>(Shared<Clones<S>>);

impl<S> Erased for Stack<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    fn call(&self, request: Request) -> Answer {
        Box::pin(Oneshot { state: State::Start { clones: Some(self.0.lend()), request: Some(request) } })
    }
}

pin_project! {
    struct Oneshot<S: Service<Request>> {
        #[pin]
        state: State<S, S::Future>,
    }
}

pin_project! {
    // `Start` → `Called`, or `Start` → `NotReady` → `Called`.
    #[project = StateProj]
    enum State<S, F> {
        Start { clones: Option<Loan<Clones<S>>>, request: Option<Request> },
        // Boxed, because it is rare, and a stack is large: every call would be as large.
        NotReady { waiting: Box<Waiting<S>> },
        Called { #[pin] answer: F },
    }
}

/// The clone lives in the future: what is readied is what is called, and its permit goes with it.
struct Waiting<S> {
    stack: S,
    request: Option<Request>,
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

impl<S> Future for Oneshot<S>
where
    S: Service<Request, Response = Response> + Clone,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Called { answer } => return answer.poll(cx).map_err(Into::into),
                // The thread's clone is called, if it is ready at once, as is the rule.
                StateProj::Start { clones, request } => {
                    // Taken once: the state changes with it.
                    let (Some(clones), Some(request)) = (clones.take(), request.take()) else {
                        return Poll::Pending;
                    };
                    let mut taken = clones.take();
                    let stack = taken.stack();
                    match stack.poll_ready(cx) {
                        Poll::Ready(Ok(())) => state.set(State::Called { answer: stack.call(request) }),
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                        Poll::Pending => {
                            let (stack, request) = (clones.detach(taken), Some(request));
                            state.set(State::NotReady { waiting: Box::new(Waiting { stack, request }) });
                            return Poll::Pending;
                        }
                    }
                }
                StateProj::NotReady { waiting } => {
                    let Waiting { stack, request } = &mut **waiting;
                    ready!(stack.poll_ready(cx)).map_err(Into::into)?;
                    // Taken once: the state changes with it.
                    let Some(request) = request.take() else { return Poll::Pending };
                    let answer = stack.call(request);
                    state.set(State::Called { answer });
                }
            }
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

    /// A clone that waited for its turn goes with its call; the next call of the thread has another one.
    #[test]
    fn what_is_readied_is_what_is_called() {
        let inner = service_fn(|_: Request| async {
            tokio::task::yield_now().await;
            Ok::<_, BoxError>(Response::default())
        });
        let stack = ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(1)).service(inner);
        let stack = erase(stack);
        let mut calls: Vec<_> = (0..3).map(|_| task::spawn(stack.call(request()))).collect();
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
            let mut call = task::spawn(stack.call(request()));
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call.poll()));
            assert!(caught.is_err());
        }
        assert!(assert_ready!(task::spawn(stack.call(request())).poll()).is_ok());
    }

    /// A service that makes a call on its own stack, in the middle of being called.
    #[test]
    fn a_call_within_a_call_finds_a_clone() {
        let outer: Arc<std::sync::OnceLock<Box<dyn Erased>>> = Arc::default();
        let stack = {
            let outer = outer.clone();
            service_fn(move |request: Request| {
                if request.method().as_bytes() == b"A.B" {
                    let within = outer.get().unwrap().call(Request::new("A.C", bytes::Bytes::new()));
                    assert!(assert_ready!(task::spawn(within).poll()).is_ok());
                }
                async { Ok::<_, BoxError>(Response::default()) }
            })
        };
        assert!(outer.set(erase(stack.map_response(|response: Response| response))).is_ok());
        assert!(assert_ready!(task::spawn(outer.get().unwrap().call(request())).poll()).is_ok());
    }
}
