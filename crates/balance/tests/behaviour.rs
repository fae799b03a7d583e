//! What a balancer does, on paused time.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use tower::{ServiceExt, service_fn};
use towpath_balance::{BalanceConfig, Balancer, RoundRobin};
use towpath_core::{BoxError, Class, Endpoint, Fixed};

fn outcome<T>(outcome: Result<&T, &BoxError>) -> Class {
    outcome.map_or(Class::FAILURE, |_| Class::SUCCESS)
}

#[tokio::test(start_paused = true)]
async fn smoke() {
    let endpoints: Vec<_> = (0..3).map(|n| Endpoint::new(format!("mcp://10.0.0.{n}:1"))).collect();
    let make = |endpoint: Endpoint| {
        service_fn(move |_: &'static str| {
            let endpoint = endpoint.clone();
            async move { Ok::<_, BoxError>(endpoint.address().to_string()) }
        })
    };
    let balance = Balancer::new(BalanceConfig::default())
        .pick_by(RoundRobin::new())
        .classify(outcome)
        .over(Fixed::new(endpoints), make);
    let handle = balance.handle();
    for _ in 0..30 {
        balance.clone().oneshot("x").await.unwrap();
    }
    println!("{:?}", handle.endpoints());
    assert!(handle.endpoints().iter().all(|view| view.picks == 10 && view.in_flight == 0));
}
