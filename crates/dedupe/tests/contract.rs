//! The layer keeps the contract, with keys and without.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tower::limit::ConcurrencyLimitLayer;
use towpath_core::{BoxError, Request, Response, context::Field};
use towpath_dedupe::{Dedupe, DedupeConfig, DedupeFuture, DedupeHandle, DedupeLayer, Inline};
use towpath_testing::{Contract, assert_send, assert_sync, assert_unpin};

fn layer() -> DedupeLayer<Response> {
    DedupeLayer::new(DedupeConfig::default())
}

/// Each with a key of its own: the kit sees what happens to the inner service.
fn keyed() -> Request {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut request = Request::new("Contract.Check", Bytes::new());
    let key = NEXT.fetch_add(1, SeqCst).to_string();
    request.context_mut().set_field(Field::IdempotencyKey, Some(key.into()));
    request
}

fn over<M>(layer: M) -> Contract<M> {
    Contract::with_types(layer, keyed, || Response::new(Bytes::new()))
        .deadline_by(|request, at| request.context_mut().set_deadline(Some(at)))
}

#[test]
fn without_a_key() {
    Contract::new(layer).verify();
}

#[test]
fn with_keys() {
    over(layer).verify();
    let narrow = || ConcurrencyLimitLayer::new(2);
    over(move || (narrow(), layer(), narrow())).verify();
}

#[test]
fn with_keys_and_an_answer_of_its_own() {
    let reject = towpath_core::Answer(|_| Response::new(Bytes::from_static(b"no")));
    over(move || layer().on_reject(reject)).verify();
}

#[test]
fn the_auto_traits() {
    type Inner = tower::util::BoxCloneSyncService<Request, Response, BoxError>;
    type Plain = towpath_core::DefaultClassify;
    assert_send::<Dedupe<Inner, Response>>();
    assert_sync::<Dedupe<Inner, Response>>();
    assert_unpin::<Dedupe<Inner, Response>>();
    assert_sync::<DedupeHandle<Response>>();
    assert_sync::<DedupeLayer<Response>>();
    assert_send::<DedupeFuture<Inner, Request, Response, Inline, Plain, (), ()>>();
}
