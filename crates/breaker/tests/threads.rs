//! Many threads at one breaker.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not #[test] themselves

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};
use tower::{Layer, Service, service_fn};
use towpath_breaker::{Breaker, BreakerConfig, BreakerLayer, BreakerOptions, ByMethod, State, Window};
use towpath_core::{BoxError, FromContext, Request, Response};

const THREADS: usize = 4;

type Backend = fn(Request) -> std::future::Ready<Result<Response, BoxError>>;
type Service4 =
    Breaker<tower::util::ServiceFn<Backend>, ByMethod, towpath_core::DefaultClassify, FromContext>;

fn service(config: BreakerConfig) -> (Service4, towpath_breaker::Breakers) {
    let backend: Backend = |request| {
        let bad = request.method().as_str().ends_with("Bad");
        std::future::ready(if bad { Err("bad".into()) } else { Ok(Response::new("good".into())) })
    };
    let layer = BreakerLayer::new(config).per_method().honour_context();
    (layer.layer(service_fn(backend)), layer.handle())
}

/// Whether it was let through.
fn call(service: &mut Service4, method: &'static str) -> bool {
    let future = std::pin::pin!(service.call(Request::new(method, Default::default())));
    let Poll::Ready(outcome) = future.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it is there at the first poll")
    };
    outcome.err().is_none_or(|error| !error.to_string().starts_with("MCP-W-105"))
}

fn on_threads(run: impl Fn(usize) + Sync) {
    let together = Barrier::new(THREADS);
    thread::scope(|scope| {
        for n in 0..THREADS {
            let (run, together) = (&run, &together);
            scope.spawn(move || {
                together.wait();
                run(n);
            });
        }
    });
}

#[test]
fn no_call_is_lost_from_the_counts() {
    for window in [Window::Time(Duration::from_secs(3_600)), Window::Calls(1_024)] {
        let options = BreakerOptions { window, min_calls: 1_000, ..BreakerOptions::default() };
        let (service, breakers) = service(BreakerConfig::try_new(options).unwrap());
        on_threads(|_| {
            let mut service = service.clone();
            for n in 0..200 {
                assert!(call(&mut service, if n % 10 == 0 { "Some.Bad" } else { "Some.Good" }));
                assert!(call(&mut service, "Other.Good"));
            }
        });
        let counts = |key: &str| {
            let window = breakers.get(key).unwrap().status().window;
            (window.calls, window.failures)
        };
        assert_eq!(counts("Some.Good"), (720, 0));
        assert_eq!(counts("Some.Bad"), (80, 80));
        assert_eq!(counts("Other.Good"), (800, 0));
        assert_eq!(breakers.keys().len(), 3, "one breaker for each key, however many come first");
    }
}

#[test]
fn it_opens_at_the_very_call_at_which_it_should() {
    for _ in 0..20 {
        let options = BreakerOptions {
            open: Duration::from_secs(3_600),
            open_max: Duration::from_secs(3_600),
            ..BreakerOptions::default()
        };
        let (service, breakers) = service(BreakerConfig::try_new(options).unwrap());
        let through = Arc::new(AtomicUsize::new(0));
        on_threads(|_| {
            let mut service = service.clone();
            for _ in 0..50 {
                through.fetch_add(usize::from(call(&mut service, "Some.Bad")), SeqCst);
            }
        });
        let breaker = breakers.get("Some.Bad").unwrap();
        let through = through.load(SeqCst);
        assert_eq!((breaker.state(), breaker.status().tripped.failures), (State::Open, 20));
        // Those that had been let through when the twentieth failed end unheard.
        assert!((20..20 + THREADS).contains(&through), "{through}");
        assert_eq!(breaker.rejected() as usize, 50 * THREADS - through);
    }
}
