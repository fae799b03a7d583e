//! The layer keeps the contract.

mod common;

use common::Seen;
use tower::limit::ConcurrencyLimitLayer;
use towpath_metrics::{Metrics, MetricsLayer};
use towpath_testing::{Contract, assert_send, assert_sync};

fn layers(metrics: fn() -> Metrics) {
    Contract::new(move || MetricsLayer::client(&metrics(), "kit")).verify();
    Contract::new(move || MetricsLayer::attempt(&metrics(), "kit")).verify();
    Contract::new(move || MetricsLayer::server(&metrics(), "kit")).verify();
    Contract::new(move || (MetricsLayer::attempt(&metrics(), "kit"), ConcurrencyLimitLayer::new(2))).verify();
}

#[test]
fn nobody_records() {
    layers(Metrics::new);
}

#[test]
fn somebody_records() {
    layers(|| Metrics::to(Seen::default()));
}

#[test]
fn threads_may_share_it() {
    assert_send::<MetricsLayer>();
    assert_sync::<MetricsLayer>();
    assert_send::<Metrics>();
    assert_sync::<Metrics>();
}
