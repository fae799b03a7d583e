//! The simulated network behaves as a network does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::ErrorKind,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};
use towpath_testing::net::{Conditions, Event, NetIo, Network};

const LONG: Duration = Duration::from_secs(3600);

async fn pair(conditions: Conditions) -> (Network, NetIo, NetIo) {
    let network = Network::new(1, conditions);
    let mut listener = network.listen("b").unwrap();
    let near = network.connect("a", "b").await.unwrap();
    let far = listener.accept().await;
    (network, near, far)
}

#[tokio::test(start_paused = true)]
async fn bytes_come_late_in_pieces_and_in_order() {
    let conditions = Conditions {
        min_latency: Duration::from_millis(20),
        loss: 0.2,
        segment: 10,
        ..Conditions::default()
    };
    let (_network, mut near, mut far) = pair(conditions).await;
    let sent: Vec<u8> = (0..200).collect();
    let start = Instant::now();
    near.write_all(&sent).await.unwrap();
    near.shutdown().await.unwrap();
    let (mut read, mut pieces) = (Vec::new(), 0);
    while far.read_buf(&mut read).await.unwrap() > 0 {
        pieces += 1;
    }
    assert_eq!(read, sent);
    // With a fifth of the segments lost, something was sent again.
    assert!(pieces > 20 && start.elapsed() > Duration::from_millis(220), "{pieces} {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_full_window_makes_the_writer_wait_until_the_reader_has_read() {
    let (network, mut near, mut far) = pair(Conditions { window: 1000, ..Conditions::default() }).await;
    let writer = tokio::spawn(async move {
        near.write_all(&[7; 5000]).await.unwrap();
        near
    });
    sleep(LONG).await;
    assert!(!writer.is_finished());
    let mut read = vec![0; 1500];
    far.read_exact(&mut read).await.unwrap();
    // Its answer to what was read does not get through: the writer goes on waiting.
    network.cut("b", "a");
    far.read_exact(&mut read[..1]).await.unwrap();
    sleep(LONG).await;
    assert!(!writer.is_finished());
    network.heal("b", "a");
    let mut rest = vec![0; 3499];
    far.read_exact(&mut rest).await.unwrap();
    timeout(LONG, writer).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_orderly_close_lets_everything_arrive() {
    let (_network, mut near, mut far) = pair(Conditions::default()).await;
    near.write_all(b"goodbye").await.unwrap();
    drop(near);
    let mut text = String::new();
    far.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "goodbye");
    // Nobody is there any more: the first write tells, later.
    far.write_all(b"wait").await.unwrap();
    sleep(LONG).await;
    assert_eq!(far.write_all(b"hello?").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn closed_with_input_unread_is_a_reset_which_destroys() {
    for (reset_destroys, expected) in [(true, ""), (false, "last words")] {
        let (_network, mut near, mut far) =
            pair(Conditions { reset_destroys, ..Conditions::default() }).await;
        near.write_all(b"unread").await.unwrap();
        far.write_all(b"last words").await.unwrap();
        sleep(LONG).await;
        drop(far);
        sleep(LONG).await;
        let mut read = Vec::new();
        let error = near.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(read, expected.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_cut_one_way_is_whole_the_other_way() {
    let (network, mut near, mut far) = pair(Conditions::default()).await;
    network.cut("a", "b");
    near.write_all(b"there").await.unwrap();
    far.write_all(b"back").await.unwrap();
    let mut read = [0; 4];
    near.read_exact(&mut read).await.unwrap();
    assert!(timeout(LONG, far.read(&mut read)).await.is_err());
    assert!(timeout(LONG, network.connect("a", "b")).await.is_err());
    network.heal("a", "b");
    assert_eq!(timeout(Duration::from_secs(3), far.read(&mut [0; 1])).await.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_without_power_is_silent_and_does_not_know_its_connections_afterwards() {
    let (network, mut near, far) = pair(Conditions::default()).await;
    network.power_off("b");
    drop(far);
    near.write_all(b"anybody?").await.unwrap();
    assert!(timeout(LONG, near.read(&mut [0; 1])).await.is_err());
    network.power_on("b");
    // What was not heard is sent again, and comes back as a reset.
    let error = timeout(LONG, near.read(&mut [0; 1])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = network.connect("a", "b").await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test(start_paused = true)]
async fn faults_of_one_connection() {
    let (network, mut near, mut far) = pair(Conditions::default()).await;
    network.reset(near.wire());
    assert_eq!(near.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(far.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

    let (network, mut near, mut far) = pair(Conditions::default()).await;
    near.write_all(b"x").await.unwrap();
    network.end(near.wire());
    assert_eq!(near.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 1);
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);

    let (network, mut near, mut far) = pair(Conditions::default()).await;
    network.lose(near.wire());
    near.write_all(b"x").await.unwrap();
    assert!(timeout(LONG, far.read(&mut [0; 8])).await.is_err());
    drop(near);
    assert!(timeout(LONG, far.read(&mut [0; 8])).await.is_err());
    drop(far);
    assert_eq!(network.wires(), []);
}

#[test]
fn the_same_seed_has_the_same_course() {
    let course = |seed| {
        towpath_testing::time::paused(async move {
            let conditions = Conditions { loss: 0.1, segment: 50, window: 300, ..Conditions::default() };
            let network = Network::new(seed, conditions);
            let events = Arc::new(Mutex::new(Vec::new()));
            let (start, kept) = (Instant::now(), events.clone());
            network.tap(move |event| {
                if let Event::Read { wire, bytes, .. } = event {
                    kept.lock().unwrap().push((start.elapsed(), wire, bytes.to_vec()));
                }
            });
            let mut listener = network.listen("b").unwrap();
            let mut tasks = Vec::new();
            for client in ["a", "c"] {
                let mut near = network.connect(client, "b").await.unwrap();
                let mut far = listener.accept().await;
                tasks.push(tokio::spawn(async move { near.write_all(&[1; 2000]).await.unwrap() }));
                tasks.push(tokio::spawn(async move {
                    far.read_to_end(&mut Vec::new()).await.unwrap();
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            std::mem::take(&mut *events.lock().unwrap())
        })
    };
    assert!(course(3).len() > 20);
    assert_eq!(course(3), course(3));
    assert_ne!(course(3), course(4));
}
