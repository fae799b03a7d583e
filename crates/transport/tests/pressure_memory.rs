//! What a caller makes the server keep, by the process's own memory; alone in its process for that.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::*;
use std::time::Duration;
use tower::service_fn;
use towpath_core::{BoxError, Request, Response};
use towpath_transport::{Drain, ServerConfig, ServerConnection};

/// Resident bytes of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn small_requests_that_are_kept_do_not_keep_their_large_neighbours() {
    let service = service_fn(|request: Request| async move {
        if request.method().as_str() == "hold" {
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
        Ok::<_, BoxError>(Response::new(Bytes::from(request.into_body().len().to_string())))
    });
    let (near, far) = tokio::io::duplex(PIPE);
    let drain = Drain::new();
    tokio::spawn(ServerConnection::new(near, service, &ServerConfig::default(), drain.watch()));
    let mut peer = Peer { io: far };
    let small = Request::new("hold", Bytes::from(vec![b'x'; 600]));
    let large = Request::new("gone", Bytes::from(vec![b'x'; 62_000]));
    let before = resident();
    for id in (1..4000).step_by(2) {
        let mut both = request_frame(id, 0, &small);
        both.extend(request_frame(id + 1, 0, &large));
        peer.send(both).await;
        assert_eq!(peer.expect_response().await.0, id + 1);
    }
    let grown = resident().saturating_sub(before) >> 20;
    assert!(grown < 40, "2000 requests of 600 bytes keep {grown} MiB");
}
