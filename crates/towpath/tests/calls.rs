//! Calls over loopback: results, faults, deadlines, codecs, options, kinds of calls.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{Ask, Nap, Serving, User, router, serve, soon, until};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};
use towpath::{
    CallError, Client, CodecId, ErrorCode, ErrorKind, Fault, Json, Priority, Processed, Request, Router,
    State, codec, context::Field,
};

async fn connected() -> (Client, Serving) {
    let server = serve(router()).await;
    (Client::connect(server.url()).await.unwrap(), server)
}

#[tokio::test]
async fn a_typed_round_trip() {
    let (client, _server) = connected().await;
    let user: User = client.call("UserService.GetUserInfo", &json!({"id": 1001})).await.unwrap();
    assert_eq!(user, User { id: 1001, name: "user 1001".to_owned() });
    let user: User = client.request("UserService.GetUserInfo").body(&Ask { id: 7 }).send().await.unwrap();
    assert_eq!(user.id, 7);
    // The reply borrows nothing: it can be moved to another task.
    let reply = client.call::<User>("UserService.GetUserInfo", &Ask { id: 8 });
    drop(client);
    assert_eq!(tokio::spawn(reply).await.unwrap().unwrap().id, 8);
}

#[tokio::test]
async fn a_service_s_fault_is_one_thing_and_a_failing_stack_another() {
    let (client, server) = connected().await;
    let error = client.call::<User>("UserService.GetUserInfo", &Ask { id: 0 }).await.unwrap_err();
    let CallError::Fault(fault) = &error else { panic!("{error:?}") };
    assert_eq!((fault.code().as_str(), fault.message()), ("USR-E-001", "no such user"));
    assert!(fault.trace_id().is_some() && error.error().is_none() && !error.is_timeout());
    assert_eq!((error.code().unwrap().as_str(), error.processed()), ("USR-E-001", Processed::Yes));

    let error = client.call::<Value>("No.Such", &Value::Null).await.unwrap_err();
    let CallError::Failed(stack) = &error else { panic!("{error:?}") };
    assert_eq!((stack.kind(), error.processed()), (ErrorKind::UnknownMethod, Processed::No));
    assert!(stack.is_remote() && error.fault().is_none());
    let text = error.to_string();
    assert!(text.contains("MCP-E-004") && text.contains(&server.url()) && text.contains("check"), "{text}");
}

#[tokio::test]
async fn a_panic_is_told_and_the_connection_lives_on() {
    let (client, _server) = connected().await;
    let error = client.call::<Value>("Debug.Panic", &Value::Null).await.unwrap_err();
    assert_eq!(error.error().unwrap().kind(), ErrorKind::HandlerFailed);
    assert_eq!(client.call::<u8>("Echo.Echo", &5).await.unwrap(), 5);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let (client, _server) = connected().await;
    let begun = Instant::now();
    let nap = client.request("Debug.Sleep").body(&Nap { ms: 60_000 }).timeout(Duration::from_millis(100));
    let error = soon(nap.send::<u64>()).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let late = client.request("Echo.Echo").timeout(Duration::ZERO).send::<Value>().await.unwrap_err();
    assert!(late.is_timeout() && late.processed() == Processed::No, "{late}");
}

#[tokio::test]
async fn the_deadline_is_the_call_s_own_or_the_client_s() {
    let server = serve(router()).await;
    let left = async |client: &Client, own: Option<Duration>| -> Option<u64> {
        let call = client.request("Debug.Left");
        match own {
            Some(own) => call.timeout(own).send().await.unwrap(),
            None => call.send().await.unwrap(),
        }
    };
    let secs = Duration::from_secs;
    let client = Client::connect(server.url()).await.unwrap();
    assert!((9_000..=10_000).contains(&left(&client, None).await.unwrap()));
    assert!((59_000..=60_000).contains(&left(&client, Some(secs(60))).await.unwrap()));
    assert!(left(&client, Some(secs(1))).await.unwrap() <= 1_000);

    let client = Client::builder().timeout(secs(3)).connect(server.url()).await.unwrap();
    assert!((2_000..=3_000).contains(&left(&client, None).await.unwrap()));

    let client = Client::builder().without_defaults().connect(server.url()).await.unwrap();
    assert_eq!(left(&client, None).await, None);
    assert!(left(&client, Some(secs(1))).await.unwrap() <= 1_000);
}

