//! The layers keep the contract.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use tower_layer::Layer;
use towpath_admin::{RecordConfig, Recorder};
use towpath_limit::{ConcurrencyConfig, ConcurrencyLimitLayer};
use towpath_testing::{Contract, assert_send_value, assert_sync};

fn recorder(sample: f64) -> Recorder {
    Recorder::new(RecordConfig::default().with_sample(sample).unwrap())
}

#[test]
fn each_of_them() {
    for sample in [0.0, 1.0] {
        Contract::new(move || recorder(sample).calls()).verify();
        Contract::new(move || recorder(sample).attempts()).verify();
    }
}

#[test]
fn both_with_a_limit_between() {
    Contract::new(|| {
        let recorder = recorder(1.0);
        (
            recorder.calls(),
            ConcurrencyLimitLayer::new(ConcurrencyConfig::try_new(2).unwrap()),
            recorder.attempts(),
        )
    })
    .verify();
}

#[test]
fn they_can_be_sent() {
    let (calls, attempts) = (recorder(0.0).calls(), recorder(0.0).attempts());
    assert_send_value(calls.layer(()));
    assert_send_value(attempts.layer(()));
    assert_sync::<towpath_admin::Calls<()>>();
    assert_sync::<towpath_admin::Attempts<()>>();
}
