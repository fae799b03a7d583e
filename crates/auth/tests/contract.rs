//! Both layers keep the contract.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use bytes::Bytes;
use std::{
    future::{pending, poll_fn},
    task::Poll,
    time::Duration,
};
use tower::limit::ConcurrencyLimitLayer;
use towpath_auth::{
    Attach, AttachFuture, AttachLayer, Credential, Found, Identity, Never, Renewing, StaticTokens, Token,
    TokenSource, TokensConfig, Verified, VerifyAsync, VerifyConfig, VerifyFuture, VerifyHandle, VerifyLayer,
};
use towpath_core::{BoxError, Error, Request, Response};
use towpath_testing::{
    Contract, assert_send, assert_sync, assert_unpin,
    contract::{Report, Rule},
};

fn token() -> Token {
    "a-token-that-is-long-enough".parse().unwrap()
}

fn tokens() -> StaticTokens {
    StaticTokens::new(TokensConfig::new().with(&token(), Identity::new("shop")).unwrap())
}

fn request() -> Request {
    let mut request = Request::new("Contract.Check", Bytes::new());
    request.set_authorization(&token());
    request
}

fn over<M>(layer: M) -> Contract<M> {
    Contract::with_types(layer, request, || Response::new(Bytes::new()))
        .deadline_by(|request, at| request.context_mut().set_deadline(Some(at)))
}

/// Is polled twice, as what comes over the network is.
async fn turn() {
    let mut waited = false;
    poll_fn(|cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn a_while_later() -> Result<Identity, Error> {
    turn().await;
    Ok(Identity::new("shop"))
}

#[test]
fn the_attach_layer() {
    Contract::new(|| AttachLayer::new(token())).verify();
    let narrow = || ConcurrencyLimitLayer::new(2);
    Contract::new(move || (narrow(), AttachLayer::new(token()), narrow())).verify();
}

/// Waits a moment for each token.
#[derive(Clone)]
struct Slow;

impl TokenSource for Slow {
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Token, Error>> + Send>>;

    fn token(&self, _: tokio::time::Instant) -> Found<Self::Future> {
        Found::Later(Box::pin(async {
            turn().await;
            Ok(token())
        }))
    }
}

#[test]
fn the_attach_layer_when_calls_wait_for_a_token() {
    Contract::new(|| AttachLayer::new(Slow)).verify();
    Contract::new(|| (AttachLayer::new(Slow), ConcurrencyLimitLayer::new(2))).verify();
}

/// No call gets through, so that the other rules cannot be seen.
#[test]
fn a_call_waits_until_its_deadline() {
    #[track_caller]
    fn kept(checked: Result<(), Report>) {
        checked.map_or_else(|report| assert!(!report.breaks(Rule::DeadlineKept), "{report}"), drop);
    }
    let second = Duration::from_secs(1);
    let no_token = || AttachLayer::new(Renewing::new(pending::<Result<_, BoxError>>));
    kept(Contract::new(no_token).gives_up_after(second).check());
    let no_verdict = || VerifyLayer::new(VerifyAsync(|_| pending()));
    kept(over(no_verdict).gives_up_after(second).check());
}

#[test]
fn the_verify_layer() {
    over(|| VerifyLayer::new(tokens())).verify();
    let each = VerifyConfig::default().with_cache_age(Duration::ZERO).unwrap();
    over(move || VerifyLayer::with_config(tokens(), each.clone())).verify();
    over(|| VerifyLayer::new(VerifyAsync(|_| a_while_later()))).verify();
    over(|| {
        VerifyLayer::new(|_: &Token, _: &Request| Ok(Identity::new("shop")))
            .permit(|_: &Identity, _: &str| true)
    })
    .verify();
}

#[test]
fn the_verify_layer_with_a_limit_below_and_above() {
    let narrow = || ConcurrencyLimitLayer::new(2);
    over(move || (narrow(), VerifyLayer::new(tokens()), narrow())).verify();
    over(move || (VerifyLayer::new(VerifyAsync(|_| a_while_later())), narrow())).verify();
}

#[test]
fn the_auto_traits() {
    type Inner = tower::util::BoxCloneSyncService<Request, Response, BoxError>;
    assert_send::<Attach<Inner, Renewing>>();
    assert_sync::<Attach<Inner, Renewing>>();
    assert_unpin::<Attach<Inner, Renewing>>();
    assert_send::<Verified<Inner, StaticTokens>>();
    assert_sync::<Verified<Inner, StaticTokens>>();
    assert_unpin::<Verified<Inner, StaticTokens>>();
    assert_sync::<VerifyHandle>();
    assert_send::<AttachFuture<Inner, Request, Never, (), ()>>();
    assert_send::<VerifyFuture<Inner, Request, std::future::Ready<Result<Identity, Error>>, (), (), ()>>();
}