#[derive(Clone, PartialEq, prost::Message)]
struct Point {
    #[prost(int32, tag = "1")]
    x: i32,
    #[prost(int32, tag = "2")]
    y: i32,
}

#[derive(Clone, Copy)]
struct Reversed;

impl codec::BodyCodec for Reversed {
    const ID: CodecId = CodecId(77);
    const NAME: &'static str = "reversed";
}

impl codec::Encode<str> for Reversed {
    fn encode(&self, value: &str, out: &mut Vec<u8>) -> Result<(), codec::BodyError> {
        out.extend(value.bytes().rev());
        Ok(())
    }
}

impl codec::Decode<String> for Reversed {
    fn decode(&self, body: &Bytes) -> Result<String, codec::BodyError> {
        let bytes = body.iter().rev().copied().collect();
        String::from_utf8(bytes).map_err(codec::BodyError::decode::<Self>)
    }
}

#[tokio::test]
async fn every_codec_there_and_back() {
    let (client, _server) = connected().await;
    let echo = || client.request("Echo.Echo");

    let point = Point { x: -1, y: 7 };
    assert_eq!(echo().protobuf(&point).send::<Point>().await.unwrap(), point);
    let bytes: Bytes = echo().raw(&b"\x00\xff"[..]).send().await.unwrap();
    assert_eq!(&bytes[..], b"\x00\xff");
    assert_eq!(echo().codec(Reversed).body("abc").send::<String>().await.unwrap(), "abc");
    let response = echo().codec(Reversed).body("abc").send_raw().await.unwrap();
    assert_eq!((response.codec(), &response.body()[..]), (CodecId(77), &b"cba"[..]));
    let encoded: String = echo().encoded(CodecId::JSON, "[1]").send().await.unwrap();
    assert_eq!(encoded, "[1]");
    assert_eq!(echo().send::<Value>().await.unwrap(), Value::Null);
}

#[tokio::test]
async fn an_answer_in_another_codec_is_not_guessed_at() {
    let server = serve(Router::new().route("Always.Json", async || Json(5))).await;
    let client = Client::connect(server.url()).await.unwrap();
    let error = client.request("Always.Json").protobuf(&Point::default()).send::<Point>().await.unwrap_err();
    assert!(matches!(error, CallError::Decode(_)), "{error}");
    assert!(error.to_string().contains("json") && error.processed() == Processed::Yes, "{error}");
    let wrong = client.call::<String>("Always.Json", &1).await.unwrap_err();
    assert!(matches!(wrong, CallError::Decode(_)), "{wrong}");
    assert_eq!(client.request("Always.Json").raw("").send::<String>().await.unwrap(), "5");
}

