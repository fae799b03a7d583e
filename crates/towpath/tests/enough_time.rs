//! A server that does not begin what it cannot finish, over a socket.
#![allow(clippy::unwrap_used)]

mod common;

use common::soon;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::ServiceBuilder;
use towpath::{
    Client, Json, Processed, Router, Server, State,
    timeout::{ByMethod, DeadlineLayer, EnoughTimeConfig, EnoughTimeLayer},
};

/// What is left of the deadline is on the wire; the server compares it with what it takes, and says no before
/// the handler begins. The caller learns that nothing was done.
#[tokio::test]
async fn too_little_left_is_refused_before_the_handler() {
    let begun = Arc::new(AtomicU32::new(0));
    let count = async |State(begun): State<Arc<AtomicU32>>| Json(begun.fetch_add(1, SeqCst));
    let router = Router::new().route("Work.Do", count).with_state(begun.clone());
    let minute = EnoughTimeConfig::default().with_at_least(Duration::from_secs(60)).unwrap();
    let enough = EnoughTimeLayer::new(minute).group_by(ByMethod);
    let handle = enough.handle();
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr();
    let service = ServiceBuilder::new().layer(DeadlineLayer::inherited()).layer(enough).service(router);
    let serving = tokio::spawn(server.serve(service).into_future());

    let client = Client::connect(format!("mcp://{address}")).await.unwrap();
    let call = async |secs: u64| -> Result<u32, _> {
        soon(client.request("Work.Do").timeout(Duration::from_secs(secs)).send()).await
    };
    let refused = call(30).await.unwrap_err();
    assert!(refused.is_timeout() && refused.processed() == Processed::No, "{refused}");
    assert!(refused.to_string().contains("of the deadline left, and it takes about 60s"), "{refused}");
    assert_eq!(begun.load(SeqCst), 0);
    assert_eq!(call(90).await.unwrap(), 0);

    handle.config().update(|config| config.with_at_least(Duration::from_secs(10))).unwrap();
    assert_eq!(call(30).await.unwrap(), 1);
    let counts = handle.counts();
    assert_eq!((counts.calls, counts.refused, counts.spared), (3, 1, 0));
    serving.abort();
}
