//! Those who call.

use super::{pace::Pace, tally::Tally};
use crate::exit::Failure;
use bytes::Bytes;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use towpath::{CallError, Client, CodecId, Fault, Method, auth::Token};

/// How often it is looked whether the user wants it to end.
const LOOK: Duration = Duration::from_millis(50);

/// How late the last calls of a timetable may be sent: their time comes right before the end.
const GRACE: Duration = Duration::from_millis(200);

/// What is called.
pub(super) struct Target {
    pub(super) method: Method,
    pub(super) codec: CodecId,
    pub(super) body: Bytes,
    pub(super) headers: Vec<(String, String)>,
    pub(super) token: Option<Token>,
    pub(super) timeout: Duration,
}

impl Target {
    /// What the call failed with.
    async fn call(&self, client: &Client) -> Option<String> {
        let call = client.request(self.method.clone()).encoded(self.codec, self.body.clone());
        let mut call = call.timeout(self.timeout);
        for (key, value) in &self.headers {
            call = call.meta(key, value);
        }
        if let Some(token) = &self.token {
            call = call.authorization(token.to_authorization());
        }
        match call.send_raw().await {
            Ok(response) if response.is_fault() => Some(match Fault::from_response(&response) {
                Ok(fault) => fault.code().to_string(),
                Err(_) => "unreadable fault".to_owned(),
            }),
            Ok(_) => None,
            Err(error) => Some(code(&error)),
        }
    }
}

fn code(error: &CallError) -> String {
    error.code().map_or_else(|| error.to_string(), |code| code.to_string())
}

/// A number of callers on each connection, at work.
pub(super) struct Load {
    tallies: Vec<Arc<Mutex<Tally>>>,
    callers: JoinSet<()>,
    pace: Option<Arc<Pace>>,
    end: Instant,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub(super) fn start(
        clients: Vec<Client>,
        target: &Arc<Target>,
        inflight: u32,
        rate: Option<f64>,
        begin: Instant,
        duration: Duration,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let pace = rate.map(|rate| Arc::new(Pace::new(rate, begin, duration)));
        let mut load = Load {
            tallies: Vec::new(),
            callers: JoinSet::new(),
            pace,
            end: begin + duration,
            stop: stop.clone(),
        };
        for client in clients {
            let tally = Arc::new(Mutex::new(Tally::new()?));
            load.tallies.push(tally.clone());
            for _ in 0..inflight {
                let caller = Caller {
                    client: client.clone(),
                    target: target.clone(),
                    tally: tally.clone(),
                    pace: load.pace.clone(),
                    end: load.end,
                    stop: stop.clone(),
                };
                load.callers.spawn(caller.run());
            }
        }
        if let Some(pace) = &load.pace {
            pace.start(stop);
        }
        Ok(load)
    }

    /// One for each connection.
    pub(super) fn tallies(&self) -> &[Arc<Mutex<Tally>>] {
        &self.tallies
    }

    /// Waits until the time is up and the last call has ended; how long each call that was due and never
    /// sent had waited.
    pub(super) async fn finished(&mut self) -> Result<Vec<Duration>, Failure> {
        while Instant::now() < self.end && !self.stop.load(Relaxed) {
            sleep(self.end.saturating_duration_since(Instant::now()).min(LOOK)).await;
        }
        if let Some(pace) = &self.pace {
            let late = Instant::now() + GRACE;
            while !pace.is_over() && Instant::now() < late && !self.stop.load(Relaxed) {
                sleep(Duration::from_millis(1)).await;
            }
        }
        let unsent = self.pace.as_ref().map(|pace| pace.end(Instant::now())).unwrap_or_default();
        while let Some(ended) = self.callers.join_next().await {
            ended.map_err(|error| Failure::Other(format!("a caller failed: {error}")))?;
        }
        Ok(unsent)
    }
}

/// Makes one call after another.
struct Caller {
    client: Client,
    target: Arc<Target>,
    tally: Arc<Mutex<Tally>>,
    pace: Option<Arc<Pace>>,
    end: Instant,
    stop: Arc<AtomicBool>,
}

impl Caller {
    async fn run(self) {
        while let Some(due) = self.due().await {
            let failed = self.target.call(&self.client).await;
            let took = Instant::now().saturating_duration_since(due);
            self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(took, failed);
        }
    }

    /// When the next call should be sent: by the timetable, or now.
    async fn due(&self) -> Option<Instant> {
        match &self.pace {
            Some(pace) => pace.next().await,
            None => {
                let now = Instant::now();
                (now < self.end && !self.stop.load(Relaxed)).then_some(now)
            }
        }
    }
}
