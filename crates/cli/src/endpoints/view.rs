//! All that there is to show at one moment.

use super::look::Seen;
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;
use towpath::{
    EndpointStatus, LoadReport,
    discover::NameStatus,
    health::{EndpointHealth, HealthChecker},
};

/// The endpoints of a name at one moment.
pub(super) struct View {
    pub(super) url: String,
    pub(super) about: String,
    /// Whether it is known which endpoints there are.
    pub(super) settled: bool,
    /// How many there are, those included that nobody has looked for yet.
    pub(super) known: usize,
    /// How long ago the source answered last.
    pub(super) answered: Option<Duration>,
    /// How often in a row it has failed since, and why.
    pub(super) failures: u32,
    pub(super) error: Option<String>,
    /// For how long the endpoints stay although the source says that there are none.
    pub(super) doubted: Option<Duration>,
    pub(super) rows: Vec<Row>,
}

/// One endpoint at one moment.
pub(super) struct Row {
    pub(super) address: String,
    pub(super) status: Status,
    /// For how long looks have ended as the last one.
    pub(super) since: Option<Duration>,
    pub(super) weight: u32,
    pub(super) priority: u32,
    pub(super) zone: Option<String>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) ping: Option<Duration>,
    /// Round trips smoothed.
    pub(super) ewma: Option<Duration>,
    pub(super) load: Option<LoadReport>,
    pub(super) looks: u64,
    pub(super) failed: u64,
    pub(super) error: Option<String>,
}

/// How an endpoint is, as far as can be seen from here. In the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// It did not answer.
    Down,
    /// It answers, and is said to take nothing new.
    Draining,
    /// It was not looked at yet.
    Asking,
    /// It answers.
    Ready,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Status::Down => "down",
            Status::Draining => "draining",
            Status::Asking => "asking",
            Status::Ready => "ready",
        }
    }
}

impl View {
    pub(super) fn of(
        url: &str,
        status: &NameStatus,
        about: &str,
        checker: &HealthChecker,
        seen: &Seen,
    ) -> Self {
        let now = Instant::now();
        let all = checker.endpoints();
        let ids: HashSet<_> = all.iter().map(|one| one.endpoint.id()).collect();
        seen.keep(|id| ids.contains(&id));
        let mut rows: Vec<Row> = all.into_iter().map(|one| Row::of(one, seen, now)).collect();
        rows.sort_by(|a, b| (a.status, a.priority, &a.address).cmp(&(b.status, b.priority, &b.address)));
        View {
            url: url.to_owned(),
            about: about.to_owned(),
            settled: status.snapshot.is_settled(),
            known: status.snapshot.endpoints().len(),
            answered: status.answered.map(|at| now.saturating_duration_since(at)),
            failures: status.failures,
            error: status.error.as_ref().map(ToString::to_string),
            doubted: status.doubted_until.map(|until| until.saturating_duration_since(now)),
            rows,
        }
    }

    /// Whether each of them was looked at.
    pub(super) fn is_complete(&self) -> bool {
        self.settled && self.rows.len() == self.known && self.count(Status::Asking) == 0
    }

    pub(super) fn ready(&self) -> usize {
        self.count(Status::Ready)
    }

    fn count(&self, status: Status) -> usize {
        self.rows.iter().filter(|row| row.status == status).count()
    }

    /// `3 endpoints: 2 ready, 1 down`.
    pub(super) fn summary(&self) -> String {
        let s = if self.rows.len() == 1 { "" } else { "s" };
        let mut text = format!("{} endpoint{s}", self.rows.len());
        let all = [Status::Ready, Status::Down, Status::Draining, Status::Asking];
        let counts = all.map(|status| (self.count(status), status.name()));
        for (n, (count, name)) in counts.into_iter().filter(|(count, _)| *count > 0).enumerate() {
            text += &format!("{} {count} {name}", if n == 0 { ":" } else { "," });
        }
        text
    }
}

impl Row {
    fn of(health: EndpointHealth, seen: &Seen, now: Instant) -> Self {
        let EndpointHealth { endpoint, healthy, last, .. } = health;
        let one = seen.of(endpoint.id());
        let draining = endpoint.state().status() == EndpointStatus::Draining;
        let status = match (&last, healthy) {
            (None, _) => Status::Asking,
            (Some(_), false) => Status::Down,
            (Some(_), true) if draining => Status::Draining,
            (Some(_), true) => Status::Ready,
        };
        let trip = one.as_ref().and_then(|one| one.trip).map(|(trip, _)| trip);
        Row {
            address: endpoint.address().to_string(),
            status,
            since: one
                .as_ref()
                .filter(|one| one.looks > 0)
                .map(|one| now.saturating_duration_since(one.since)),
            weight: endpoint.weight(),
            priority: endpoint.priority(),
            zone: endpoint.zone().map(str::to_owned),
            labels: endpoint.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            ping: trip,
            ewma: trip.and(one.as_ref()).map(|one| Duration::from_secs_f64(one.smooth)),
            load: one.as_ref().and_then(|one| one.load),
            looks: one.as_ref().map_or(0, |one| one.looks),
            failed: one.as_ref().map_or(0, |one| one.failed),
            error: last.and_then(|last| last.error).map(|error| error.to_string()),
        }
    }
}
