//! A server that is frozen: its sockets live, and nobody is behind them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Other processes have no clock to pause.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use towpath::{CallError, Client, ErrorKind, Processed};

struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// `None`: the address is not free yet.
    fn start(address: &str) -> Option<Self> {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_towpath"));
        serve.args(["serve", "--listen", address]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = serve.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.strip_prefix("listening on ") {
            Some(address) => Some(Server { address: address.trim_end().to_owned(), child }),
            None => {
                child.wait().unwrap();
                None
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Returns when every one of its threads has stopped: the signal alone is only a wish.
    fn freeze(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        let begin = Instant::now();
        let stopped = || {
            fs::read_dir(&tasks).unwrap().all(|task| {
                let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
            })
        };
        while !stopped() {
            assert!(begin.elapsed() < Duration::from_secs(20), "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Also one that is frozen.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn echo(client: &Client, limit: Duration) -> Result<String, CallError> {
    client.request("Echo.Echo").raw("there").timeout(limit).send().await
}

/// A client as it is out of the box: 10 s until it asks for life, 5 s until it gives up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p27_a_default_client_gives_up_a_frozen_server_and_finds_it_again() {
    let server = Server::start("127.0.0.1:0").unwrap();
    let client = Client::connect(format!("mcp://{}", server.address)).await.unwrap();
    assert_eq!(echo(&client, Duration::from_secs(10)).await.unwrap(), "there");

    server.freeze();
    let frozen = Instant::now();
    let nap =
        client.request("Debug.Sleep").body(&serde_json::json!({"ms": 1})).timeout(Duration::from_secs(60));
    let patient = tokio::spawn(nap.send::<serde_json::Value>());
    // Calls end by their own deadlines, whatever becomes of the connection.
    for _ in 0..3 {
        let begin = Instant::now();
        let error = echo(&client, Duration::from_secs(1)).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        let took = begin.elapsed();
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
    }
    // Who would wait longer hears that the connection is given up.
    let error = patient.await.unwrap().unwrap_err();
    let CallError::Failed(lost) = &error else { panic!("{error:?}") };
    assert_eq!((lost.kind(), lost.processed()), (ErrorKind::ConnectionLost, Processed::Unknown), "{error}");
    let took = frozen.elapsed();
    assert!(took >= Duration::from_secs(14) && took < Duration::from_secs(25), "{took:?}");
    // The system still accepts for the frozen process: still no call hangs.
    assert!(echo(&client, Duration::from_millis(300)).await.is_err());

    server.signal("CONT");
    assert_eq!(echo(&client, Duration::from_secs(20)).await.unwrap(), "there");

    // Frozen for good, and replaced by another process: the client finds that one.
    server.freeze();
    assert!(echo(&client, Duration::from_millis(300)).await.is_err());
    let address = server.address.clone();
    drop(server);
    let begin = Instant::now();
    let _next = loop {
        if let Some(server) = Server::start(&address) {
            break server;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{address} does not become free");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(echo(&client, Duration::from_secs(20)).await.unwrap(), "there");
}
