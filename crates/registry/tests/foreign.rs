//! A registry that somebody else wrote, and what is none at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Follower, ms};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tokio::time::Instant;
use tower::service_fn;
use towpath_core::{BoxError, CodecId, Error, ErrorKind, Request, Response};
use towpath_discover::Directory;
use towpath_registry::{RegistryClient, RegistryError, RegistrySource};

/// What was asked, and when.
type Asked = Arc<Mutex<Vec<(Instant, Value)>>>;

/// Follows a registry that answers with these, one after another, and then no more.
fn follow(answers: impl IntoIterator<Item = Value>) -> (Follower, Asked) {
    let answers: Arc<Mutex<VecDeque<Value>>> = Arc::new(Mutex::new(answers.into_iter().collect()));
    let asked = Asked::default();
    let service = {
        let asked = asked.clone();
        service_fn(move |request: Request| {
            let body = serde_json::from_slice(request.body()).unwrap();
            asked.lock().unwrap().push((Instant::now(), body));
            let answer = answers.lock().unwrap().pop_front();
            async move {
                let Some(answer) = answer else { return std::future::pending().await };
                let mut response = Response::new(answer.to_string().into());
                response.set_codec(CodecId::JSON);
                Ok::<_, BoxError>(response)
            }
        })
    };
    let source = RegistrySource::new(RegistryClient::new(service), "orders");
    (Follower::new(Directory::new().watch_source("orders", source)), asked)
}

#[tokio::test(start_paused = true)]
async fn an_index_that_goes_backwards_begins_again() {
    let (mut follower, asked) = follow([
        json!({"epoch": "", "index": 7, "full": true, "instances": [{"address": "mcp://a:1"}]}),
        json!({"epoch": "", "index": 8, "full": false, "instances": [{"address": "mcp://b:1", "later": true}]}),
        // Begun again, and not aware of it.
        json!({"epoch": "", "index": 3, "full": false, "instances": [{"address": "mcp://c:1"}]}),
        json!({"epoch": "", "index": 4, "full": true, "instances": [{"address": "mcp://a:1"}, {"address": "mcp://c:1"}]}),
    ]);
    assert_eq!(follower.after(ms(2_000)).await, ["mcp://a:1", "mcp://c:1"]);
    let indexes: Vec<_> = asked.lock().unwrap().iter().map(|(_, ask)| ask["index"].clone()).collect();
    assert_eq!(indexes, [0, 7, 8, 0, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_does_not_wait_is_not_asked_without_end() {
    let same = json!({"epoch": "e", "index": 7, "full": false});
    let all = json!({"epoch": "e", "index": 7, "full": true, "instances": [{"address": "mcp://a:1"}]});
    let (mut follower, asked) = follow(std::iter::once(all).chain(std::iter::repeat_n(same, 10_000)));
    follower.after(ms(10_000)).await;
    let asked = asked.lock().unwrap().len();
    assert!((100..=210).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn hostile_answers_harm_nobody() {
    let good = json!({"epoch": "e", "index": 7, "full": true, "instances": [{"address": "mcp://a:1"}]});
    let bad = json!({"epoch": "e", "index": 8, "full": true, "instances": [
        {"address": "mcp://a:1"}, {"address": "\u{1b}[2J"}, {"address": "x".repeat(100_000)},
        {"address": "mcp://b:1", "weight": 4_000_000_000u32}]});
    let (mut follower, _) = follow([good, json!({"epoch": 1}), json!([]), bad]);
    assert_eq!(follower.after(ms(300)).await, ["mcp://a:1"]);
    let error = follower.watch.handle().status().error.unwrap().to_string();
    assert!(error.contains("Registry.Watch was answered by what makes no sense"), "{error}");
    assert_eq!(follower.after(ms(20_000)).await, ["mcp://a:1"]);
    assert!(follower.watch.handle().status().error.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_registry_is_called_that() {
    let nobody = service_fn(|_: Request| async { Err::<Response, _>(Error::new(ErrorKind::UnknownMethod)) });
    let error = RegistryClient::new(nobody).list("orders", ms(100)).await.unwrap_err();
    assert!(error.to_string().contains("check that it is a registry"), "{error}");
    let raw = service_fn(|_: Request| async { Ok::<_, BoxError>(Response::new("[]".into())) });
    let error = RegistryClient::new(raw).services(ms(100)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Answer(_)) && error.to_string().contains("codec 0"), "{error}");
    let hung = service_fn(|_: Request| std::future::pending::<Result<Response, BoxError>>());
    let RegistryError::Call(error) = RegistryClient::new(hung).services(ms(100)).await.unwrap_err() else {
        panic!("something else");
    };
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
}