#[tokio::test]
async fn options_reach_the_service() {
    let seen = async |request: Request| {
        let context = request.context();
        let text = |field| context.field(field).map(|value| String::from_utf8_lossy(value).into_owned());
        Json(json!({
            "idempotent": context.is_idempotent(),
            "key": text(Field::IdempotencyKey),
            "affinity": text(Field::AffinityKey),
            "session": text(Field::SessionId),
            "priority": context.priority().level(),
            "tenant": request.metadata().get_str("tenant"),
        }))
    };
    let server = serve(Router::new().route("Debug.Seen", seen).route("Debug.GetSeen", seen)).await;
    let client = Client::builder().idempotent("Debug.Get*").connect(server.url()).await.unwrap();

    let full: Value = (client.request("Debug.Seen"))
        .idempotency_key("k1")
        .affinity("a1")
        .session("s1")
        .priority(Priority::HIGHEST)
        .meta("tenant", "acme")
        .send()
        .await
        .unwrap();
    let expected = json!({"idempotent": true, "key": "k1", "affinity": "a1", "session": "s1", "priority": 7, "tenant": "acme"});
    assert_eq!(full, expected);

    let plain: Value = client.call("Debug.Seen", &()).await.unwrap();
    assert_eq!(
        (&plain["idempotent"], &plain["key"], &plain["priority"]),
        (&json!(false), &json!(null), &json!(4))
    );
    let once: Value = client.request("Debug.Seen").idempotent().send().await.unwrap();
    assert_eq!(once["idempotent"], true);
    let declared: Value = client.call("Debug.GetSeen", &()).await.unwrap();
    assert_eq!(declared["idempotent"], true);
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_before_it_is_sent() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = async |State(calls): State<Arc<AtomicU32>>| {
        calls.fetch_add(1, SeqCst);
    };
    let server = serve(Router::new().route("A.B", count).with_state(calls.clone())).await;
    let client = Client::connect(server.url()).await.unwrap();

    let error = client.request("A.B").meta("Upper", "x").send::<()>().await.unwrap_err();
    assert!(matches!(&error, CallError::Metadata { key, .. } if &**key == "Upper"), "{error}");
    assert_eq!(error.processed(), Processed::No);
    let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
    let error = client.call::<()>("A.B", &unwritable).await.unwrap_err();
    assert!(matches!(error, CallError::Encode(_)), "{error}");
    assert!(client.request("A.B").meta("", "x").send_one_way().await.is_err());
    assert!(client.request("A.B").meta("", "x").send_raw().await.is_err());
    assert!(client.request("A.B").meta("", "x").send_async::<()>().await.is_err());
    assert!(client.call::<()>(String::new(), &()).await.is_err());

    client.call::<()>("A.B", &()).await.unwrap();
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test]
async fn a_raw_answer_may_be_a_fault() {
    let (client, _server) = connected().await;
    let response = client.request("UserService.GetUserInfo").body(&Ask { id: 0 }).send_raw().await.unwrap();
    assert!(response.is_fault());
    let error = client.request("No.Such").send_raw().await.unwrap_err();
    assert_eq!(error.error().unwrap().kind(), ErrorKind::UnknownMethod);
}

