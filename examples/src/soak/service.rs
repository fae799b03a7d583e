//! What the servers do, and what the right answer is.

use super::book::{Books, Done};
use bytes::Bytes;
use fastrand::Rng;
use std::{sync::Arc, time::Duration};
use towpath::{Fault, Request, Router, State, fault_codes};

fault_codes! {
    /// What the handlers fail with on purpose.
    pub(crate) enum SoakFault {
        /// As it was asked for.
        Asked = "SOAK-E-001", "as it was asked for";
        /// Not a question of a soak.
        Unreadable = "SOAK-E-002", "this is no question";
    }
}

pub(crate) const METHOD: &str = "Soak.Work";

/// What a handler panics with, and nobody needs to see.
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// What is asked: the call's number, what to do, how much to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) call: u64,
    work: u64,
    wait_ms: u64,
    answer: u64,
}

const WORDS: usize = 4;

impl Question {
    pub(crate) fn draw(call: u64, rng: &mut Rng) -> Self {
        let work = match rng.u32(0..100) {
            0..=3 => 1,
            4 => 2,
            _ => 0,
        };
        let wait_ms = match rng.u32(0..10) {
            0..=5 => 0,
            6..=8 => rng.u64(0..20),
            _ => rng.u64(0..300),
        };
        Question { call, work, wait_ms, answer: size(rng) }
    }

    /// As a body, with something more.
    pub(crate) fn body(&self, rng: &mut Rng) -> Bytes {
        let more = size(rng) as usize;
        let mut body = Vec::with_capacity(WORDS * 8 + more);
        for word in [self.call, self.work, self.wait_ms, self.answer] {
            body.extend_from_slice(&word.to_be_bytes());
        }
        body.extend((0..more).map(|at| (at as u64 ^ self.call) as u8));
        body.into()
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (words, _) = body.as_chunks::<8>();
        let [call, work, wait_ms, answer] = *words.first_chunk::<WORDS>()?;
        let [call, work, wait_ms, answer] = [call, work, wait_ms, answer].map(u64::from_be_bytes);
        Some(Question { call, work, wait_ms, answer })
    }
}

fn size(rng: &mut Rng) -> u64 {
    match rng.u32(0..50) {
        0 => rng.u64(10_000..100_000),
        1..=5 => rng.u64(500..10_000),
        _ => rng.u64(0..200),
    }
}

/// A function of every byte of the question.
pub(crate) fn answer(body: &[u8], size: u64) -> Vec<u8> {
    let sum = body.iter().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let mut answer = sum.to_be_bytes().to_vec();
    answer.extend((0..size).map(|at| (at ^ sum) as u8));
    answer
}

/// Whether that is the answer to this question.
pub(crate) fn is_answer(body: &[u8], given: &[u8]) -> bool {
    Question::read(body).is_some_and(|question| answer(body, question.answer) == given)
}

/// A handler at work: whatever becomes of it, it is written down.
struct Working {
    books: Arc<Books>,
    call: u64,
    done: Done,
}

impl Drop for Working {
    fn drop(&mut self) {
        let done = if std::thread::panicking() { Done::Panicked } else { self.done };
        self.books.done(self.call, done);
    }
}

#[allow(clippy::panic)] // One kind of work is to panic.
async fn work(State(books): State<Arc<Books>>, request: Request) -> Result<Bytes, Fault> {
    let body = request.body().clone();
    let Some(question) = Question::read(&body) else { return Err(SoakFault::Unreadable.into()) };
    books.begin(question.call);
    let mut working = Working { books, call: question.call, done: Done::Stopped };
    if question.wait_ms > 0 {
        tokio::time::sleep(Duration::from_millis(question.wait_ms)).await;
    }
    match question.work {
        1 => {
            working.done = Done::Faulted;
            Err(SoakFault::Asked.into())
        }
        2 => std::panic::panic_any(ON_PURPOSE),
        _ => {
            let answer = answer(&body, question.answer);
            working.done = Done::Answered;
            Ok(answer.into())
        }
    }
}

pub(crate) fn router(books: Arc<Books>) -> Router {
    Router::new().route(METHOD, work).with_state(books)
}
