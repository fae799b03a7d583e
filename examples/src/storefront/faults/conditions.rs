//! What a replica's calls meet: a layer around its router.

use fastrand::Rng;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower_service::Service;
use towpath::{BoxError, Fault, Request, Response, Router};

/// What a slow replica's answer is taken to need at its ordinary speed, at least: many times nothing would
/// be nothing.
const ORDINARY: Duration = Duration::from_micros(200);

/// What a replica's calls meet at the moment.
pub(crate) struct Conditions {
    /// Nothing goes wrong any more, whatever is said below.
    calm: AtomicBool,
    slow: AtomicBool,
    slow_factor: f64,
    transient_rate: f64,
    transient: fn() -> Fault,
    rng: Mutex<Rng>,
    /// Calls that failed with the transient code.
    failed: AtomicU64,
}

impl Conditions {
    pub(crate) fn new(slow_factor: f64, transient_rate: f64, transient: fn() -> Fault, seed: u64) -> Self {
        Conditions {
            calm: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            slow_factor,
            transient_rate,
            transient,
            rng: Mutex::new(Rng::with_seed(seed)),
            failed: AtomicU64::new(0),
        }
    }

    /// Turns the replica slow, or back.
    pub(crate) fn set_slow(&self, slow: bool) {
        self.slow.store(slow, Relaxed);
    }

    /// Ends everything that goes wrong.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Relaxed);
    }

    /// Calls that failed with the transient code.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// The fault that a call meets, if it meets one.
    fn draw(&self) -> Option<Fault> {
        let draw = || self.rng.lock().unwrap_or_else(PoisonError::into_inner).f64();
        if self.transient_rate == 0.0 || self.calm.load(Relaxed) || draw() >= self.transient_rate {
            return None;
        }
        self.failed.fetch_add(1, Relaxed);
        Some((self.transient)())
    }

    /// How much longer an answer takes that took so long.
    fn delay(&self, took: Duration) -> Duration {
        if !self.slow.load(Relaxed) || self.calm.load(Relaxed) {
            return Duration::ZERO;
        }
        took.max(ORDINARY).mul_f64((self.slow_factor - 1.0).max(0.0))
    }
}

/// A router under conditions.
#[derive(Clone)]
pub(crate) struct Conditioned {
    pub(crate) router: Router,
    pub(crate) conditions: Arc<Conditions>,
}

impl Service<Request> for Conditioned {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.router.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if let Some(fault) = self.conditions.draw() {
            let response = fault.into_response(request.codec());
            return Box::pin(std::future::ready(Ok(response)));
        }
        let conditions = self.conditions.clone();
        let started = Instant::now();
        let answer = self.router.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let delay = conditions.delay(started.elapsed());
            if !delay.is_zero() {
                sleep(delay).await;
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storefront::services::UserFault;

    fn conditioned(factor: f64, rate: f64) -> Conditioned {
        let conditions = Arc::new(Conditions::new(factor, rate, || UserFault::Busy.into(), 1));
        Conditioned { router: Router::new().route("A.B", async || "fine"), conditions }
    }

    async fn call(service: &mut Conditioned) -> Response {
        service.call(Request::new("A.B", Default::default())).await.unwrap()
    }

    #[tokio::test]
    async fn a_share_of_the_calls_fails_until_it_calms_down() {
        let mut service = conditioned(1.0, 0.25);
        let mut faults = 0;
        for _ in 0..1_000 {
            let response = call(&mut service).await;
            if response.is_fault() {
                assert_eq!(Fault::from_response(&response).unwrap().code(), UserFault::Busy.code());
                faults += 1;
            }
        }
        assert!((200..300).contains(&faults), "{faults}");
        assert_eq!(service.conditions.failed(), faults);
        service.conditions.calm_down();
        for _ in 0..1_000 {
            assert!(!call(&mut service).await.is_fault());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_replica_takes_so_many_times_longer() {
        let mut service = conditioned(50.0, 0.0);
        let took = async |service: &mut Conditioned| {
            let started = Instant::now();
            call(service).await;
            started.elapsed()
        };
        assert_eq!(took(&mut service).await, Duration::ZERO);
        service.conditions.set_slow(true);
        let slow = took(&mut service).await;
        assert!(slow >= ORDINARY * 49 && slow < ORDINARY * 52, "{slow:?}");
        service.conditions.set_slow(false);
        assert_eq!(took(&mut service).await, Duration::ZERO);
    }
}
