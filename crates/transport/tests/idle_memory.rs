//! What connections hold that have nothing to do, after a burst on each of them; by the bytes that are
//! allocated, alone in its process for that.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::*;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use towpath_codec::kind;
use towpath_core::Request;
use towpath_transport::ServerConfig;

/// Counts what is allocated and not freed yet.
struct Live;

static LIVE: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Live {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Live = Live;

const CONNECTIONS: usize = 200;

/// What the pipe of a test holds of its own, at most: it is not the connection's.
const NARROW: usize = 512;

/// Each has 64 calls that wait for a while and 64 KiB of answers that its peer does not read at once.
async fn burst(peer: &mut Peer) {
    for id in 1..=64 {
        peer.request(id, &request("sleep", "20")).await;
    }
    for id in 101..=164 {
        peer.request(id, &Request::new("echo", Bytes::from_static(&[7; 1024]))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_idle_connections_fit_into_200_mb_after_a_burst() {
    let config = ServerConfig { keep_alive: None, ..ServerConfig::default() };
    // The first one pays for what is there once.
    let mut warm = server_over(NARROW, &config);
    warm.0.short(kind::PING, 1).await;
    warm.0.expect(kind::PONG).await;
    let before = LIVE.load(Relaxed);
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut one = server_over(NARROW, &config);
        one.0.short(kind::PING, 1).await;
        one.0.expect(kind::PONG).await;
        all.push(one);
    }
    let each = |now: usize| now.saturating_sub(before) / CONNECTIONS;
    let fresh = each(LIVE.load(Relaxed));
    for (peer, ..) in &mut all {
        burst(peer).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let busy = each(LIVE.load(Relaxed));
    for (peer, ..) in &mut all {
        for _ in 0..128 {
            peer.expect(kind::RESPONSE).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(15)).await;
    let idle = each(LIVE.load(Relaxed));
    println!("bytes for each connection: {fresh} fresh, {busy} busy, {idle} idle after it");
    assert!(busy > 60_000, "the burst is none: {busy} bytes for each");
    // 10 000 of them: 200 MB are 20 000 bytes for each, the system's own part included.
    assert!(idle < 10_000 && idle < fresh + 2_000, "{idle} bytes for each, {fresh} at first, {busy} busy");
    // They serve on.
    for (peer, ..) in &mut all {
        peer.request(1_000, &request("echo", "still there")).await;
        assert_eq!(peer.expect_response().await.0, 1_000);
    }
}
