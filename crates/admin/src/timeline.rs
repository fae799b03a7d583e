//! What has happened to clients and servers, told from two looks at them.
//!
//! Somebody has to look: the console does while it is open, and `Serving::until` does each second. What happens and is over
//! between two looks is known of breakers, ejections and panic, where a recorder hears of them; of all else it is not seen.

mod hear;

use crate::{
    record::Heard,
    view::{BreakerView, EndpointView, EventView, LimitView, TargetView},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// So many events are kept.
const KEPT: usize = 50;
/// Where as many endpoints of one target do the same at once, that is one event.
const AT_ONCE: usize = 4;
/// What has refused nothing for so long has ended.
const QUIET: Duration = Duration::from_secs(10);

/// The newest events. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Timeline(Arc<Mutex<VecDeque<EventView>>>);

/// How a target looked the last time. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Option<Before>>>);

#[derive(Clone)]
struct Before {
    /// How much was read of what was heard.
    read: u64,
    state: String,
    panics: bool,
    endpoints: BTreeMap<u64, (String, String)>,
    breakers: BTreeMap<String, Breaker>,
    refusals: BTreeMap<String, Refusals>,
}

#[derive(Clone)]
struct Breaker {
    name: String,
    open: bool,
    changes: u64,
    mode: String,
}

/// Of a limit, or of what pays for retries.
#[derive(Clone, Copy)]
struct Refusals {
    total: u64,
    /// Since when, if it refuses now, and the total before; and when it did last.
    now: Option<(u64, Instant)>,
}

impl Timeline {
    /// The newest first.
    pub(crate) fn newest(&self) -> Vec<EventView> {
        let mut newest: Vec<EventView> = lock(&self.0).iter().rev().cloned().collect();
        // A breaker says when it changed, which was before the look that found out.
        newest.sort_by_key(|event| std::cmp::Reverse(event.at_ms));
        newest
    }

    /// Adds what has happened since the last look. Nothing has at the first one.
    pub(crate) fn look(
        &self,
        seen: &Seen,
        now: Instant,
        at_ms: u64,
        heard: Option<&Heard>,
        look: impl FnOnce() -> TargetView,
    ) {
        // From the look on: who looks at the same time is to see what comes after it.
        let mut before = lock(&seen.0);
        let read = before.as_ref().map_or(0, |before| before.read);
        // First what was heard: what is seen is never older than that.
        let (heard, read) = heard.map(|heard| heard.since(read)).unwrap_or_default();
        let target = look();
        let mut news = News { target: &target.name, at_ms, events: Vec::new() };
        let mut after = match before.take() {
            None => {
                // It was like that before all that was heard.
                Before::nothing().hear(heard, &target, &mut news);
                Before::first(&target)
            }
            Some(mut before) => {
                before.hear(heard, &target, &mut news);
                before.next(&target, now, &mut news)
            }
        };
        after.read = read;
        *before = Some(after);
        let mut all = lock(&self.0);
        for event in news.events {
            if all.len() >= KEPT {
                all.pop_front();
            }
            all.push_back(event);
        }
    }
}

fn lock<T>(inside: &Mutex<T>) -> MutexGuard<'_, T> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

struct News<'a> {
    target: &'a str,
    at_ms: u64,
    events: Vec<EventView>,
}

impl News<'_> {
    fn tell(&mut self, kind: &str, level: &str, who: &str, what: impl Into<String>) {
        self.tell_of(self.at_ms, kind, level, who, what);
    }

    fn tell_of(&mut self, at_ms: u64, kind: &str, level: &str, who: &str, what: impl Into<String>) {
        let [kind, level, who] = [kind, level, who].map(str::to_owned);
        let target = self.target.to_owned();
        self.events.push(EventView { at_ms, target, kind, level, who, what: what.into() });
    }

    fn panic(&mut self, at_ms: u64, panics: bool) {
        let (level, what) = match panics {
            true => ("bad", "panic began: so few endpoints are well that all of them get calls"),
            false => ("good", "panic is over"),
        };
        self.tell_of(at_ms, "panic", level, "", what);
    }

    /// Endpoints that do the same.
    fn endpoints(&mut self, level: &str, what: &str, who: Vec<&str>) {
        if who.len() > AT_ONCE {
            return self.tell("endpoint", level, &format!("{} endpoints", who.len()), what);
        }
        who.into_iter().for_each(|one| self.tell("endpoint", level, one, what));
    }
}

