//! The layer keeps the contract.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use tower::{layer::Layer, limit::ConcurrencyLimitLayer};
use towpath_core::{Request, Response};
use towpath_testing::{Contract, assert_send, assert_sync, assert_unpin};
use towpath_trace::{Recorded, TraceConfig, TraceLayer};

fn config(sample: f64) -> TraceConfig {
    TraceConfig::sampled(sample).unwrap()
}

fn listen(_: &Recorded<'_>) {}

#[test]
fn nobody_listens() {
    for sample in [0.0, 1.0] {
        Contract::new(move || TraceLayer::client(config(sample))).verify();
        Contract::new(move || TraceLayer::attempt(config(sample))).verify();
        Contract::new(move || TraceLayer::server(config(sample))).verify();
    }
}

#[test]
fn somebody_listens() {
    for sample in [0.0, 1.0] {
        Contract::new(move || TraceLayer::client(config(sample)).observe(listen)).verify();
        Contract::new(move || TraceLayer::attempt(config(sample)).observe(listen)).verify();
        Contract::new(move || TraceLayer::server(config(sample)).observe(listen)).verify();
    }
}

#[test]
fn with_spans() {
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
    tracing::subscriber::with_default(subscriber, || {
        Contract::new(|| TraceLayer::client(config(1.0)).observe(listen)).verify();
        Contract::new(|| TraceLayer::attempt(config(1.0))).verify();
        Contract::new(|| TraceLayer::server(config(1.0))).verify();
    });
}

#[test]
fn with_a_limit_below_and_above() {
    let narrow = || ConcurrencyLimitLayer::new(2);
    Contract::new(move || (TraceLayer::client(config(1.0)), narrow())).verify();
    Contract::new(move || (narrow(), TraceLayer::attempt(config(0.0)).observe(listen))).verify();
}

#[cfg(feature = "http")]
#[test]
fn over_http() {
    use axum::{body::Body, http, response::IntoResponse};
    use std::convert::Infallible;
    let request = || http::Request::new(Body::empty());
    let response = || http::StatusCode::OK.into_response();
    type Kit<M> = Contract<M, http::Request<Body>, axum::response::Response, Infallible>;
    Kit::with_types(|| TraceLayer::server(config(1.0)).over_http().observe(listen), request, response)
        .verify();
    Kit::with_types(|| TraceLayer::client(config(0.0)).over_http(), request, response).verify();
}

#[test]
fn the_auto_traits() {
    type Inner = tower::util::BoxCloneSyncService<Request, Response, towpath_core::BoxError>;
    type Made = <TraceLayer as Layer<Inner>>::Service;
    assert_send::<Made>();
    assert_sync::<Made>();
    assert_unpin::<Made>();
    assert_send::<<Made as tower::Service<Request>>::Future>();
    assert_sync::<TraceLayer>();
}
