//! The connections, the reordering and the clock do what they say.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use std::{
    convert::Infallible,
    future::Future,
    io::{ErrorKind, IoSlice},
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};
use tower::{Layer, Service, service_fn};
use towpath_testing::{
    FaultyIo, MemoryIo, ReorderLayer, Script, assert_send, assert_sync, assert_unpin, time,
};

fn is_pending(future: impl Future) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn they_can_be_moved_and_sent() {
    assert_send::<FaultyIo<MemoryIo>>();
    assert_sync::<MemoryIo>();
    assert_unpin::<FaultyIo<MemoryIo>>();
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_read_in_both_directions() {
    let (mut a, mut b) = MemoryIo::pair("both ways", 16);
    a.write_all(b"there").await.unwrap();
    b.write_all(b"back").await.unwrap();
    let (mut there, mut back) = ([0; 5], [0; 4]);
    b.read_exact(&mut there).await.unwrap();
    a.read_exact(&mut back).await.unwrap();
    assert_eq!((&there, &back), (b"there", b"back"));
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_makes_the_writer_wait_and_loses_nothing() {
    let (mut a, mut b) = MemoryIo::pair("narrow", 3);
    let text: Vec<u8> = (0..=255).cycle().take(1_000).collect();
    let sent = text.clone();
    let writer = tokio::spawn(async move { a.write_all(&sent).await });
    time::settle().await;
    assert_eq!((writer.is_finished(), b.link().in_transit()), (false, 3));
    let mut read = Vec::new();
    timeout(ms(1_000), b.read_to_end(&mut read)).await.expect("the writer is woken").unwrap();
    writer.await.unwrap().unwrap();
    assert_eq!(read, text);
}

#[tokio::test(start_paused = true)]
async fn many_slices_are_one_write() {
    let (mut a, mut b) = MemoryIo::pair("vectored", 5);
    let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cdefg")];
    assert_eq!(a.write_vectored(&slices).await.unwrap(), 5);
    let mut read = [0; 5];
    b.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"abcde");
}

#[tokio::test(start_paused = true)]
async fn an_end_and_a_cut_are_not_the_same() {
    let (mut a, mut b) = MemoryIo::pair("ended", 16);
    a.write_all(b"rest").await.unwrap();
    a.shutdown().await.unwrap();
    let mut read = Vec::new();
    b.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"rest");
    b.write_all(b"still open").await.unwrap();
    drop(a);
    assert_eq!(b.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);

    let (mut a, mut b) = MemoryIo::pair("cut", 16);
    a.write_all(b"lost").await.unwrap();
    let waiting = tokio::spawn(async move { a.read(&mut [0; 4]).await.unwrap_err() });
    time::settle().await;
    b.link().cut();
    let told = async { [b.read(&mut [0; 4]).await.unwrap_err(), waiting.await.unwrap()] };
    for error in timeout(ms(1_000), told).await.expect("both ends are told") {
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::ConnectionReset, "cut: connection reset")
        );
    }
    assert_eq!(b.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn the_link_ends_both_directions_in_order() {
    let (mut a, mut b) = MemoryIo::pair("both ended", 16);
    a.write_all(b"one").await.unwrap();
    a.link().end();
    let mut read = Vec::new();
    b.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"one");
    assert_eq!(a.read(&mut [0; 4]).await.unwrap(), 0);
    assert_eq!(a.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_link_says_nothing_until_it_goes_on() {
    let (mut a, mut b) = MemoryIo::pair("stalled", 16);
    let link = a.link();
    link.stall();
    a.write_all(b"late").await.unwrap();
    drop(a);
    let mut read = Vec::new();
    assert!(timeout(Duration::from_secs(3600), b.read_to_end(&mut read)).await.is_err());
    let reader = tokio::spawn(async move { b.read_to_end(&mut read).await.map(|_| read) });
    time::settle().await;
    link.resume();
    assert_eq!(reader.await.unwrap().unwrap(), b"late");
}

#[tokio::test(start_paused = true)]
async fn chopped_reads_and_writes_come_byte_by_byte() {
    let (a, b) = MemoryIo::pair("chopped", 64);
    let mut a = FaultyIo::new(a).writes(Script::new().chop(1));
    let mut b = FaultyIo::new(b).reads(Script::new().chop(2));
    assert_eq!(a.write(b"abc").await.unwrap(), 1);
    a.write_all(b"bc").await.unwrap();
    let mut read = [0; 3];
    assert_eq!(b.read(&mut read).await.unwrap(), 2);
    assert_eq!(b.read(&mut read[2..]).await.unwrap(), 1);
    assert_eq!(&read, b"abc");
}

#[tokio::test(start_paused = true)]
async fn each_operation_is_delayed() {
    let (mut a, b) = MemoryIo::pair("delayed", 64);
    let mut b = FaultyIo::new(b).reads(Script::new().chop(1).delay(ms(50)));
    a.write_all(b"abc").await.unwrap();
    let (result, took) = time::timed(b.read_exact(&mut [0; 3])).await;
    result.unwrap();
    assert!((ms(150)..ms(160)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reset_comes_after_so_many_bytes_and_reaches_the_other_end() {
    let (mut a, b) = MemoryIo::pair("reset", 64);
    let link = b.link();
    let mut b = FaultyIo::new(b).reads(Script::new().reset_after(3)).resetting(link);
    a.write_all(b"abcdef").await.unwrap();
    let mut read = [0; 6];
    let error = b.read_exact(&mut read).await.unwrap_err();
    assert_eq!((error.kind(), &read), (ErrorKind::ConnectionReset, b"abc\0\0\0"));
    assert_eq!(a.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_truncated_connection_looks_like_a_clean_end() {
    let (mut a, b) = MemoryIo::pair("truncated read", 64);
    let mut b = FaultyIo::new(b).reads(Script::new().end_after(3));
    a.write_all(b"abcdef").await.unwrap();
    let mut read = Vec::new();
    b.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"abc");

    let (a, mut b) = MemoryIo::pair("truncated write", 64);
    let mut a = FaultyIo::new(a).writes(Script::new().end_after(3));
    assert_eq!(a.write_all(b"abcdef").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut read = Vec::new();
    b.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"abc");
}

#[tokio::test(start_paused = true)]
async fn a_stuck_connection_moves_so_many_bytes_and_no_more() {
    let (mut a, b) = MemoryIo::pair("stuck", 64);
    let mut b = FaultyIo::new(b).reads(Script::new().stall_after(2)).writes(Script::new().stall_after(0));
    a.write_all(b"abc").await.unwrap();
    b.read_exact(&mut [0; 2]).await.unwrap();
    assert!(timeout(Duration::from_secs(3600), b.read(&mut [0; 1])).await.is_err());
    assert!(is_pending(b.write(b"x")));
}

#[tokio::test(start_paused = true)]
async fn answers_come_in_reverse_within_a_window() {
    let echo = service_fn(|n: u32| async move { Ok::<_, Infallible>(n) });
    let mut service = ReorderLayer::new(3, ms(10)).layer(echo);
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..6 {
        calls.spawn(service.call(n));
    }
    let mut order = Vec::new();
    while let Some(answer) = calls.join_next().await {
        order.push(answer.unwrap().unwrap());
    }
    let (mut last, mut middle, mut first) = (order[..2].to_vec(), order[2..4].to_vec(), order[4..].to_vec());
    last.sort_unstable();
    middle.sort_unstable();
    first.sort_unstable();
    assert_eq!((last, middle, first), (vec![2, 5], vec![1, 4], vec![0, 3]));
}

#[test]
fn time_passes_to_the_millisecond_for_a_timer_that_sets_a_timer() {
    time::paused(async {
        let chain = tokio::spawn(async {
            for _ in 0..10 {
                sleep(ms(5)).await;
            }
        });
        time::settle().await;
        time::advance(ms(48)).await;
        assert!(!chain.is_finished());
        time::advance(ms(13)).await;
        assert!(chain.is_finished());
    });
}
