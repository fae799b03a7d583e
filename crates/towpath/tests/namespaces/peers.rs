//! What runs inside the namespaces, and what the test makes of it.

use bytes::Bytes;
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    sync::mpsc,
    time::{Instant, interval, sleep},
};
use towpath::{Backoff, CallError, Client, ClientConfig, Jitter, Router, Server, ServerConfig};

pub const CLIENT: &str = "10.213.0.1";
pub const SERVER: &str = "10.213.0.2";
const PORT: u16 = 7000;

const EVERY: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(2);
/// A busy machine may be as late.
const SLACK: Duration = Duration::from_millis(1_500);

const KEEP_ALIVE: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const BACKOFF: Duration = Duration::from_secs(1);

/// At work, from the beginning to the end, however it comes.
struct Working(Arc<AtomicU64>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Serves until its input ends; then drains, and says how many handlers are left.
pub async fn server() {
    let working = Arc::new(AtomicU64::new(0));
    let at_work = working.clone();
    let router = Router::new().route("Line.Echo", move |body: Bytes| {
        at_work.fetch_add(1, Relaxed);
        let working = Working(at_work.clone());
        async move {
            sleep(Duration::from_millis(u64::from(body[0]) % 20)).await;
            drop(working);
            body
        }
    });
    let config = ServerConfig {
        keep_alive: Some(KEEP_ALIVE),
        keep_alive_timeout: KEEP_ALIVE_TIMEOUT,
        drain_timeout: Duration::from_secs(3),
        ..ServerConfig::default()
    };
    let server = Server::builder().config(config).bind((SERVER, PORT)).await.unwrap();
    println!("listening");
    let serving = server.serve(router).with_graceful_shutdown(async {
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    });
    serving.await.unwrap();
    println!("handlers left: {}", working.load(Relaxed));
}

/// A call every 20 ms; a line for each: when it was made, how long it took, what came of it.
pub async fn client(lasts: Duration) {
    let config = ClientConfig {
        connect_timeout: CONNECT_TIMEOUT,
        keep_alive: Some(KEEP_ALIVE),
        keep_alive_timeout: KEEP_ALIVE_TIMEOUT,
        ..ClientConfig::default()
    };
    let backoff = Backoff::try_new(Duration::from_millis(50), BACKOFF, 2.0, Jitter::Full).unwrap();
    let client = Client::builder().config(config).timeout(DEADLINE).reconnect(backoff);
    let client = client.connect_lazy(format!("mcp://{SERVER}:{PORT}")).unwrap();
    client.ready().await.unwrap();
    println!("begins");
    let (start, mut tick) = (Instant::now(), interval(EVERY));
    let (results, mut ended) = mpsc::unbounded_channel();
    for n in 0u64.. {
        tick.tick().await;
        if start.elapsed() > lasts {
            break;
        }
        let (client, results) = (client.clone(), results.clone());
        tokio::spawn(async move {
            // Mostly small, now and then many packets.
            let size = if n % 25 == 0 { 20_000 } else { 100 };
            let body: Bytes = (0..size).map(|at| (at ^ n) as u8).collect();
            let made = Instant::now();
            let request = client.request("Line.Echo").raw(body.clone());
            let outcome = match n % 10 {
                0 => match request.send_async::<Bytes>().await {
                    Ok(accepted) => accepted.await,
                    Err(error) => Err(error),
                },
                _ => request.send::<Bytes>().await,
            };
            let said = match outcome {
                Ok(echo) if echo == body => "ok".to_owned(),
                Ok(_) => "wrong".to_owned(),
                Err(CallError::Failed(error)) => error.kind().code().to_owned(),
                Err(other) => format!("{other:?}").replace(' ', "_"),
            };
            results.send((made - start, made.elapsed(), said)).unwrap();
        });
    }
    drop(results);
    while let Some((at, took, said)) = ended.recv().await {
        println!("call {} {} {said}", at.as_millis(), took.as_millis());
    }
}

/// What the client says of its calls.
pub struct Report(Vec<Call>);

struct Call {
    at: Duration,
    took: Duration,
    said: String,
}

impl Report {
    pub fn read(text: &str) -> Self {
        let read = |line: &str| {
            let mut words = line.strip_prefix("call ")?.split(' ');
            let mut ms = || words.next()?.parse().ok().map(Duration::from_millis);
            Some(Call { at: ms()?, took: ms()?, said: words.next()?.to_owned() })
        };
        Report(text.lines().filter_map(read).collect())
    }

    /// The calls that were made between two moments, and how many of them are `ok`.
    fn between(&self, from: Duration, to: Duration) -> (Vec<&Call>, usize) {
        let calls: Vec<&Call> = self.0.iter().filter(|call| from <= call.at && call.at < to).collect();
        let ok = calls.iter().filter(|call| call.said == "ok").count();
        (calls, ok)
    }

    /// When the first answer after the cut has come, from its end on.
    fn resumed(&self, end: Duration) -> Option<Duration> {
        let ok = self.0.iter().filter(|call| call.said == "ok" && call.at + call.took > end);
        ok.map(|call| call.at + call.took - end).min()
    }

    pub fn summary(&self, before: Duration, cut: Duration) -> String {
        let mut text = String::new();
        let ends = [
            ("before", Duration::ZERO, before),
            ("in the cut", before, before + cut),
            ("after", before + cut, Duration::MAX),
        ];
        for (name, from, to) in ends {
            let (calls, _) = self.between(from, to);
            let mut counts = std::collections::BTreeMap::<&str, usize>::new();
            calls.iter().for_each(|call| *counts.entry(&call.said).or_default() += 1);
            let latest = calls.iter().map(|call| call.took).max().unwrap_or_default();
            let _ = writeln!(text, "{name}: {} calls {counts:?}, the longest {latest:?}", calls.len());
        }
        let _ = write!(
            text,
            "service resumed {:?} after the cut",
            self.resumed(before + cut).unwrap_or(Duration::MAX)
        );
        text
    }

    /// Calls end by their deadlines or succeed; service is there while the line is, and comes back by itself.
    pub fn judge(&self, before: Duration, cut: Duration) {
        let told = ["ok", "MCP-W-101", "MCP-E-010", "MCP-E-011"];
        for Call { at, took, said } in &self.0 {
            assert!(told.contains(&&**said), "a call made at {at:?} came to {said}");
            assert!(*took <= DEADLINE + SLACK, "a call made at {at:?} took {took:?}");
        }
        let (calls, ok) = self.between(Duration::ZERO, before - Duration::from_secs(1));
        assert!(calls.len() > 100 && ok * 10 >= calls.len() * 9, "before the cut, {ok} of {}", calls.len());
        // Not those whose deadline is after it, and none at its edge: the clocks of two processes.
        let (calls, ok) =
            self.between(before + cut / 5, before + cut - DEADLINE - Duration::from_millis(500));
        assert!(calls.len() > 30 && ok == 0, "in the cut, {ok} of {}", calls.len());
        let soon = KEEP_ALIVE + KEEP_ALIVE_TIMEOUT + CONNECT_TIMEOUT + BACKOFF;
        let resumed = self.resumed(before + cut).expect("service did not resume");
        assert!(resumed <= soon + SLACK, "service resumed after {resumed:?}");
        let (calls, ok) = self.between(before + cut + soon + SLACK, Duration::MAX);
        assert!(calls.len() > 50 && ok * 10 >= calls.len() * 9, "after the cut, {ok} of {}", calls.len());
    }
}
