//! What a call allocates that asks for nothing new: nothing.
#![allow(unsafe_code, clippy::unwrap_used)]

use bytes::Bytes;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::{Future, Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
};
use tower::{Layer, Service};
use towpath_core::{BoxError, Request, Response, context::Field};
use towpath_dedupe::{DedupeConfig, DedupeLayer};

/// Counts what this thread asks for.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers at once.
#[derive(Clone)]
struct Quick;

impl Service<Request> for Quick {
    type Response = Response;
    type Error = BoxError;
    type Future = Ready<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        ready(Ok(Response::new(Bytes::from_static(b"ok"))))
    }
}

/// How often one call allocates, once everything is warm.
fn allocations<S>(mut service: S, request: &Request) -> usize
where
    S: Service<Request, Response = Response, Error = BoxError>,
{
    let mut last = 0;
    for _ in 0..4 {
        let request = request.clone();
        let before = COUNT.get();
        {
            let mut task = Context::from_waker(Waker::noop());
            assert!(service.poll_ready(&mut task).is_ready());
            let mut future = pin!(service.call(request));
            assert!(matches!(future.as_mut().poll(&mut task), Poll::Ready(Ok(_))));
        }
        last = COUNT.get() - before;
    }
    last
}

#[test]
fn a_call_without_a_key_costs_nothing_and_a_repetition_little() {
    let mut request = Request::new("A.B", Bytes::from_static(b"body"));
    let layer = DedupeLayer::new(DedupeConfig::default());
    assert_eq!(allocations(layer.layer(Quick), &request), 0);
    request.context_mut().set_field(Field::IdempotencyKey, Some(Bytes::from_static(b"k")));
    assert_eq!(allocations(layer.layer(Quick), &request), 0, "what is kept is shared");
}
