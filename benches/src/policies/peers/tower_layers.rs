//! Those of tower itself.

use super::{MANY, PER_SECOND, SECOND, peer};
use crate::policies::{
    Policy,
    subject::{Immediate, alone, clones},
};
use std::{
    future::{Ready, ready},
    sync::Arc,
};
use tower::{
    balance::p2c::Balance,
    buffer::Buffer,
    discover::ServiceList,
    limit::{ConcurrencyLimit, RateLimit, rate::Rate},
    load::{CompleteOnResponse, PeakEwma},
    load_shed::LoadShed,
    retry::{
        Policy as RetryPolicy, Retry,
        budget::{Budget, TpsBudget},
    },
    timeout::Timeout,
};
use towpath_core::Request;

const INNER: Immediate = Immediate::new();

pub(super) fn policies() -> Vec<Policy> {
    let tower = |layer, note, start| peer(layer, "tower", note, start);
    vec![
        tower("timeout", "", || Ok(clones(Timeout::new(INNER, SECOND)))),
        tower("retry", "with its budget", || Ok(clones(Retry::new(Budgeted::default(), INNER)))),
        tower("concurrency limit", "", || Ok(clones(ConcurrencyLimit::new(INNER, MANY)))),
        tower("concurrency limit", "with load_shed", || {
            Ok(clones(LoadShed::new(ConcurrencyLimit::new(INNER, MANY))))
        }),
        tower("rate limit", "cannot be cloned", || {
            Ok(alone(RateLimit::new(INNER, Rate::new(PER_SECOND.into(), SECOND))))
        }),
        tower("rate limit", "with buffer", || {
            Ok(clones(Buffer::new(RateLimit::new(INNER, Rate::new(PER_SECOND.into(), SECOND)), MANY)))
        }),
        tower("balance over 10", "cannot be cloned", || Ok(alone(balance(10)))),
        tower("balance over 10", "with buffer", || Ok(clones(Buffer::new(balance(10), MANY)))),
        tower("balance over 10 000", "cannot be cloned", || Ok(alone(balance(10_000)))),
        tower("buffer", "", || Ok(clones(Buffer::new(INNER, MANY)))),
    ]
}

/// By the better one of two, over a peak EWMA of latency.
fn balance(endpoints: usize) -> Balance<ServiceList<Vec<PeakEwma<Immediate>>>, Request> {
    let measured = |_| PeakEwma::new(INNER, SECOND, 1e9, CompleteOnResponse::default());
    Balance::new(ServiceList::new((0..endpoints).map(measured).collect::<Vec<_>>()))
}

/// Up to two retries, out of a budget of 20 % and 10 a second. (What it is called for here is successes.)
#[derive(Clone, Debug)]
pub(super) struct Budgeted {
    budget: Arc<TpsBudget>,
    left: u32,
}

impl Default for Budgeted {
    fn default() -> Self {
        Budgeted { budget: Arc::new(TpsBudget::new(10 * SECOND, 10, 0.2)), left: 2 }
    }
}

impl<Req: Clone, Res, E> RetryPolicy<Req, Res, E> for Budgeted {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Req, result: &mut Result<Res, E>) -> Option<Ready<()>> {
        if result.is_ok() {
            self.budget.deposit();
            return None;
        }
        let again = self.left > 0 && self.budget.withdraw();
        self.left = self.left.saturating_sub(1);
        again.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}
