//! What the server's layer does, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use bytes::Bytes;
use std::{
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, advance};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use towpath_auth::{
    Identity, Refusal, StaticTokens, Token, TokensConfig, Verify, VerifyAsync, VerifyConfig, VerifyEvent,
    VerifyLayer,
};
use towpath_core::{Answer, BoxError, Error, ErrorKind, Processed, Request, context::Field};
use towpath_testing::time::timed;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn token(text: &str) -> Token {
    text.parse().unwrap()
}

fn plain(method: &'static str) -> Request<()> {
    Request::new(method, ())
}

fn with(method: &'static str, credential: &str) -> Request<()> {
    let mut request = plain(method);
    let value = Bytes::copy_from_slice(credential.as_bytes());
    request.context_mut().set_field(Field::Authorization, Some(value));
    request
}

fn good() -> Request<()> {
    with("A.B", "Bearer shop")
}

/// Answers with the name of who calls.
async fn who(request: Request<()>) -> Result<String, BoxError> {
    Ok(request.extensions().get::<Identity>().map_or("nobody", Identity::subject).to_owned())
}

#[track_caller]
fn own(outcome: Result<String, BoxError>) -> Error {
    let error = outcome.unwrap_err();
    let own = Error::find(&*error).expect("an error of the layer").clone();
    assert_eq!(own.processed(), Processed::No, "{own}");
    own
}

