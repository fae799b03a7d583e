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
use towpath_auth::{Credential, Identity, Token, VerifyConfig, VerifyLayer};
use towpath_core::{BoxError, Request, Response};

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

fn request() -> Request {
    let mut request = Request::new("A.B", Bytes::from_static(b"body"));
    request.set_authorization(&"a-token-that-is-long-enough".parse().unwrap());
    request
}

fn shop(_: &Token, _: &Request) -> Result<Identity, towpath_core::Error> {
    Ok(Identity::new("shop"))
}

#[test]
fn a_caller_who_is_known_costs_nothing() {
    assert_eq!(allocations(VerifyLayer::new(shop).layer(Quick), &request()), 0);
    // With what a connection tells of its peer.
    let mut told = request();
    told.extensions_mut().insert(7u32);
    assert_eq!(allocations(VerifyLayer::new(shop).layer(Quick), &told), 0);
    let each = VerifyConfig::default().with_cache_age(std::time::Duration::ZERO).unwrap();
    assert!(allocations(VerifyLayer::with_config(shop, each).layer(Quick), &request()) > 0, "it is counted");
}

#[test]
fn nor_does_one_whom_nobody_asks() {
    let exempt = VerifyConfig::default().with_exempt(["A.*"].into_iter().collect());
    assert_eq!(allocations(VerifyLayer::with_config(shop, exempt).layer(Quick), &request()), 0);
}
