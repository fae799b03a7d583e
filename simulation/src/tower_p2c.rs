//! tower's own balancer, put together as its documentation does: a list of services with their loads, and a buffer in
//! front, so that it can be cloned.

use crate::{picker::TowerLoad, stack::Outcome};
use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout_at;
use tower::{
    ServiceExt,
    balance::p2c::Balance,
    buffer::Buffer,
    discover::ServiceList,
    load::{CompleteOnResponse, Load, PeakEwma, PendingRequests},
    util::rng::Rng,
};
use tower_service::Service;
use towpath_core::{BoxError, Error, ErrorKind, Request, Response};

/// What an endpoint counts as that has not answered yet, and for how long a latency counts: the numbers of tower's own
/// example.
const RTT: Duration = Duration::from_millis(30);
const DECAY_NANOS: f64 = 10e9;
/// Calls that wait in front of it.
const ROOM: usize = 1024;

/// tower's balancer. It knows no deadlines, so a timeout stands around each call.
#[derive(Clone)]
pub(crate) struct TowerBalance(Buffer<Request, Outcome>);

/// The generator of this thread, so that a seed has one course.
struct Lots;

impl Rng for Lots {
    fn next_u64(&mut self) -> u64 {
        fastrand::u64(..)
    }
}

pub(crate) fn tower_balance<S>(load: TowerLoad, stacks: Vec<S>) -> TowerBalance
where
    S: Service<Request, Response = Response, Error = BoxError> + Send + 'static,
    S::Future: Send + 'static,
{
    let done = CompleteOnResponse::default;
    match load {
        TowerLoad::PeakEwma => {
            over(stacks.into_iter().map(|stack| PeakEwma::new(stack, RTT, DECAY_NANOS, done())).collect())
        }
        TowerLoad::PendingRequests => {
            over(stacks.into_iter().map(|stack| PendingRequests::new(stack, done())).collect())
        }
    }
}

fn over<S>(stacks: Vec<S>) -> TowerBalance
where
    S: Service<Request, Response = Response, Error = BoxError> + Load + Send + 'static,
    S::Metric: fmt::Debug,
    S::Future: Send + 'static,
{
    let balance = Balance::from_rng(ServiceList::new::<Request>(stacks), Lots);
    let boxed = balance.map_future(|answer| Box::pin(answer) as Outcome);
    TowerBalance(Buffer::new(boxed, ROOM))
}

impl Service<Request> for TowerBalance {
    type Response = Response;
    type Error = BoxError;
    type Future = Outcome;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Outcome {
        let deadline = request.context().deadline();
        let answer: Outcome = Box::pin(self.0.clone().oneshot(request));
        Box::pin(async move {
            let Some(deadline) = deadline else { return answer.await };
            let late = |_| Err(Error::new(ErrorKind::DeadlineExceeded).into());
            timeout_at(deadline, answer).await.unwrap_or_else(late)
        })
    }
}
