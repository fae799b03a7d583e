//! A call in sentences.

use super::notes::{Attempt, Call, Outcome};
use crate::{
    target::status_word,
    text::{self, micros, now_ms},
    view::{Decision, Explanation, FaultView},
};
use std::{error::Error as StdError, time::Duration};
use tokio::time::Instant;
use towpath_balance::{BalanceHandle, EndpointView};
use towpath_core::{BoxError, Brief, EndpointId, Error, Fault, Response, context::TraceId};

/// A chain of causes is not followed for longer.
const DEPTH: usize = 8;
/// Endpoints beside the one that was taken that are named.
const NAMED: usize = 6;
/// A fault's body above this is not read but for its code, in bytes.
const READ: usize = 16 << 10;

/// How a call ended.
pub(super) struct End {
    pub(super) took: Duration,
    pub(super) at_ms: u64,
    /// `ok`, or a code.
    pub(super) outcome: String,
    pub(super) chain: Vec<String>,
    /// The trace that the callee has named.
    pub(super) said: Option<String>,
}

impl End {
    pub(super) fn of(answer: Result<&Response, &BoxError>, took: Duration, messages: bool) -> Self {
        let (outcome, chain) = match answer {
            Ok(response) => fault(response, messages),
            Err(error) => failure(error),
        };
        let said = match answer {
            Err(error) => Error::find(&**error).and_then(Error::trace_id).map(str::to_owned),
            Ok(_) => None,
        };
        End { took, at_ms: now_ms(), outcome, chain, said }
    }
}

pub(super) fn explain(call: &Call, method: &str, end: End, endpoints: Option<&BalanceHandle>) -> Explanation {
    let trace = call.trace.map(|trace| trace.to_string()).or(end.said);
    let views = endpoints.map(BalanceHandle::endpoints).unwrap_or_default();
    let last = call.attempts().filter_map(|attempt| attempt.endpoint).last();
    Explanation {
        target: String::new(),
        trace_id: trace.unwrap_or_else(|| TraceId::random().to_string()),
        at_ms: end.at_ms,
        method: text::plain(method),
        took_us: end.took.as_micros() as u64,
        deadline_us: call.deadline.map(|at| at.saturating_duration_since(call.began).as_micros() as u64),
        priority: call.priority.level(),
        idempotent: call.idempotent,
        sampled: call.sampled,
        attempts: call.made() as u32,
        endpoint: last.map_or_else(String::new, |endpoint| name(Some(endpoint), &views)),
        decisions: decisions(call, end.took, &end.outcome, &end.chain, &views),
        outcome: end.outcome,
        chain: end.chain,
    }
}

/// The same in a line.
pub(super) fn in_a_line(call: &Explanation) -> FaultView {
    FaultView {
        trace_id: call.trace_id.clone(),
        at_ms: call.at_ms,
        method: call.method.clone(),
        code: if call.outcome == "error" { String::new() } else { call.outcome.clone() },
        chain: call.chain.clone(),
        took_us: call.took_us,
        attempts: call.attempts,
        endpoint: call.endpoint.clone(),
    }
}

const GOES_TO: &str = " goes to ";

/// An application's fault: its own code and text, then what it came from.
fn fault(response: &Response, messages: bool) -> (String, Vec<String>) {
    if messages
        && response.body().len() <= READ
        && let Ok(fault) = Fault::from_response(response)
    {
        let own = text::plain(&format!("{}: {}", fault.code(), fault.message()));
        // Its own code may be in its chain as well.
        let causes = fault.chain().iter().filter(|code| **code != fault.code());
        let mut chain = vec![own];
        chain.extend(causes.take(DEPTH).map(|code| format!("from {code}")));
        if chain.len() == 1 {
            chain.extend(fault.cause().map(|code| format!("from {code}")));
        }
        return (fault.code().to_string(), chain);
    }
    match Brief::from_response(response) {
        Ok(brief) => (brief.code.to_string(), vec![brief.code.to_string()]),
        Err(why) => ("error".to_owned(), vec![format!("a fault that cannot be read: {why}")]),
    }
}

/// An error of the stack, and what it came from.
fn failure(error: &BoxError) -> (String, Vec<String>) {
    let code = Error::find(&**error).map_or("error".to_owned(), |error| error.kind().code().to_owned());
    let mut chain: Vec<String> = Vec::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(&**error);
    while let Some(one) = next
        && chain.len() < DEPTH
    {
        let said = text::plain(&one.to_string());
        // One that only passes on what is in it says nothing of its own.
        if chain.last() != Some(&said) {
            chain.push(said);
        }
        next = one.source();
    }
    (code, chain)
}

