//! Layers of one's own, on both sides.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{Ask, User, UserFault, router, serve, soon};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn, timeout::TimeoutLayer};
use towpath::{
    BoxError, CallError, Client, ClientState, CodecId, Error, ErrorKind, Fault, Request, Response, Router,
    Server,
    timeout::{DeadlineLayer, TimeoutConfig},
};

#[tokio::test]
async fn layers_stand_within_the_deadline_first_one_outermost() {
    let server = serve(router()).await;
    let note = |word: &'static str| {
        tower::util::MapRequestLayer::new(move |mut request: Request| {
            assert!(request.context().deadline().is_some(), "the deadline is stamped outside");
            let before = request.metadata().get_str("way").unwrap_or_default().to_owned();
            request.metadata_mut().insert("way", before + word).unwrap();
            request
        })
    };
    let last = tower::util::MapRequestLayer::new(|mut request: Request| {
        let way = request.metadata().get_bytes("way").unwrap();
        *request.body_mut() = way;
        request.set_codec(CodecId::RAW);
        request
    });
    let stack = ServiceBuilder::new().layer(note("b")).layer(note("c"));
    let client =
        Client::builder().layer(note("a")).layer(stack).layer(last).connect(server.url()).await.unwrap();
    let way: String = client.request("Echo.Echo").raw("").send().await.unwrap();
    assert_eq!(way, "abc");
}

#[tokio::test]
async fn the_default_stack_can_be_replaced() {
    let server = serve(router()).await;
    let deadline = DeadlineLayer::new(TimeoutConfig::try_new(Duration::from_secs(5)).unwrap());
    let client = Client::builder()
        .without_defaults()
        .layer(ServiceBuilder::new().layer(deadline).layer(ConcurrencyLimitLayer::new(2)))
        .connect(server.url())
        .await
        .unwrap();
    let left: Option<u64> = client.call("Debug.Left", &()).await.unwrap();
    assert!((4_000..=5_000).contains(&left.unwrap()), "{left:?}");
}

#[tokio::test]
async fn a_foreign_layer_s_limit_is_shared_and_its_error_is_passed_on() {
    let server = serve(router()).await;
    let most = Arc::new(AtomicU32::new(0));
    let now = Arc::new(AtomicU32::new(0));
    let (counted, peak) = (now.clone(), most.clone());
    let count = tower::util::MapFutureLayer::new(move |call| {
        let (now, most) = (counted.clone(), peak.clone());
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            let answer: Result<Response, BoxError> = call.await;
            now.fetch_sub(1, SeqCst);
            answer
        }
    });
    let stack = ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(3)).layer(count);
    let client = Client::builder().layer(stack).connect(server.url()).await.unwrap();
    let calls: Vec<_> = (0..20u64)
        .map(|_| tokio::spawn(client.clone().call::<u64>("Debug.Sleep", &serde_json::json!({"ms": 10}))))
        .collect();
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    assert_eq!((most.load(SeqCst), now.load(SeqCst)), (3, 0));

    let hasty = TimeoutLayer::new(Duration::from_millis(50));
    let client = Client::builder().layer(hasty).connect(server.url()).await.unwrap();
    let error = client.call::<u64>("Debug.Sleep", &serde_json::json!({"ms": 60_000})).await.unwrap_err();
    let CallError::Layer(foreign) = &error else { panic!("{error:?}") };
    assert!(foreign.is::<tower::timeout::error::Elapsed>() && error.code().is_none());
}

#[tokio::test]
async fn a_client_stands_over_any_service() {
    // A router in this process, for a test without sockets.
    let client = Client::builder().over(router());
    assert!(matches!(client.state(), ClientState::Connected));
    client.ready().await.unwrap();
    let user: User = client.call("UserService.GetUserInfo", &Ask { id: 3 }).await.unwrap();
    assert_eq!(user.id, 3);
    let error = client.call::<User>("UserService.GetUserInfo", &Ask { id: 0 }).await.unwrap_err();
    assert_eq!(error.fault().unwrap().code(), UserFault::NoSuchUser.code());
    let error = client.call::<User>("No.Such", &Ask { id: 0 }).await.unwrap_err();
    assert_eq!(error.error().unwrap().kind(), ErrorKind::UnknownMethod);
    let accepted = client.request("Echo.Echo").body(&5).send_async::<u8>().await.unwrap();
    assert_eq!(accepted.await.unwrap(), 5);
    client.request("Echo.Echo").send_one_way().await.unwrap();
}