impl Before {
    fn first(target: &TargetView) -> Self {
        let refusals = refused(target).map(|(name, total)| (name, Refusals { total, now: None }));
        Before {
            read: 0,
            state: target.state.clone(),
            panics: target.panics,
            endpoints: target.endpoints.iter().map(endpoint).collect(),
            breakers: target.breakers.iter().map(|one| (one.id.clone(), breaker(one, None))).collect(),
            refusals: refusals.collect(),
        }
    }

    fn next(&self, target: &TargetView, now: Instant, news: &mut News<'_>) -> Before {
        if target.state != self.state {
            let level = match &*target.state {
                "connected" | "serving" => "good",
                "idle" => "",
                _ => "warn",
            };
            news.tell(&target.side, level, "", format!("is {}, was {}", target.state, self.state));
        }
        if target.panics != self.panics {
            news.panic(news.at_ms, target.panics);
        }
        self.tell_endpoints(target, news);
        for one in &target.breakers {
            self.tell_breaker(one, news);
        }
        let refusals = refused(target).map(|(name, total)| {
            let before = self.refusals.get(&name).copied().unwrap_or(Refusals { total, now: None });
            let next = before.next(&name, total, now, news);
            (name, next)
        });
        Before {
            read: 0,
            state: target.state.clone(),
            panics: target.panics,
            endpoints: target.endpoints.iter().map(endpoint).collect(),
            refusals: refusals.collect(),
            breakers: target
                .breakers
                .iter()
                .map(|one| (one.id.clone(), breaker(one, self.breakers.get(&one.id))))
                .collect(),
        }
    }

    fn tell_endpoints(&self, target: &TargetView, news: &mut News<'_>) {
        let is = |one: &EndpointView, status: &str| one.status == status;
        let was = |one: &EndpointView| self.endpoints.get(&one.id).map(|(_, status)| &**status);
        let of = |which: &dyn Fn(&EndpointView, &str) -> bool| {
            let all = target.endpoints.iter();
            all.filter(|one| was(one).is_some_and(|was| was != one.status && which(one, was)))
                .map(|one| &*one.address)
                .collect::<Vec<_>>()
        };
        let joined = target.endpoints.iter().filter(|one| was(one).is_none()).map(|one| &*one.address);
        news.endpoints("good", "joined", joined.collect());
        news.endpoints("bad", "ejected", of(&|one, _| is(one, "ejected")));
        news.endpoints("bad", "unhealthy", of(&|one, _| is(one, "unhealthy")));
        news.endpoints("warn", "draining", of(&|one, _| is(one, "draining")));
        news.endpoints(
            "warn",
            "lost its connection",
            of(&|one, was| is(one, "connecting") && was == "ready"),
        );
        let out = ["ejected", "unhealthy", "draining"];
        news.endpoints("good", "returned", of(&|one, was| is(one, "ready") && out.contains(&was)));
        news.endpoints("good", "connected", of(&|one, was| is(one, "ready") && was == "connecting"));
        let stays = |id: &u64| target.endpoints.iter().any(|one| one.id == *id);
        let left = self.endpoints.iter().filter(|(id, _)| !stays(id)).map(|(_, (address, _))| &**address);
        news.endpoints("warn", "left", left.collect());
    }

    fn tell_breaker(&self, one: &BreakerView, news: &mut News<'_>) {
        let now = breaker(one, self.breakers.get(&one.id));
        // One that is new was closed.
        let new = Breaker { name: String::new(), open: false, changes: 0, mode: "automatic".to_owned() };
        let before = self.breakers.get(&one.id).unwrap_or(&new);
        let who = called(&one.name);
        if now.mode != before.mode {
            let level = if now.mode == "forced open" { "bad" } else { "warn" };
            return news.tell("breaker", level, who, format!("{} by hand", now.mode));
        }
        let since = news.at_ms.saturating_sub(one.for_ms);
        match (before.open, now.open) {
            (false, true) => {
                let why = opened(one.failures, one.calls, one.slow);
                // What was in the window is not told any more when calls are tried again.
                let why = if one.state == "open" && one.failures + one.slow > 0 {
                    why
                } else {
                    "opened".to_owned()
                };
                news.tell_of(since, "breaker", "bad", who, why);
            }
            (true, false) => news.tell_of(since, "breaker", "good", who, "closed"),
            (false, false) if now.changes > before.changes => {
                news.tell_of(since, "breaker", "warn", who, "opened for a moment, and is closed again");
            }
            _ => {}
        }
    }
}