#[tokio::test]
async fn an_asynchronous_call_is_accepted_and_done_later() {
    let (client, _server) = connected().await;
    let begun = Instant::now();
    let accepted = client.request("Debug.Sleep").body(&Nap { ms: 300 }).send_async::<u64>().await.unwrap();
    let after = begun.elapsed();
    assert!(after < Duration::from_millis(250), "accepted only after {after:?}");
    assert_eq!(soon(accepted).await.unwrap(), 300);
    assert!(begun.elapsed() >= Duration::from_millis(300));

    let refused = client.request("No.Such").send_async::<u64>().await.unwrap_err();
    assert_eq!(refused.error().unwrap().kind(), ErrorKind::UnknownMethod);

    let ask = client.request("UserService.GetUserInfo").body(&Ask { id: 0 });
    let error = match ask.send_async::<User>().await {
        Ok(accepted) => accepted.await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.code().unwrap().as_str(), "USR-E-001");

    let slow = client.request("Debug.Sleep").body(&Nap { ms: 60_000 }).timeout(Duration::from_millis(200));
    let error = soon(slow.send_async::<u64>().await.unwrap()).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

/// A callee need not accept first what is done already.
#[tokio::test]
async fn an_asynchronous_call_may_be_answered_at_once() {
    let at_once = |status: u8, body: &'static [u8]| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mcp://{}", listener.local_addr().unwrap());
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 16];
            stream.read_exact(&mut head).await.unwrap();
            // RESPONSE, with the request's id, in JSON.
            let len = u32::try_from(16 + body.len()).unwrap().to_be_bytes();
            let answer = [b"MC\x01\x02", &len[..], &head[8..], &[status, 1, 0, 0, 0, 0, 0, 0], body].concat();
            stream.write_all(&answer).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        (Client::connect(url).await.unwrap(), peer)
    };
    let (client, _peer) = at_once(0, b"7").await;
    let accepted = soon(client.request("A.b").send_async::<u64>()).await.unwrap();
    assert_eq!(soon(accepted).await.unwrap(), 7);
    let (client, _peer) = at_once(0, b"7").await;
    let accepted = soon(client.request("A.b").send_async::<u64>()).await.unwrap();
    assert_eq!(&soon(accepted.into_response()).await.unwrap().body()[..], b"7");
    let (client, _peer) = at_once(1, br#"{"error":{"code":"ORD-E-102"}}"#).await;
    let refused = soon(client.request("A.b").send_async::<u64>()).await.unwrap_err();
    assert_eq!(refused.fault().unwrap().code(), "ORD-E-102");

    // A service in this process has no ACK.
    let client = Client::builder().over(router());
    let accepted =
        soon(client.request("Debug.Sleep").body(&Nap { ms: 1 }).send_async::<u64>()).await.unwrap();
    assert_eq!(soon(accepted).await.unwrap(), 1);
    let (told, called) = tokio::sync::oneshot::channel();
    let accepted =
        soon(client.request("Debug.Sleep").body(&Nap { ms: 2 }).send_async::<u64>()).await.unwrap();
    let done = accepted.on_complete(move |result| told.send(result.unwrap()).unwrap());
    assert_eq!(soon(called).await.unwrap(), 2);
    done.await.unwrap();
}

/// The peer's own words, code and all.
#[tokio::test]
async fn a_fault_of_the_stack_is_there_as_it_came() {
    let refuse = async || -> Result<(), Fault> {
        Err(Fault::new(ErrorCode::from_static("MCP-E-777"), "of a later day").with_trace_id("t"))
    };
    let server = serve(Router::new().route("A.b", refuse)).await;
    let client = Client::connect(server.url()).await.unwrap();
    let error = client.call::<()>("A.b", &1).await.unwrap_err();
    let error = error.error().unwrap();
    assert_eq!(error.kind(), ErrorKind::HandlerFailed);
    let came = error.remote_fault().unwrap();
    assert_eq!(
        (came.code().as_str(), came.message(), came.trace_id()),
        ("MCP-E-777", "of a later day", Some("t"))
    );
    assert!(!came.not_processed());
}

#[tokio::test]
async fn an_outcome_can_be_called_back() {
    let (client, _server) = connected().await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let accepted = client.request("Debug.Sleep").body(&Nap { ms: 10 }).send_async::<u64>().await.unwrap();
    accepted.on_complete(|result| drop(tell.send(result)));
    assert_eq!(soon(told).await.unwrap().unwrap(), 10);
}

#[tokio::test]
async fn a_one_way_call_arrives() {
    let calls = Arc::new(AtomicU32::new(0));
    let note = async |State(calls): State<Arc<AtomicU32>>, Json(n): Json<u32>| {
        calls.fetch_add(n, SeqCst);
    };
    let server = serve(Router::new().route("Log.Note", note).with_state(calls.clone())).await;
    let client = Client::connect(server.url()).await.unwrap();
    client.request("Log.Note").body(&7).send_one_way().await.unwrap();
    until("the note is taken", || calls.load(SeqCst) == 7).await;
    // Nobody tells of a fault either.
    client.request("No.Such").send_one_way().await.unwrap();
}

#[tokio::test]
async fn a_ping_goes_there_and_back() {
    let (client, server) = connected().await;
    assert!(client.ping().await.unwrap() < Duration::from_secs(5));
    server.kill().await;
    assert!(soon(client.ping()).await.is_err());
}
