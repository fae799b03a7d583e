//! What is shown, as plain values: the JSON of all pages, and what `towpath top` reads.
//!
//! Times are whole microseconds (`_us`) or milliseconds (`_ms`); a moment is milliseconds since 1970. A field that is not
//! known is `null`. Fields may be added.

use serde::{Deserialize, Serialize};

/// All that is seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// When.
    pub at_ms: u64,
    /// For how long the admin interface has been there.
    pub up_ms: u64,
    /// Whether breakers can be opened and closed by hand here.
    pub writable: bool,
    /// Whether there is something at `/metrics`.
    pub metrics: bool,
    /// Clients and servers, in the order in which they were given.
    pub targets: Vec<TargetView>,
    /// What has happened to them, the newest first: the last fifty.
    pub events: Vec<EventView>,
}

/// Something that has happened to a client or a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventView {
    /// When: of breakers, ejections and panic exactly; of the rest to a second, as that is how often is looked.
    pub at_ms: u64,
    /// To which client or server.
    pub target: String,
    /// `breaker`, `endpoint`, `panic`, `limit`, `budget`; `client`, `server`: its state.
    pub kind: String,
    /// `good`, `warn`, `bad`, or empty.
    pub level: String,
    /// Which breaker, endpoint or limit; empty: the client or server itself.
    pub who: String,
    /// What, in a few words.
    pub what: String,
}

/// One client or server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetView {
    /// As it was named.
    pub name: String,
    /// `client` or `server`.
    pub side: String,
    /// `connected`, `connecting`, `idle`, `closed`; of a server `starting`, `serving`, `draining`.
    pub state: String,
    /// More of that, for people; may be empty.
    pub about: String,
    /// Whether so few of its endpoints are well that all of them get calls.
    pub panics: bool,
    /// Its layers, from outside to inside.
    pub stack: Vec<StepView>,
    /// What is wrong with their order.
    pub warnings: Vec<String>,
    /// Its calls, if they are recorded.
    pub traffic: Option<Traffic>,
    /// The same by method, if they are recorded: the busiest first, 64 of them; the rest is one with an empty name.
    pub methods: Vec<MethodView>,
    /// Where its calls go.
    pub endpoints: Vec<EndpointView>,
    /// Breakers of methods and of endpoints.
    pub breakers: Vec<BreakerView>,
    /// The connections, of all endpoints together.
    pub pool: Option<PoolView>,
    /// Attempts beyond the first, and what pays for them.
    pub budget: Option<BudgetView>,
    /// Limits of concurrency and rate.
    pub limits: Vec<LimitView>,
    /// Calls that failed, the last one first.
    pub faults: Vec<FaultView>,
}

/// A layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepView {
    /// What it is called.
    pub name: String,
    /// `call`: once for each call. `attempt`: once for each attempt. `endpoint`: once for each endpoint.
    pub per: String,
    /// More of it, for people; may be empty.
    pub about: String,
}

/// Calls of the last ten seconds, and each second of the last minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Calls since the beginning.
    pub calls: u64,
    /// Those that were answered with an application's fault.
    pub faults: u64,
    /// Those that failed otherwise.
    pub failed: u64,
    /// Those that their caller gave up. They are not among `calls`.
    pub cancelled: u64,
    /// The time that what follows is of: ten seconds, or less at the beginning.
    pub over_ms: u64,
    /// Calls per second.
    pub rate: f64,
    /// The share that was answered without a fault, from 0 to 1; `None`: there were no calls.
    pub success: Option<f64>,
    /// Attempts per call, where attempts are recorded.
    pub attempts: Option<f64>,
    /// Half of the calls took at most this.
    pub p50_us: Option<u64>,
    /// Nine of ten took at most this.
    pub p90_us: Option<u64>,
    /// 99 of 100 took at most this.
    pub p99_us: Option<u64>,
    /// The slowest took this.
    pub max_us: Option<u64>,
    /// The last minute, the oldest second first.
    pub series: Vec<Point>,
}

/// Calls of a method: the rate, the share and the times are of the last five to ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MethodView {
    /// Its name; empty: all methods for which there was no room, and those that do not exist.
    pub name: String,
    /// Calls since the beginning.
    pub calls: u64,
    /// Those that were answered with an application's fault.
    pub faults: u64,
    /// Those that failed otherwise.
    pub failed: u64,
    /// Calls per second.
    pub rate: f64,
    /// The share that was answered without a fault, from 0 to 1; `None`: there were no calls.
    pub success: Option<f64>,
    /// Half of the calls took at most this (to 13 %).
    pub p50_us: Option<u64>,
    /// 99 of 100 took at most this (to 13 %).
    pub p99_us: Option<u64>,
}

