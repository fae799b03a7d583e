//! What is answered to who asks how the server is.

use super::readiness::ReadyState;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// What a server says of itself. As JSON:
///
/// ```json
/// {"status":"failing","checks":[{"name":"database","status":"failing","error":"no answer within 800ms","took_ms":800,"age_ms":12}]}
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// All in one word.
    pub status: ReportStatus,
    /// The checks, in the order in which they were given.
    pub checks: Vec<CheckReport>,
}

/// How a server is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReportStatus {
    /// Well.
    Ok,
    /// A check that counts has failed.
    Failing,
    /// It says itself that it is not ready.
    NotReady,
    /// It ends.
    Draining,
}

/// The last outcome of a check.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// The outcome.
    pub status: CheckStatus,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    /// How long ago it ended.
    #[serde(rename = "age_ms", serialize_with = "millis")]
    pub age: Duration,
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckStatus {
    /// Well.
    Ok,
    /// It failed.
    Failing,
    /// It failed, and is only for people to know: it does not count.
    Warning,
    /// It was not made yet.
    Unknown,
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

impl Report {
    /// Whether all is well: what is answered is 200 if so, and 503 if not.
    pub fn is_ok(&self) -> bool {
        self.status == ReportStatus::Ok
    }

    pub(super) fn new(state: ReadyState, checks: Vec<CheckReport>) -> Self {
        let failing = checks.iter().any(|check| check.status == CheckStatus::Failing);
        let status = match state {
            ReadyState::Draining => ReportStatus::Draining,
            ReadyState::NotReady => ReportStatus::NotReady,
            ReadyState::Ready if failing => ReportStatus::Failing,
            ReadyState::Ready => ReportStatus::Ok,
        };
        Report { status, checks }
    }
}