impl Refusals {
    fn next(self, name: &str, total: u64, now: Instant, news: &mut News<'_>) -> Refusals {
        let (kind, began, over) = match name {
            "budget" => ("budget", "is empty: attempts are not made again", "pays again"),
            _ => ("limit", "began to refuse calls", "refuses no more"),
        };
        let who = if kind == "budget" { "retry budget" } else { name };
        let refusing = match self.now {
            None if total > self.total => {
                news.tell(kind, "bad", who, began);
                Some((self.total, now))
            }
            Some((before, _)) if total > self.total => Some((before, now)),
            Some((before, last)) if now.saturating_duration_since(last) >= QUIET => {
                news.tell(kind, "good", who, format!("{over}, after {}", self.total - before));
                None
            }
            same => same,
        };
        Refusals { total, now: refusing }
    }
}

/// Why a breaker has opened.
fn opened(failures: u64, calls: u64, slow: u64) -> String {
    let slow = if slow > 0 { format!(" and {slow} were slow") } else { String::new() };
    format!("opened: {failures} of {calls} calls failed{slow}")
}

/// The one without a name is for all for which there is no room.
fn called(name: &str) -> &str {
    if name.is_empty() { "all others" } else { name }
}

fn endpoint(one: &EndpointView) -> (u64, (String, String)) {
    (one.id, (one.address.clone(), one.status.clone()))
}

/// One that tries calls is still open: to open again is no news.
fn breaker(one: &BreakerView, before: Option<&Breaker>) -> Breaker {
    let open = match &*one.state {
        "half-open" => before.is_none_or(|before| before.open || before.changes != one.changes),
        state => state == "open",
    };
    Breaker { name: one.name.clone(), open, changes: one.changes, mode: one.mode.clone() }
}