fn decisions(
    call: &Call,
    took: Duration,
    outcome: &str,
    chain: &[String],
    views: &[EndpointView],
) -> Vec<Decision> {
    let after = |at: Instant| at.saturating_duration_since(call.began);
    let decision = |after: Duration, what: String| Decision { after_us: after.as_micros() as u64, what };
    let deadline = match call.deadline {
        Some(at) => format!("with {} left of its deadline", micros(after(at).as_micros() as u64)),
        None => "without a deadline".to_owned(),
    };
    let twice = if call.idempotent { "may be made twice" } else { "is not said to be idempotent" };
    let level = call.priority.level();
    let mut all =
        vec![decision(Duration::ZERO, format!("the call begins {deadline}, priority {level}; it {twice}"))];
    let mut before = call.began;
    for (number, attempt) in (1..).zip(call.attempts()) {
        let Attempt { began, ended, endpoint, outcome, choice } = attempt;
        let waited = began.saturating_duration_since(before).as_micros() as u64;
        let mut what = format!("attempt {number}{GOES_TO}{}", name(*endpoint, views));
        // Below that, it is what the layers take.
        if waited >= 100 {
            let on = if number == 1 { "the layers above" } else { "retry (backoff or hedge) and limits" };
            what += &format!(", after waiting {} for {on}", micros(waited));
        }
        all.push(decision(after(*began), what));
        if let Some(choice) = choice {
            all.push(decision(after(*began), choice.to_string()));
        }
        let end = ended.map_or(took, after);
        let long = micros(end.saturating_sub(after(*began)).as_micros() as u64);
        let what = match outcome {
            Outcome::Answered => format!("it is answered, {long} later"),
            Outcome::Fault(Some(code)) => format!("it is answered with the fault {code}, {long} later"),
            Outcome::Fault(None) => format!("it is answered with a fault that cannot be read, {long} later"),
            Outcome::Failed(why) => format!("it fails {long} later: {}", text::plain(why)),
            Outcome::GivenUp => {
                format!("it is given up {long} later: its time is up, or another one is done")
            }
            Outcome::Pending => "it is still under way when the call ends".to_owned(),
        };
        all.push(decision(end, what));
        before = ended.unwrap_or(*began);
    }
    if call.made() == 0 && outcome != "ok" {
        all.push(decision(
            took,
            "no attempt was made, or none is recorded: a layer above turned it away".into(),
        ));
    }
    let why = chain.first().filter(|_| outcome != "ok").map(|why| format!(": {why}")).unwrap_or_default();
    all.push(decision(took, format!("the call ends with {outcome}{why}")));
    // Hedges begin before what they stand beside has ended.
    all.sort_by_key(|decision| decision.after_us);
    all
}

fn name(endpoint: Option<EndpointId>, views: &[EndpointView]) -> String {
    let Some(id) = endpoint else { return "the service".to_owned() };
    match views.iter().find(|view| view.endpoint.id() == id) {
        Some(view) => text::plain(view.endpoint.address()),
        None => format!("endpoint {} (which is gone)", id.0),
    }
}

/// What could be chosen from, the one that was taken first.
pub(super) fn choice(views: &[EndpointView], picked: Option<EndpointId>) -> String {
    let takes = views.iter().filter(|view| view.takes_calls).count();
    let say = |view: &EndpointView| {
        let answers = match view.latency {
            Some(latency) => format!(", answers in {}", micros(latency.as_micros() as u64)),
            None => String::new(),
        };
        let status = status_word(&view.status);
        format!("{} ({status}, {} in flight{answers})", text::plain(view.endpoint.address()), view.in_flight)
    };
    let (taken, others): (Vec<_>, Vec<_>) = views.iter().partition(|view| Some(view.endpoint.id()) == picked);
    let mut text = format!("{takes} of {} endpoints take calls", views.len());
    if let Some(taken) = taken.first() {
        text += &format!("; taken: {}", say(taken));
    }
    if !others.is_empty() {
        let named: Vec<String> = others.iter().take(NAMED).map(|view| say(view)).collect();
        text += &format!("; others: {}", named.join(", "));
        if others.len() > NAMED {
            text += &format!(" and {} more", others.len() - NAMED);
        }
    }
    text
}