#[tokio::test]
async fn a_stack_that_wraps_our_error_is_seen_through() {
    let broken = service_fn(|_: Request| async {
        let ours = Error::new(ErrorKind::CircuitOpen).with_attempts(3);
        Err::<Response, BoxError>(std::io::Error::other(ours).into())
    });
    let error = Client::builder().over(broken).call::<u8>("A.B", &1).await.unwrap_err();
    assert_eq!(error.error().unwrap().kind(), ErrorKind::CircuitOpen);
    assert!(error.to_string().contains("after 3 attempts"), "{error}");
}

#[tokio::test]
async fn a_client_is_a_service_that_a_router_can_pass_calls_on_to() {
    let behind = serve(router()).await;
    let client = Client::connect(behind.url()).await.unwrap();
    let front = serve(Router::new().fallback_service(client)).await;
    let client = Client::connect(front.url()).await.unwrap();
    let user: User = client.call("UserService.GetUserInfo", &Ask { id: 3 }).await.unwrap();
    assert_eq!(user.id, 3);
    let error = client.call::<User>("UserService.GetUserInfo", &Ask { id: 0 }).await.unwrap_err();
    assert_eq!(error.code().unwrap(), UserFault::NoSuchUser.code());
    let error = client.call::<User>("No.Such", &Ask { id: 0 }).await.unwrap_err();
    // The one in front has the method: what is unknown behind it is no word about this call.
    assert_eq!(error.error().unwrap().kind(), ErrorKind::HandlerFailed);

    let response = client.oneshot(Request::new("Echo.Echo", Bytes::from_static(b"raw"))).await.unwrap();
    assert_eq!(&response.body()[..], b"raw");
}

#[tokio::test]
async fn a_server_takes_layers_too() {
    let refuse = ServiceBuilder::new().map_request(|mut request: Request| {
        if request.metadata().get("tenant").is_none() {
            request.set_method("Nobody.Home");
        }
        request
    });
    let server = Server::builder().layer(refuse).bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", server.local_addr());
    let serving = tokio::spawn(server.serve(router()).into_future());
    let client = Client::connect(&url).await.unwrap();
    assert!(client.call::<u8>("Echo.Echo", &1).await.is_err());
    assert_eq!(client.request("Echo.Echo").body(&1).meta("tenant", "acme").send::<u8>().await.unwrap(), 1);
    serving.abort();

    let bare = service_fn(|request: Request| async move {
        let response = if request.method().as_str() == "A.Fault" {
            Fault::from(UserFault::NoSuchUser).into_response(request.codec())
        } else {
            Response::new(Bytes::from_static(b"any service"))
        };
        Ok::<_, BoxError>(response)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::builder().listener(listener).unwrap();
    let url = format!("mcp://{}", server.local_addr());
    tokio::spawn(server.serve(bare).into_future());
    let client = Client::connect(&url).await.unwrap();
    assert_eq!(client.request("A.B").raw("").send::<String>().await.unwrap(), "any service");
    assert!(client.request("A.Fault").send::<()>().await.unwrap_err().fault().is_some());
}

/// As axum wants its state, and as a handler's future wants it.
#[test]
fn a_client_goes_anywhere() {
    fn anywhere<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>(_: &T) {}
    anywhere::<Client>();
    let client = Client::builder().over(router());
    sent(&client.call::<User>("A.B", &1));
    sent(&client.request("A.B").send_raw());
    sent(&client.request("A.B").send_async::<User>());
    sent(&client.request("A.B").send_one_way());
}
