//! What became of every call, written down by callers and by handlers, and what must be true of it.

use super::plan::{Call, Plan, Work};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::time::Instant;
use towpath::{CallError, ErrorKind, Mode, Processed};

/// A timer rings up to a millisecond late, and a driver may look once more.
const LATE: Duration = Duration::from_millis(3);

/// As long as it takes at most until a cancellation is there, where nothing goes wrong: a latency, and what is
/// on its way before it.
const CANCELLED: Duration = Duration::from_millis(250);

/// As long as a call takes at most beside the work, where nothing goes wrong: a connect, two ways of 50 ms, and
/// large bodies before its own.
const PROMPT: Duration = Duration::from_millis(700);

#[derive(Clone)]
pub struct Ledger(Arc<Mutex<Book>>);

pub struct Book {
    pub start: Instant,
    /// Nothing goes wrong with the network.
    calm: bool,
    pub records: Vec<Record>,
    pub violations: Vec<String>,
    /// The course of things, if it is wanted.
    pub trace: Option<Vec<String>>,
}

#[derive(Debug)]
pub struct Record {
    pub call: Call,
    pub issued: Instant,
    pub deadline: Option<Instant>,
    /// How often a handler began, and since when one is at work.
    pub began: u32,
    pub working: u32,
    pub finished: u32,
    /// Its request is on the wire, whole.
    written: bool,
    pub accepted: Option<Instant>,
    pub ended: Option<(Instant, Ending)>,
}

#[derive(Clone, Debug)]
pub enum Ending {
    /// The right answer.
    Answer,
    /// Another one.
    Wrong(String),
    Fault(String),
    Failed(ErrorKind, Processed, String),
    Cancelled,
}

impl Ledger {
    pub fn new(start: Instant, calm: bool, trace: bool) -> Self {
        let trace = trace.then(Vec::new);
        Ledger(Arc::new(Mutex::new(Book { start, calm, records: Vec::new(), violations: Vec::new(), trace })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    /// The calls whose handlers are at work.
    pub fn at_work(&self) -> Vec<usize> {
        let book = self.lock();
        (0..book.records.len()).filter(|id| book.records[*id].working > 0).collect()
    }

    pub fn violation(&self, what: impl Into<String>) {
        self.lock().violation(what.into());
    }

    pub fn note(&self, what: impl FnOnce() -> String) {
        self.lock().note(what);
    }

    /// A call is about to be made; returns its number.
    pub fn issue(&self, call: Call) -> usize {
        let now = Instant::now();
        let mut book = self.lock();
        let id = book.records.len();
        let deadline = call.timeout.map(|timeout| now + timeout);
        book.note(|| format!("call {id}: {call:?}"));
        book.records.push(Record {
            call,
            issued: now,
            deadline,
            began: 0,
            working: 0,
            finished: 0,
            written: false,
            accepted: None,
            ended: None,
        });
        id
    }

    /// A handler begins; dropping what is returned is its end.
    pub fn begin(&self, id: usize, deadline: Option<Instant>) -> Working {
        let mut book = self.lock();
        book.note(|| format!("handler {id} begins"));
        if deadline.is_some() != book.records[id].deadline.is_some() {
            book.violation(format!("handler {id} does not know its deadline: {deadline:?}"));
        }
        let record = &mut book.records[id];
        record.began += 1;
        record.working += 1;
        Working { ledger: self.clone(), id, deadline, finished: false }
    }

    /// Its request was written.
    pub fn written(&self, id: usize) {
        self.lock().records[id].written = true;
    }

    pub fn accepted(&self, id: usize) {
        let mut book = self.lock();
        book.note(|| format!("call {id} accepted"));
        let began = book.records[id].began;
        if began != 1 {
            book.violation(format!("call {id} was accepted, and {began} handlers have begun"));
        }
        book.records[id].accepted = Some(Instant::now());
    }

    pub fn end(&self, id: usize, ending: Ending) {
        let mut book = self.lock();
        book.note(|| format!("call {id} ends: {ending:?}"));
        let now = Instant::now();
        if matches!(ending, Ending::Answer) && !book.records[id].written {
            book.violation(format!("call {id} is done, and was not written"));
        }
        if book.records[id].ended.replace((now, ending)).is_some() {
            book.violation(format!("call {id} ended twice"));
        }
    }
}

/// A handler at work.
pub struct Working {
    ledger: Ledger,
    id: usize,
    deadline: Option<Instant>,
    finished: bool,
}

impl Working {
    pub fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut book = self.ledger.lock();
        let (id, now) = (self.id, Instant::now());
        book.note(|| format!("handler {id} ends"));
        if let Some(deadline) = self.deadline
            && now > deadline + LATE
        {
            book.violation(format!("handler {id} was at work {:?} after its deadline", now - deadline));
        }
        if let Some((at, Ending::Cancelled)) = book.records[id].ended
            && book.calm
            && now > at + CANCELLED
        {
            book.violation(format!("handler {id} was at work {:?} after its caller gave up", now - at));
        }
        book.records[id].working -= 1;
        book.records[id].finished += u32::from(self.finished);
    }
}

impl Record {
    /// When it ended, and in what words.
    fn said(&self) -> String {
        match &self.ended {
            Some((at, Ending::Failed(_, _, text) | Ending::Wrong(text) | Ending::Fault(text))) => {
                format!("after {:?}: {text}", *at - self.issued)
            }
            Some((at, _)) => format!("after {:?}", *at - self.issued),
            None => String::new(),
        }
    }
}

impl Ending {
    pub fn of(error: &CallError) -> Self {
        match error {
            CallError::Fault(fault) => Ending::Fault(fault.code().to_string()),
            CallError::Failed(error) => Ending::Failed(error.kind(), error.processed(), error.to_string()),
            other => Ending::Wrong(other.to_string()),
        }
    }
}

impl Book {
    pub fn violation(&mut self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9} us  {}", self.start.elapsed().as_micros(), what()));
        }
    }

