//! A thread for each core.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, mpsc},
    thread::{self, ThreadId},
    time::Duration,
};
use towpath::{Client, Cores, Router, Server};

type Seen = Arc<Mutex<BTreeSet<String>>>;

fn here() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// A server that accepts on the first, and notes on which threads its handlers run; and where it is.
fn serve(cores: &Cores, seen: &Seen) -> String {
    let (say, hear) = mpsc::channel();
    let (runtimes, seen) = (cores.handles().to_vec(), seen.clone());
    cores.spawn_on(0, async move {
        let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
        say.send(server.address().to_string()).unwrap();
        let handler = move || {
            let seen = seen.clone();
            async move {
                // Aside from the connection's own task: still on its thread.
                tokio::task::yield_now().await;
                seen.lock().unwrap().insert(here());
                "there"
            }
        };
        server.serve(Router::new().route("Where.Am", handler)).across(runtimes).await.unwrap();
    });
    hear.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn connections_are_spread_and_stay_where_they_are() {
    let cores = Cores::new(3).unwrap();
    let seen = Seen::default();
    let address = serve(&cores, &seen);
    let threads: Vec<Vec<ThreadId>> = cores
        .run(|_| {
            let address = address.clone();
            async move {
                let client = Client::connect(&address).await.unwrap();
                let mut threads = Vec::new();
                for _ in 0..20 {
                    let there: String = client.request("Where.Am").raw("").send().await.unwrap();
                    assert_eq!(there, "there");
                    threads.push(thread::current().id());
                }
                threads
            }
        })
        .unwrap();
    for threads in threads {
        assert!(threads.iter().all(|thread| *thread == threads[0]), "a caller stays on its thread");
    }
    let names = ["towpath-0", "towpath-1", "towpath-2"].map(String::from);
    assert_eq!(*seen.lock().unwrap(), BTreeSet::from(names), "three connections, three threads");
    cores.join();
}

#[test]
fn a_task_that_panics_is_told_of_and_harms_no_other() {
    let cores = Cores::new(2).unwrap();
    let blown = cores.run(|core| async move { assert_ne!(core, 1, "on purpose") });
    assert!(blown.unwrap_err().is_panic());
    assert_eq!(cores.run(|core| async move { core }).unwrap(), [0, 1]);
    assert!(Cores::new(0).is_err());
}

#[test]
fn the_end_drops_what_still_runs() {
    struct Dropped(mpsc::Sender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let cores = Cores::new(1).unwrap();
    let (say, hear) = mpsc::channel();
    let guard = Dropped(say);
    cores.spawn_on(0, async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    });
    drop(cores);
    hear.recv_timeout(Duration::from_secs(20)).expect("the task is dropped");
}
