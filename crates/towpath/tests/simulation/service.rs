//! What the servers do, and what the right answer is.

use super::{
    ledger::{Ending, Ledger},
    plan::{Call, Work},
};
use bytes::Bytes;
use std::{future::Future, time::Duration};
use towpath::{Fault, Request, Router, fault_codes, router::Handler};

fault_codes! {
    /// What the handlers fail with on purpose.
    pub enum SimFault {
        /// As it was asked for.
        Asked = "SIM-E-001", "as it was asked for";
    }
}

/// Number, work, size of the answer, and as much else as the plan says.
pub fn question(id: usize, call: &Call) -> Bytes {
    let (work, ms) = match call.work {
        Work::Answer => (0, 0),
        Work::Late(ms) => (1, ms),
        Work::Fault => (2, 0),
        Work::Panic => (3, 0),
    };
    let mut body = Vec::with_capacity(24 + call.ask_bytes);
    body.extend_from_slice(&(id as u64).to_be_bytes());
    body.extend_from_slice(&u32::to_be_bytes(work));
    body.extend_from_slice(&ms.to_be_bytes());
    body.extend_from_slice(&(call.answer_bytes as u64).to_be_bytes());
    body.extend((0..call.ask_bytes).map(|at| (at ^ id) as u8));
    body.into()
}

/// A function of the whole question.
fn answer(question: &[u8]) -> Vec<u8> {
    let size = u64::from_be_bytes(question[16..24].try_into().unwrap()) as usize;
    let sum = question.iter().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let mut answer = question[..8].to_vec();
    answer.extend_from_slice(&sum.to_be_bytes());
    answer.extend((0..size).map(|at| (at as u64 ^ sum) as u8));
    answer
}

/// What an answer to that question is.
pub fn judge(question: &[u8], given: &[u8]) -> Ending {
    if answer(question) == given {
        return Ending::Answer;
    }
    Ending::Wrong(format!("{} bytes, of call {:?}", given.len(), given.get(..8)))
}

fn handler(ledger: Ledger) -> impl Fn(Request) -> BoxFuture + Clone + Send + Sync + 'static {
    move |request: Request| {
        let body = request.body().clone();
        let id = u64::from_be_bytes(body[..8].try_into().unwrap()) as usize;
        let mut working = ledger.begin(id, request.context().deadline());
        Box::pin(async move {
            let [work, ms] = [8, 12].map(|at| u32::from_be_bytes(body[at..at + 4].try_into().unwrap()));
            if work == 1 {
                tokio::time::sleep(Duration::from_millis(ms.into())).await;
            }
            assert!(work != 3, "on purpose");
            working.finish();
            if work == 2 { Err(SimFault::Asked.into()) } else { Ok(Bytes::from(answer(&body))) }
        })
    }
}

type BoxFuture = std::pin::Pin<Box<dyn Future<Output = Result<Bytes, Fault>> + Send>>;

pub fn router(ledger: &Ledger) -> Router {
    Router::new()
        .route("Sim.Work", handler(ledger.clone()))
        .route("Sim.Spawned", handler(ledger.clone()).spawned())
}
