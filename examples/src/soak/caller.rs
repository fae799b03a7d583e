//! Callers: one call after another, of every kind, until the time is up.

use super::{
    book::{Books, Told},
    lock,
    service::{METHOD, Question, is_answer},
};
use bytes::Bytes;
use fastrand::Rng;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use towpath::{CallError, Client, Processed};

/// What all callers share.
#[derive(Default)]
pub(crate) struct Talk {
    pub(crate) over: AtomicBool,
    pub(crate) said: Mutex<Said>,
}

/// What callers were told, in words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// How often, by code, by what is known of the processing, and whether it came after an ACK.
    pub(crate) failures: BTreeMap<(String, &'static str, bool), u64>,
    pub(crate) wrong: Vec<String>,
    pub(crate) latest: Duration,
}

/// Calls until it is over.
pub(crate) async fn run(clients: Vec<Client>, books: Arc<Books>, talk: Arc<Talk>, mut rng: Rng) {
    while !talk.over.load(Relaxed) {
        let client = &clients[rng.usize(0..clients.len())];
        call(client, &books, &talk, &mut rng).await;
        if rng.bool() {
            sleep(Duration::from_millis(rng.u64(0..30))).await;
        }
    }
}

async fn call(client: &Client, books: &Books, talk: &Talk, rng: &mut Rng) {
    let question = Question::draw(books.issue(), rng);
    let body = question.body(rng);
    let mut request = client.request(METHOD).raw(body.clone());
    let limit = match rng.u32(0..20) {
        0 => None,
        1..=3 => Some(Duration::from_millis(rng.u64(1..50))),
        _ => Some(Duration::from_millis(rng.u64(50..5_000))),
    };
    if let Some(limit) = limit {
        request = request.timeout(limit);
    }
    let (mode, gives_up) = (rng.u32(0..10), rng.u32(0..8) == 0);
    let patience = Duration::from_millis(rng.u64(0..60));
    let start = Instant::now();
    let mut accepted = false;
    let accepted_here = &mut accepted;
    let made = async {
        match mode {
            0 => return request.send_one_way().await.map(|()| None),
            1..=3 => {
                let pending = request.send_async::<Bytes>().await?;
                *accepted_here = true;
                pending.await
            }
            _ => request.send::<Bytes>().await,
        }
        .map(Some)
    };
    let outcome = if gives_up { timeout(patience, made).await.ok() } else { Some(made.await) };
    let told = match outcome {
        None => Told::GaveUp,
        Some(Ok(None)) => Told::Written,
        Some(Ok(Some(answer))) => {
            if !is_answer(&body, &answer) {
                lock(&talk.said)
                    .wrong
                    .push(format!("{question:?} got {} bytes that are no answer", answer.len()));
            }
            Told::Answer
        }
        Some(Err(CallError::Fault(_))) => Told::Fault,
        Some(Err(error)) => failed(&error, accepted, talk),
    };
    books.told(question.call, told);
    if let Some(late) = limit.and_then(|limit| start.elapsed().checked_sub(limit)) {
        let mut said = lock(&talk.said);
        said.latest = said.latest.max(late);
    }
}

fn failed(error: &CallError, accepted: bool, talk: &Talk) -> Told {
    let (told, known) = match error.processed() {
        Processed::No => (Told::NotProcessed, "not processed"),
        Processed::Yes => (Told::Processed, "processed"),
        Processed::Unknown => (Told::Unknown, "nobody knows"),
    };
    let mut said = lock(&talk.said);
    let code = error.code().map_or("none".to_owned(), |code| code.to_string());
    if accepted && told == Told::NotProcessed {
        said.wrong.push(format!("accepted, and then told that it was not processed: {error}"));
    }
    if !code.starts_with("MCP-") {
        said.wrong.push(format!("nothing here fails like that: {error}"));
    }
    *said.failures.entry((code, known, accepted)).or_default() += 1;
    told
}