/// Whoever shows their name is who they say; counts.
fn named(counter: &Arc<AtomicU32>) -> impl Verify<Request<()>, Future: Send> + use<> {
    let counter = counter.clone();
    move |token: &Token, _: &Request<()>| {
        counter.fetch_add(1, SeqCst);
        match token.secret() {
            b"wrong" => Err(Error::new(ErrorKind::Unauthenticated).with_processed(Processed::Unknown)),
            name => Ok(Identity::new(std::str::from_utf8(name).unwrap())),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_verified_once_for_as_long_as_it_holds() {
    let count = Arc::new(AtomicU32::new(0));
    let layer = VerifyLayer::new(named(&count));
    // As a server has them: one for each connection.
    let (mut one, mut other) = (layer.layer(service_fn(who)), layer.layer(service_fn(who)));
    for _ in 0..5 {
        assert_eq!(one.call(good()).await.unwrap(), "shop");
        assert_eq!(other.call(good()).await.unwrap(), "shop");
    }
    assert_eq!(one.call(with("A.B", "bearer  ops")).await.unwrap(), "ops");
    assert_eq!(one.call(good()).await.unwrap(), "shop");
    assert_eq!(count.load(SeqCst), 2);
    advance(secs(60)).await;
    assert_eq!(one.call(good()).await.unwrap(), "shop");
    assert_eq!(other.call(good()).await.unwrap(), "shop");
    assert_eq!(count.load(SeqCst), 3, "it is asked again after a minute, once");
    let counts = layer.handle().counts();
    assert_eq!((counts.verified, counts.recognised, counts.refused), (3, 11, 0));
}

#[tokio::test(start_paused = true)]
async fn no_call_passes_on_what_was_revoked_for_longer_than_the_age() {
    // Revoked elsewhere: the verifier knows, nobody tells the layer.
    let revoked = Arc::new(AtomicU32::new(0));
    let knows = revoked.clone();
    let verifier = move |_: &Token, _: &Request<()>| match knows.load(SeqCst) {
        0 => Ok(Identity::new("shop")),
        _ => Err(ErrorKind::Unauthenticated.into()),
    };
    let layer = VerifyLayer::new(verifier);
    let mut connections: Vec<_> = (0..4).map(|_| layer.layer(service_fn(who))).collect();
    connections[0].call(good()).await.unwrap();
    revoked.store(1, SeqCst);
    // Each connection that comes to know it knows it for as long as the first one does, and no longer.
    for connection in &mut connections[1..] {
        advance(secs(15)).await;
        assert_eq!(connection.call(good()).await.unwrap(), "shop");
    }
    advance(Duration::from_millis(14_999)).await;
    assert_eq!(connections[3].call(good()).await.unwrap(), "shop");
    advance(Duration::from_millis(1)).await;
    for connection in &mut connections {
        assert_eq!(own(connection.call(good()).await).kind(), ErrorKind::Unauthenticated);
    }

    // Told, it knows at once.
    revoked.store(0, SeqCst);
    connections[0].call(good()).await.unwrap();
    connections[0].call(good()).await.unwrap();
    revoked.store(1, SeqCst);
    assert_eq!(layer.handle().kept(), 1);
    layer.handle().forget();
    assert_eq!(layer.handle().kept(), 0);
    own(connections[0].call(good()).await);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_no_longer_than_it_says() {
    let verifier =
        |_: &Token, _: &Request<()>| Ok(Identity::new("shop").with_expiry(Instant::now() + secs(30)));
    let mut service = VerifyLayer::new(verifier).layer(service_fn(who));
    service.call(good()).await.unwrap();
    advance(secs(29)).await;
    service.call(good()).await.unwrap();

    // What had expired already is not let in.
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let start = Instant::now();
    let stale = move |_: &Token, _: &Request<()>| Ok(Identity::new("shop").with_expiry(start + secs(5)));
    let layer = VerifyLayer::new(stale).observe(move |event: &VerifyEvent| {
        if let VerifyEvent::Refused(why, _) = event {
            seen.lock().unwrap().push(*why);
        }
    });
    let mut service = layer.layer(service_fn(who));
    service.call(good()).await.unwrap();
    service.call(good()).await.unwrap();
    advance(secs(5)).await;
    assert_eq!(own(service.call(good()).await).kind(), ErrorKind::Unauthenticated);
    assert_eq!(*events.lock().unwrap(), [Refusal::Expired]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_good_is_refused_each_time_and_holds_nothing() {
    let count = Arc::new(AtomicU32::new(0));
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let layer = VerifyLayer::new(named(&count)).observe(move |event: &VerifyEvent| {
        if let VerifyEvent::Refused(why, _) = event {
            seen.lock().unwrap().push(*why);
        }
    });
    let handle = layer.handle();
    let service = ServiceBuilder::new().layer(layer).layer(ConcurrencyLimitLayer::new(1)).service_fn(who);
    let mut kept = service.clone();
    for request in [plain("A.B"), with("A.B", "Basic x"), with("A.B", "Bearer"), with("A.B", "Bearer wrong")]
    {
        let outcome = kept.ready().await.unwrap().call(request).await;
        assert_eq!(own(outcome).kind(), ErrorKind::Unauthenticated);
        let mut other = service.clone();
        let mut ready = pin!(other.ready());
        assert!(ready.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
    own(kept.ready().await.unwrap().call(with("A.B", "Bearer wrong")).await);
    assert_eq!((count.load(SeqCst), handle.kept(), handle.counts().refused), (2, 0, 5));
    use Refusal::{Invalid, Malformed, Missing};
    assert_eq!(*events.lock().unwrap(), [Missing, Malformed, Malformed, Invalid, Invalid]);
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_s_token_does_not_help() {
    let tokens = TokensConfig::new().with(&token("a-good-and-long-token"), Identity::new("shop")).unwrap();
    let mut service = VerifyLayer::new(StaticTokens::new(tokens)).layer(service_fn(who));
    let good = "Bearer a-good-and-long-token";
    service.call(with("A.B", good)).await.unwrap();
    service.call(with("A.B", good)).await.unwrap();
    // All prefixes of it, and it with more.
    for len in 0..good.len() {
        own(service.call(with("A.B", &good[..len])).await);
    }
    own(service.call(with("A.B", &format!("{good}x"))).await);
    assert_eq!(service.call(with("A.B", good)).await.unwrap(), "shop");
}

#[tokio::test(start_paused = true)]
async fn several_tokens_at_a_time_and_a_change_counts_at_once() {
    let (old, new) = ("Bearer the-old-one-of-shop", "Bearer the-new-one-of-shop");
    let list = |tokens: &[&str]| {
        tokens.iter().fold(TokensConfig::new(), |list, text| {
            list.with(&Token::from_authorization(text.as_bytes()).unwrap(), Identity::new("shop")).unwrap()
        })
    };
    let tokens = StaticTokens::new(list(&[old]));
    let live = tokens.config().clone();
    let mut service = VerifyLayer::new(tokens).layer(service_fn(who));
    service.call(with("A.B", old)).await.unwrap();
    own(service.call(with("A.B", new)).await);
    live.set(list(&[old, new]));
    service.call(with("A.B", old)).await.unwrap();
    service.call(with("A.B", new)).await.unwrap();
    live.set(list(&[new]));
    own(service.call(with("A.B", old)).await);
    service.call(with("A.B", new)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_methods_ask_is_asked_each_time() {
    let config = VerifyConfig::default()
        .with_exempt(["Health.*"].into_iter().collect())
        .with_required(["Orders.*"].into_iter().collect(), "orders");
    let verifier = |_: &Token, _: &Request<()>| Ok(Identity::new("shop"));
    let layer = VerifyLayer::with_config(verifier, config)
        .permit(|caller: &Identity, method: &str| !(caller.subject() == "shop" && method == "Users.Delete"));
    let handle = layer.handle();
    let mut service = layer.layer(service_fn(who));
    for _ in 0..2 {
        assert_eq!(service.call(with("Users.Get", "Bearer x")).await.unwrap(), "shop");
        let denied = own(service.call(with("Users.Delete", "Bearer x")).await);
        assert_eq!(
            (denied.kind(), denied.detail()),
            (ErrorKind::PermissionDenied, "shop may not call Users.Delete")
        );
        let denied = own(service.call(with("Orders.Place", "Bearer x")).await);
        assert_eq!(denied.detail(), "shop lacks the scope \"orders\" for Orders.Place");
        assert_eq!(service.call(plain("Health.Check")).await.unwrap(), "nobody");
    }
    let counts = handle.counts();
    assert_eq!((counts.verified, counts.recognised, counts.refused, counts.exempt), (1, 1, 4, 2));

    // A new config holds from the next call on; one that makes no sense changes nothing.
    let refused =
        handle.config().update(|_| serde_json::from_str(r#"{"exempt": ["*"], "cache_age_ms": 1e9}"#));
    assert!(refused.is_err());
    own(service.call(with("Orders.Place", "Bearer x")).await);
    handle.config().update(|_| serde_json::from_str::<VerifyConfig>("{}")).unwrap();
    assert_eq!(service.call(with("Orders.Place", "Bearer x")).await.unwrap(), "shop");
    own(service.call(plain("Health.Check")).await);
}

#[tokio::test(start_paused = true)]
async fn who_takes_his_time_has_it_until_the_deadline() {
    let dropped = Arc::new(AtomicU32::new(0));
    struct Dropped(Arc<AtomicU32>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let count = dropped.clone();
    let layer = VerifyLayer::new(VerifyAsync(move |_| {
        let dropped = Dropped(count.clone());
        async move {
            let _dropped = dropped;
            pending::<Result<Identity, Error>>().await
        }
    }));
    let never = service_fn(|_: Request<()>| async { panic!("called") as Result<String, BoxError> });
    let service = layer.layer(never);
    let mut due = good();
    due.context_mut().set_deadline(Some(Instant::now() + secs(1)));
    let mut call = pin!(service.oneshot(due));
    let (outcome, took) = timed(call.as_mut()).await;
    assert_eq!(own(outcome).kind(), ErrorKind::DeadlineExceeded);
    assert!(took <= Duration::from_millis(1_001), "{took:?}");
    assert_eq!(dropped.load(SeqCst), 1, "with the answer, not later");
}

#[tokio::test(start_paused = true)]
async fn an_old_reading_of_the_clock_is_not_passed_on() {
    let stamp =
        service_fn(|request: Request<()>| async move { Ok::<_, BoxError>(request.context().stamp()) });
    let slow = VerifyAsync(|_| async {
        tokio::time::sleep(secs(1)).await;
        Ok(Identity::new("shop"))
    });
    let service = VerifyLayer::new(slow).layer(stamp);
    assert_eq!(service.clone().oneshot(good()).await.unwrap(), None);
    assert_eq!(service.oneshot(good()).await.unwrap(), Some(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_depends_on_the_peer_counts_for_that_peer() {
    #[derive(Clone)]
    struct From(u64);
    struct Bound(AtomicU32);
    impl Verify<Request<()>> for Bound {
        type Future = std::future::Ready<Result<Identity, Error>>;
        fn verify(&self, _: &Token, request: &Request<()>) -> Self::Future {
            self.0.fetch_add(1, SeqCst);
            std::future::ready(match self.binding(request) {
                1 => Ok(Identity::new("shop")),
                _ => Err(ErrorKind::Unauthenticated.into()),
            })
        }
        fn binding(&self, request: &Request<()>) -> u64 {
            request.extensions().get::<From>().map_or(0, |from| from.0)
        }
    }
    let from = |n| {
        let mut request = good();
        request.extensions_mut().insert(From(n));
        request
    };
    let mut service = VerifyLayer::new(Bound(AtomicU32::new(0))).layer(service_fn(who));
    for _ in 0..3 {
        service.call(from(1)).await.unwrap();
        own(service.call(from(2)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_else_is_in_the_extensions_stays() {
    let both = service_fn(|request: Request<()>| async move {
        let extensions = request.extensions();
        Ok::<_, BoxError>((
            extensions.get::<Identity>().unwrap().to_string(),
            extensions.get::<u32>().copied(),
        ))
    });
    let verifier = |_: &Token, _: &Request<()>| Ok(Identity::new("shop"));
    let mut service = VerifyLayer::new(verifier).layer(both);
    // The same of one connection, and then other ones: each call keeps its own.
    let mut connection = towpath_core::Extensions::new();
    connection.insert(7u32);
    for n in [7, 7, 7, 8, 8, 0, 0, 7] {
        let mut request = good();
        match n {
            7 => *request.extensions_mut() = connection.clone(),
            0 => {}
            n => request.extensions_mut().insert(n),
        }
        let expected = (n > 0).then_some(n);
        assert_eq!(service.call(request).await.unwrap(), ("shop".to_owned(), expected));
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_are_kept_than_there_is_room_for() {
    let config = VerifyConfig::default().with_cache_entries(10).unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let layer = VerifyLayer::with_config(named(&count), config);
    let mut service = layer.layer(service_fn(who));
    for n in 0..1_000 {
        service.call(with("A.B", &format!("Bearer caller-{n}"))).await.unwrap();
        assert!(layer.handle().kept() <= 10);
    }
    service.call(with("A.B", "Bearer caller-999")).await.unwrap();
    assert_eq!(count.load(SeqCst), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_can_be_answered_and_errors_of_the_service_pass() {
    let verifier = |_: &Token, _: &Request<()>| Ok(Identity::new("shop"));
    let echo = service_fn(|_: Request<()>| async { Ok::<_, std::convert::Infallible>(String::new()) });
    let layer = VerifyLayer::new(verifier).on_reject(Answer(|error: Error| error.kind().code().to_owned()));
    let Ok(code) = layer.layer(echo).oneshot(plain("A.B")).await;
    assert_eq!(code, "MCP-E-007");

    let broken = service_fn(|_: Request<()>| async { Err::<String, BoxError>("broken".into()) });
    let mut service = VerifyLayer::new(verifier).layer(broken);
    for _ in 0..2 {
        assert_eq!(service.call(good()).await.unwrap_err().to_string(), "broken");
    }
}

#[test]
fn once_known_it_needs_no_second_poll() {
    let verifier = |_: &Token, _: &Request<()>| Ok(Identity::new("shop"));
    let mut service = VerifyLayer::new(verifier).layer(service_fn(who));
    for _ in 0..3 {
        let mut call = pin!(service.call(good()));
        assert!(matches!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
    }
}
