//! A balancer keeps the contract.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use tower::layer::layer_fn;
use towpath_balance::{BalanceConfig, Balancer};
use towpath_core::{BoxError, Endpoint, Request, Response};
use towpath_testing::{Contract, contract::Probe};

type Inner = Probe<Request, Response, BoxError>;

fn endpoints(n: usize) -> Vec<Endpoint> {
    (0..n).map(|n| Endpoint::new(format!("mcp://10.0.0.{n}:1"))).collect()
}

#[test]
fn over_one_endpoint_that_says_nothing_of_itself() {
    let layer = || {
        layer_fn(|inner: Inner| {
            let make = move |_: Endpoint| inner.clone();
            Balancer::new(BalanceConfig::default()).fixed::<_, _, Request>(endpoints(1), make)
        })
    };
    Contract::new(layer).verify();
}

#[test]
fn over_three_that_are_connected() {
    let layer = || {
        layer_fn(|inner: Inner| {
            let make = move |endpoint: Endpoint| {
                endpoint.state().set_ready();
                inner.clone()
            };
            let balancer = Balancer::new(BalanceConfig::default()).honour_context();
            balancer.fixed::<_, _, Request>(endpoints(3), make)
        })
    };
    Contract::new(layer).verify();
}