/// Who has refused how many.
fn refused(target: &TargetView) -> impl Iterator<Item = (String, u64)> {
    let limits = target.limits.iter().map(|LimitView { name, refused, .. }| (name.clone(), *refused));
    limits.chain(target.budget.iter().map(|budget| ("budget".to_owned(), budget.refused)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::BudgetView;

    struct Rig {
        timeline: Timeline,
        seen: Seen,
        now: Instant,
        at_ms: u64,
        target: TargetView,
    }

    impl Rig {
        fn new() -> Self {
            let target = TargetView {
                name: "shop".to_owned(),
                side: "client".to_owned(),
                state: "connected".to_owned(),
                ..TargetView::default()
            };
            let (timeline, seen) = Default::default();
            Rig { timeline, seen, now: Instant::now(), at_ms: 1_000_000, target }
        }

        /// What is new, the oldest first.
        fn look(&mut self, change: impl FnOnce(&mut TargetView)) -> Vec<String> {
            change(&mut self.target);
            self.now += Duration::from_secs(1);
            self.at_ms += 1_000;
            lock(&self.timeline.0).clear();
            self.timeline.look(&self.seen, self.now, self.at_ms, None, || self.target.clone());
            let say = |one: &EventView| format!("{} {} {}: {}", one.level, one.kind, one.who, one.what);
            lock(&self.timeline.0).iter().map(say).collect()
        }

        fn at(&self) -> u64 {
            self.timeline.newest()[0].at_ms
        }
    }

    fn one(id: u64, status: &str) -> EndpointView {
        EndpointView { id, address: format!("e{id}"), status: status.to_owned(), ..EndpointView::default() }
    }

    #[test]
    fn nothing_has_happened_before_the_first_look() {
        let mut rig = Rig::new();
        let none: [String; 0] = [];
        assert_eq!(rig.look(|target| target.endpoints = vec![one(1, "ready"), one(2, "ejected")]), none);
        assert_eq!(rig.look(|_| {}), none);
    }

    #[test]
    fn endpoints_come_and_go_and_are_out_and_return() {
        let mut rig = Rig::new();
        rig.look(|target| target.endpoints = vec![one(1, "ready")]);
        assert_eq!(
            rig.look(|target| target.endpoints.push(one(2, "connecting"))),
            ["good endpoint e2: joined"]
        );
        assert_eq!(
            rig.look(|target| target.endpoints = vec![one(1, "ejected"), one(2, "ready")]),
            ["bad endpoint e1: ejected", "good endpoint e2: connected"]
        );
        assert_eq!(
            rig.look(|target| target.endpoints = vec![one(1, "ready"), one(2, "connecting")]),
            ["warn endpoint e2: lost its connection", "good endpoint e1: returned"]
        );
        assert_eq!(rig.look(|target| target.endpoints.truncate(1)), ["warn endpoint e2: left"]);
        let many = (10..20).map(|id| one(id, "connecting"));
        assert_eq!(rig.look(|target| target.endpoints.extend(many)), ["good endpoint 10 endpoints: joined"]);
    }

    #[test]
    fn a_breaker_is_open_until_it_is_closed() {
        let mut rig = Rig::new();
        let none: [String; 0] = [];
        let breaker = |state: &str, changes| {
            let [id, name, mode] = ["method:A", "A", "automatic"].map(str::to_owned);
            let (state, for_ms) = (state.to_owned(), 300);
            vec![BreakerView {
                id,
                name,
                mode,
                state,
                for_ms,
                changes,
                calls: 9,
                failures: 7,
                ..BreakerView::default()
            }]
        };
        rig.look(|target| target.breakers = breaker("closed", 0));
        let opened = rig.look(|target| target.breakers = breaker("open", 1));
        assert_eq!(opened, ["bad breaker A: opened: 7 of 9 calls failed"]);
        assert_eq!(rig.at(), rig.at_ms - 300, "it says itself when");
        for (state, changes) in [("half-open", 2), ("open", 3), ("half-open", 4)] {
            assert_eq!(rig.look(|target| target.breakers = breaker(state, changes)), none);
        }
        assert_eq!(rig.look(|target| target.breakers = breaker("closed", 5)), ["good breaker A: closed"]);
        // Between two looks.
        let flapped = rig.look(|target| target.breakers = breaker("closed", 8));
        assert_eq!(flapped, ["warn breaker A: opened for a moment, and is closed again"]);
        let by_hand = rig.look(|target| target.breakers[0].mode = "forced open".to_owned());
        assert_eq!(by_hand, ["bad breaker A: forced open by hand"]);
    }

    #[test]
    fn states_panic_limits_and_budget_are_told() {
        let mut rig = Rig::new();
        let limits = |refused| vec![LimitView { name: "rate".to_owned(), refused, ..LimitView::default() }];
        rig.look(|target| (target.limits, target.budget) = (limits(3), Some(BudgetView::default())));
        let news = rig.look(|target| (target.state, target.panics) = ("connecting".to_owned(), true));
        assert_eq!(news[0], "warn client : is connecting, was connected");
        assert!(news[1].starts_with("bad panic : panic began"), "{news:?}");
        assert_eq!(rig.look(|target| target.panics = false), ["good panic : panic is over"]);
        let news = rig.look(|target| {
            target.limits = limits(7);
            target.budget = Some(BudgetView { refused: 1, ..BudgetView::default() });
        });
        assert_eq!(
            news,
            [
                "bad limit rate: began to refuse calls",
                "bad budget retry budget: is empty: attempts are not made again"
            ]
        );
        assert!(rig.look(|target| target.limits = limits(9)).is_empty(), "it goes on");
        let later: Vec<String> = (0..12).flat_map(|_| rig.look(|_| {})).collect();
        assert_eq!(
            later,
            ["good budget retry budget: pays again, after 1", "good limit rate: refuses no more, after 6"]
        );
    }

    #[test]
    fn there_is_an_end_to_them() {
        let rig = Rig::new();
        for n in 0..200 {
            let state = format!("state {n}");
            let view = || TargetView { state, ..rig.target.clone() };
            rig.timeline.look(&rig.seen, rig.now, n, None, view);
        }
        let newest = rig.timeline.newest();
        assert_eq!((newest.len(), newest[0].at_ms), (KEPT, 199));
    }
}
