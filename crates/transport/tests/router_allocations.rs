//! What a call through the router allocates: one box for its handler's future, and nothing to find it.
#![allow(unsafe_code)]

use bytes::Bytes;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};
use tower::Service;
use towpath_core::{Metadata, Method, Request};
use towpath_transport::router::{Handler, Raw, Router, State};

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

/// How often one call allocates, once everything is warm.
fn allocations(router: &Router, method: &'static str) -> usize {
    let mut last = 0;
    for _ in 0..3 {
        let mut router = router.clone();
        let request = Request::new(Method::from_static(method), Bytes::from_static(b"body"));
        let before = COUNT.get();
        {
            let mut future = pin!(router.call(request));
            let mut task = Context::from_waker(Waker::noop());
            let response = loop {
                if let Poll::Ready(result) = future.as_mut().poll(&mut task) {
                    break result;
                }
            };
            assert!(response.is_ok_and(|response| !response.is_fault()));
        }
        last = COUNT.get() - before;
    }
    last
}

#[test]
fn one_per_call() {
    let mut router = Router::new()
        .route("Echo.Echo", async |raw: Raw| raw)
        .route("Echo.More", async |_: Method, _: Metadata, State(_): State<u64>, body: Bytes| body)
        .route("Echo.Spawned", (async |raw: Raw| raw).spawned())
        .route_service("Echo.Service", Router::new().route("Echo.Service", async |raw: Raw| raw));
    for i in 0..1000 {
        router = router.route(format!("Filler.Method{i}"), async || ());
    }
    let router = router.nest("Nested", Router::new().fallback(async |raw: Raw| raw)).with_state(7);
    assert_eq!(allocations(&router, "Echo.Echo"), 1);
    assert_eq!(allocations(&router, "Echo.More"), 1);
    assert_eq!(allocations(&router, "Nested.Whatever"), 1);
    // One to hold the call until it is moved, which the handler's future then takes the place in.
    assert_eq!(allocations(&router, "Echo.Spawned"), 1);
    // The router's own, and that of the service, which is a router.
    assert_eq!(allocations(&router, "Echo.Service"), 2);
}