    /// Goes through all calls once everything is over; counts what they came to.
    pub fn audit(&mut self, plan: &Plan, counts: &mut BTreeMap<String, u64>) {
        let mut found = Vec::new();
        for (id, record) in self.records.iter().enumerate() {
            let mode = record.call.mode;
            let text = match &record.ended {
                None => "never ended".to_owned(),
                Some((_, Ending::Answer)) => "answered".to_owned(),
                Some((_, Ending::Wrong(_))) => "wrong".to_owned(),
                Some((_, Ending::Fault(code))) => code.clone(),
                Some((_, Ending::Cancelled)) => "given up".to_owned(),
                Some((_, Ending::Failed(kind, processed, _))) => {
                    format!(
                        "{} {processed:?}{}",
                        kind.code(),
                        if record.accepted.is_some() { " after ACK" } else { "" }
                    )
                }
            };
            *counts.entry(format!("{mode:?} {text}")).or_default() += 1;
            for what in wrong(record, plan) {
                let (issued, began, finished) = (record.issued - self.start, record.began, record.finished);
                found.push(format!(
                    "call {id}: {what}; issued after {issued:?}, {text} {}, handlers begun {began}, finished \
                     {finished}, {:?}",
                    record.said(),
                    record.call
                ));
            }
        }
        found.into_iter().for_each(|line| self.violation(line));
    }
}

/// What is wrong with what became of a call.
fn wrong(record: &Record, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            found.push(what.to_owned());
        }
    };
    let call = &record.call;
    must(record.began <= 1, "it was carried out more than once");
    must(record.working == 0, "its handler is still at work");
    let Some((at, ending)) = &record.ended else {
        found.push("it never ended".to_owned());
        return found;
    };
    if let Some(deadline) = record.deadline {
        must(*at <= deadline + LATE, "it ended after its deadline");
    }
    let prompt = Duration::from_millis(if let Work::Late(ms) = call.work { ms.into() } else { 0 }) + PROMPT;
    let answered = matches!(ending, Ending::Answer | Ending::Fault(_));
    must(!plan.calm || !answered || *at <= record.issued + prompt, "it waited, and nothing went wrong");
    match ending {
        Ending::Wrong(what) => found.push(format!("it was answered wrongly: {what}")),
        Ending::Cancelled => {}
        Ending::Answer if call.mode == Mode::OneWay => {}
        Ending::Answer => {
            must(matches!(call.work, Work::Answer | Work::Late(_)), "an answer that nobody gave");
            must(record.finished == 1, "it is answered, and no handler has finished");
        }
        Ending::Fault(code) => {
            must(call.work == Work::Fault && code == "SIM-E-001", "a fault that nobody gave");
            must(record.finished == 1, "a fault, and no handler has finished");
        }
        Ending::Failed(kind, processed, _) => {
            must(
                *processed != Processed::No || record.began == 0,
                "it is said not to be processed, and its handler began",
            );
            must(
                *processed != Processed::Yes || record.finished == 1,
                "it is said to be processed, and its handler did not finish",
            );
            must(
                record.accepted.is_none() || *processed != Processed::No,
                "accepted, and then said not to be processed",
            );
            match kind {
                ErrorKind::DeadlineExceeded => {
                    must(
                        record.deadline.is_some_and(|deadline| *at >= deadline),
                        "its deadline is said to have passed, and has not",
                    );
                    let work = if let Work::Late(ms) = call.work { ms.into() } else { 0 };
                    let ample = Duration::from_millis(work + 1_500);
                    must(
                        !plan.calm || call.timeout < Some(ample),
                        "it had time enough, and nothing went wrong",
                    );
                }
                ErrorKind::HandlerFailed => {
                    must(call.work == Work::Panic, "its handler is said to have failed, and did not");
                }
                ErrorKind::TooLarge => must(
                    plan.clients[call.client].0.max_payload < call.answer_bytes as u32 + 256,
                    "too large, and it is not",
                ),
                ErrorKind::Overloaded => {
                    let limit = plan.servers[call.server].max_outstanding;
                    must(limit < 65_536, "overloaded, and there is no limit");
                }
                ErrorKind::ConnectFailed => {
                    let waited = record.deadline.is_none_or(|deadline| *at >= deadline);
                    must(waited && !plan.calm, "it did not wait for a connection as long as it could");
                }
                ErrorKind::ConnectionLost | ErrorKind::Draining => {
                    must(!plan.calm, "nothing has happened to the connection");
                }
                // What a drain that has waited long enough says.
                ErrorKind::Cancelled => must(!plan.calm, "nobody gave it up"),
                _ => found.push("nothing here can fail like that".to_owned()),
            }
        }
    }
    found
}
