//! What was heard between two looks, which knows more than they: when it was, and what was over in between.

use super::{AT_ONCE, Before, Breaker, News, called, opened};
use crate::{
    record::{Happened, What},
    view::TargetView,
};
use std::collections::BTreeMap;

/// What is told of one breaker: when, how bad it is, and what.
type Told = (u64, &'static str, String);

impl Before {
    /// Of one that nobody has looked at: all was well.
    pub(super) fn nothing() -> Self {
        Before {
            read: 0,
            state: String::new(),
            panics: false,
            endpoints: BTreeMap::new(),
            breakers: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// Tells what was heard, and is as it was after that: the next look, at `target`, tells of what has come since. What the
    /// last one has seen already is not told again.
    pub(super) fn hear(&mut self, heard: Vec<Happened>, target: &TargetView, news: &mut News<'_>) {
        let mut breakers: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        let (mut new, mut out, mut back) = (BTreeMap::new(), Vec::new(), Vec::new());
        for Happened { at_ms, what } in heard {
            match what {
                What::Breaker { name, open, number, counts } => {
                    let breaker = self.breaker(&name, target);
                    if number <= breaker.changes {
                        continue;
                    }
                    let was = std::mem::replace(&mut breaker.open, open);
                    breaker.changes = number;
                    let told = breakers.entry(name).or_default();
                    match (was, open) {
                        (false, true) => {
                            told.push((at_ms, "bad", opened(counts.failures, counts.calls, counts.slow)));
                        }
                        (true, false) => told.push((at_ms, "good", "closed".to_owned())),
                        _ => {}
                    }
                }
                What::Ejected { id, address, out: is_out } => {
                    // Whether it is connected now is for the look to say.
                    let now = target.endpoints.iter().find(|one| one.id == id).map(|one| &*one.status);
                    let now = now.filter(|now| *now != "ejected").unwrap_or("ready");
                    // One that nobody has seen yet joins with the look, if it has stayed.
                    let known = match self.endpoints.get_mut(&id) {
                        Some(known) => known,
                        None => new.entry(id).or_insert_with(|| (address, "ready".to_owned())),
                    };
                    if is_out != (known.1 == "ejected") {
                        known.1 = if is_out { "ejected" } else { now }.to_owned();
                        if is_out { &mut out } else { &mut back }.push((at_ms, known.0.clone()));
                    }
                }
                What::Panic(panics) if panics != self.panics => {
                    self.panics = panics;
                    news.panic(at_ms, panics);
                }
                What::Panic(_) => {}
            }
        }
        for (name, told) in breakers {
            news.breaker(called(&name), told);
        }
        news.many("bad", "ejected", out);
        news.many("good", "returned", back);
    }

    /// The breaker of this name, as it was told of; one that is new was closed.
    fn breaker(&mut self, name: &str, target: &TargetView) -> &mut Breaker {
        let known = self.breakers.iter().find(|(_, one)| one.name == name).map(|(id, _)| id.clone());
        let id = known.unwrap_or_else(|| {
            // Not of one that is no more.
            let now = target.breakers.iter().find(|one| one.name == name);
            now.map_or_else(|| format!("method:{name}"), |now| now.id.clone())
        });
        let new = || Breaker { name: name.to_owned(), open: false, changes: 0, mode: "automatic".to_owned() };
        self.breakers.entry(id).or_insert_with(new)
    }
}

impl News<'_> {
    /// What one breaker did. One that opens and closes all the time is not to leave no room for others.
    fn breaker(&mut self, who: &str, told: Vec<Told>) {
        let (Some((first, ..)), Some((_, level, last))) = (told.first(), told.last()) else { return };
        if told.len() > AT_ONCE {
            let times = told.iter().filter(|(_, level, _)| *level == "bad").count();
            return self.tell_of(
                *first,
                "breaker",
                level,
                who,
                format!("opened {times} times; in the end it {last}"),
            );
        }
        for (at_ms, level, what) in told {
            self.tell_of(at_ms, "breaker", level, who, what);
        }
    }

    /// Endpoints that do the same.
    fn many(&mut self, level: &str, what: &str, who: Vec<(u64, String)>) {
        if let (Some((first, _)), true) = (who.first(), who.len() > AT_ONCE) {
            return self.tell_of(*first, "endpoint", level, &format!("{} endpoints", who.len()), what);
        }
        for (at_ms, one) in who {
            self.tell_of(at_ms, "endpoint", level, &one, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Recorder,
        timeline::{Seen, Timeline},
        view::{BreakerView, EndpointView, TargetView},
    };
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tokio::time::{Instant, advance};
    use tower::{Layer, ServiceExt, service_fn};
    use towpath_balance::BalanceEvent;
    use towpath_breaker::{BreakerConfig, BreakerEvent, BreakerLayer};
    use towpath_core::{Endpoint, Observe};

    struct Rig {
        timeline: Timeline,
        seen: Seen,
        recorder: Recorder,
        target: TargetView,
    }

    impl Rig {
        fn new() -> Self {
            let (timeline, seen, recorder) = Default::default();
            Rig { timeline, seen, recorder, target: TargetView::default() }
        }

        /// What is new, the oldest first.
        fn look(&self) -> Vec<String> {
            super::super::lock(&self.timeline.0).clear();
            let heard = Some(self.recorder.heard());
            self.timeline.look(&self.seen, Instant::now(), 1, heard, || self.target.clone());
            let mut events = self.timeline.newest();
            events.reverse();
            events.into_iter().map(|one| format!("{} {}: {}", one.level, one.who, one.what)).collect()
        }

        fn endpoint(&mut self, endpoint: &Endpoint, status: &str) {
            let (id, address) = (endpoint.id().0, endpoint.address().to_string());
            self.target.endpoints.retain(|one| one.id != id);
            self.target.endpoints.push(EndpointView {
                id,
                address,
                status: status.to_owned(),
                ..EndpointView::default()
            });
        }
    }

    const NONE: [String; 0] = [];
    /// No breaker is open for so long.
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn a_breaker_that_opens_and_closes_between_two_looks_is_told_with_both() {
        let mut rig = Rig::new();
        let config: BreakerConfig =
            serde_json::from_str(r#"{"consecutive_failures": 2, "open_ms": 100, "probes": 1}"#).unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let saying = said.clone();
        let observe = move |event: &BreakerEvent| saying.lock().unwrap().push(event.clone());
        let breaker = BreakerLayer::new(config).per_method().honour_context().observe(observe);
        let breakers = breaker.handle();
        let well = Arc::new(Mutex::new(true));
        let is_well = well.clone();
        let service = breaker.layer(service_fn(move |_: towpath_core::Request| {
            let well = *is_well.lock().unwrap();
            async move {
                match well {
                    true => Ok::<_, towpath_core::BoxError>(towpath_core::Response::new("".into())),
                    false => Err(towpath_core::Error::from(towpath_core::ErrorKind::ConnectionLost).into()),
                }
            }
        }));
        let call = async |is: bool| {
            *well.lock().unwrap() = is;
            service.clone().oneshot(towpath_core::Request::new("A.B", "".into())).await.is_ok()
        };
        let say = |rig: &Rig| said.lock().unwrap().drain(..).for_each(|event| rig.recorder.observe(&event));
        let look_at = |rig: &mut Rig| {
            rig.target.breakers = breakers
                .all()
                .iter()
                .filter(|one| &**one.name() == "A.B")
                .map(|one| BreakerView {
                    id: "method:A.B".to_owned(),
                    name: "A.B".to_owned(),
                    state: one.status().state.as_str().to_owned(),
                    mode: "automatic".to_owned(),
                    changes: one.status().changes,
                    ..BreakerView::default()
                })
                .collect();
        };
        let see = |rig: &mut Rig| {
            say(rig);
            look_at(rig);
        };
        // One time after another, and what the look would tell by itself is not told twice.
        let both = ["bad A.B: opened: 2 of 2 calls failed", "good A.B: closed"];
        assert_eq!(rig.look(), NONE);
        for _ in 0..3 {
            call(false).await;
            call(false).await;
            advance(LONG).await;
            assert!(call(true).await);
            see(&mut rig);
            let told = rig.look();
            assert_eq!((told.len(), &*told[1]), (2, both[1]), "{told:?}");
            assert!(told[0].starts_with("bad A.B: opened: "), "{told:?}");
            assert_eq!(rig.look(), NONE);
        }
        // It was seen before it was heard of.
        call(false).await;
        call(false).await;
        advance(LONG).await;
        assert!(call(true).await);
        look_at(&mut rig);
        assert_eq!(rig.look(), ["warn A.B: opened for a moment, and is closed again"]);
        say(&rig);
        assert_eq!(rig.look(), NONE);
        // It is open while it tries; and one that does nothing else leaves room for others.
        call(false).await;
        call(false).await;
        see(&mut rig);
        assert_eq!(rig.look().len(), 1);
        advance(LONG).await;
        call(false).await;
        see(&mut rig);
        assert_eq!(rig.look(), NONE, "to open again is no news");
        advance(LONG).await;
        for _ in 0..5 {
            assert!(call(true).await);
            call(false).await;
            call(false).await;
            advance(LONG).await;
        }
        see(&mut rig);
        let told = rig.look();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("bad A.B: opened 5 times; in the end it opened: "), "{told:?}");
    }

    #[test]
    fn an_ejection_between_two_looks_is_told_and_one_that_was_seen_is_not_told_again() {
        let mut rig = Rig::new();
        let endpoint = Endpoint::new("mcp://10.0.0.1:1");
        let out = || ejected(&endpoint);
        rig.endpoint(&endpoint, "ready");
        assert_eq!(rig.look(), NONE);
        let observe = |rig: &Rig, event: BalanceEvent| rig.recorder.observe(&event);
        observe(&rig, out());
        observe(&rig, BalanceEvent::Returned(endpoint.clone()));
        let both = ["bad mcp://10.0.0.1:1: ejected", "good mcp://10.0.0.1:1: returned"];
        assert_eq!(rig.look(), both);
        assert_eq!(rig.look(), NONE);
        // The look was first.
        rig.endpoint(&endpoint, "ejected");
        assert_eq!(rig.look(), both[..1]);
        observe(&rig, out());
        assert_eq!(rig.look(), NONE);
        // It is back, and has no connection.
        observe(&rig, BalanceEvent::Returned(endpoint.clone()));
        rig.endpoint(&endpoint, "connecting");
        assert_eq!(rig.look(), both[1..]);
        assert_eq!(rig.look(), NONE);
        // One that is new, and one that was never seen.
        let (new, brief) = (Endpoint::new("mcp://10.0.0.2:1"), Endpoint::new("mcp://10.0.0.3:1"));
        rig.endpoint(&new, "ejected");
        observe(&rig, ejected(&new));
        observe(&rig, ejected(&brief));
        let mut told = rig.look();
        told.sort();
        let wanted = [
            "bad mcp://10.0.0.2:1: ejected",
            "bad mcp://10.0.0.3:1: ejected",
            "good mcp://10.0.0.2:1: joined",
        ];
        assert_eq!(told, wanted);
        assert_eq!(rig.look(), NONE);
        // All at once are one.
        for n in 0..9 {
            observe(&rig, ejected(&Endpoint::new(format!("mcp://10.0.1.{n}:1"))));
        }
        assert_eq!(rig.look(), ["bad 9 endpoints: ejected"]);
    }

    fn ejected(endpoint: &Endpoint) -> BalanceEvent {
        BalanceEvent::Ejected { endpoint: endpoint.clone(), until: None }
    }

    #[test]
    fn what_was_before_the_first_look_is_told_if_it_was_heard() {
        let rig = Rig::new();
        let counts = towpath_balance::Counts::default();
        rig.recorder.observe(&BalanceEvent::PanicBegan(counts));
        rig.recorder.observe(&BalanceEvent::PanicEnded(counts));
        let told = rig.look();
        assert!(told[0].starts_with("bad : panic began"), "{told:?}");
        assert_eq!(told[1..], ["good : panic is over"]);
        assert_eq!(rig.look(), NONE);
    }
}