/// A second, or what passed between two looks if there was no call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Point {
    /// How long ago it ended.
    pub ago_ms: u64,
    /// Calls per second that were answered without a fault.
    pub ok: f64,
    /// Calls per second that were answered with an application's fault.
    pub faults: f64,
    /// Calls per second that failed.
    pub failed: f64,
    /// Half of the calls took at most this.
    pub p50_us: Option<u64>,
    /// 99 of 100 took at most this.
    pub p99_us: Option<u64>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointView {
    /// Its id in this process.
    pub id: u64,
    /// Where it is.
    pub address: String,
    /// `ready`, `connecting`, `unhealthy`, `ejected`, `draining`, `gone`.
    pub status: String,
    /// Whether it gets calls.
    pub takes_calls: bool,
    /// Its share of the traffic, compared with the others'.
    pub weight: u32,
    /// Its group: 0 is used first.
    pub priority: u32,
    /// Where it stands; may be empty.
    pub zone: String,
    /// Calls under way there.
    pub in_flight: u32,
    /// All calls that went there.
    pub picks: u64,
    /// How long it takes to answer (exponentially weighted).
    pub ewma_us: Option<u64>,
    /// Which share of its calls fails.
    pub failures: f64,
    /// How many calls it had in work, as it said itself.
    pub reported: Option<u32>,
    /// When it is tried again, or until when it is out.
    pub until_ms: Option<u64>,
}

/// A breaker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BreakerView {
    /// What it is opened and closed by.
    pub id: String,
    /// The method or the endpoint.
    pub name: String,
    /// `method` or `endpoint`.
    pub of: String,
    /// `closed`, `open`, `half-open`.
    pub state: String,
    /// `automatic`, `forced open`, `forced closed`.
    pub mode: String,
    /// For how long it has been so.
    pub for_ms: u64,
    /// For how long it turns calls away yet, if that is known.
    pub still_ms: Option<u64>,
    /// Calls in its window.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that were slow, whether they failed or not.
    pub slow: u64,
    /// Calls that it has turned away.
    pub rejected: u64,
    /// How often it has changed.
    pub changes: u64,
}

/// Connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolView {
    /// On which calls can be made.
    pub open: u64,
    /// Those on which none is.
    pub idle: u64,
    /// That are being made.
    pub connecting: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// Calls that wait for a connection.
    pub waiting: u64,
    /// Connects that succeeded.
    pub connects: u64,
    /// Connects that failed.
    pub failures: u64,
    /// Connections that ended by themselves.
    pub losses: u64,
}

/// Attempts beyond the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BudgetView {
    /// How many the budget can pay for at this moment.
    pub left: u64,
    /// Attempts after a failure.
    pub retries: u64,
    /// Attempts beside one that was slow.
    pub hedges: u64,
    /// Those of them that were answered first.
    pub hedges_won: u64,
    /// Attempts that the budget could not pay for.
    pub refused: u64,
    /// Calls that failed with all their attempts.
    pub gave_up: u64,
}

/// A limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitView {
    /// `admission`, `concurrency`, `rate`.
    pub name: String,
    /// How many at a time; `None`: it is a rate.
    pub limit: Option<u64>,
    /// How many there are.
    pub in_flight: Option<u64>,
    /// How many wait.
    pub waiting: Option<u64>,
    /// How many were refused since the beginning.
    pub refused: u64,
}

/// A call that failed, in a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultView {
    /// Its trace: what `/explain/{trace_id}` takes.
    pub trace_id: String,
    /// When it ended.
    pub at_ms: u64,
    /// What was called.
    pub method: String,
    /// The code; empty for an error without one.
    pub code: String,
    /// What went wrong, and what that came from, in that order.
    pub chain: Vec<String>,
    /// How long it took.
    pub took_us: u64,
    /// How many attempts were made, where that is recorded.
    pub attempts: u32,
    /// Where the last one went; may be empty.
    pub endpoint: String,
}

/// What was decided about one call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// Which client or server.
    pub target: String,
    /// Its trace.
    pub trace_id: String,
    /// When it ended.
    pub at_ms: u64,
    /// What was called.
    pub method: String,
    /// `ok`, or the code it failed with.
    pub outcome: String,
    /// What went wrong, and what that came from.
    pub chain: Vec<String>,
    /// How long it took.
    pub took_us: u64,
    /// How much time it had when it began; `None`: it had no deadline.
    pub deadline_us: Option<u64>,
    /// 0 to 7; who has less is shed first.
    pub priority: u8,
    /// Whether it may be made twice without harm.
    pub idempotent: bool,
    /// Whether it is here as one of a sample; a call that failed is here in any case.
    pub sampled: bool,
    /// How many attempts were made, where that is recorded.
    pub attempts: u32,
    /// Where the last one went; may be empty.
    pub endpoint: String,
    /// What was decided, in order.
    pub decisions: Vec<Decision>,
}

/// One thing that was decided about a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decision {
    /// How long after the beginning of the call.
    pub after_us: u64,
    /// What, in a sentence.
    pub what: String,
}
