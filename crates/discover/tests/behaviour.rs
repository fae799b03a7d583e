//! What a directory does with what its sources say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Events, Follower, Script, Step, full, ms};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use towpath_core::{BoxError, EndpointStatus, ErrorKind};
use towpath_discover::{Directory, DiscoverConfig, Instance, PushSource, Source, Update};

fn follow(directory: &Directory, name: &str, source: impl Source) -> Follower {
    Follower::new(directory.watch_source(name, source))
}

/// A source of which the first answer takes its time.
struct Slow(Arc<AtomicUsize>);

impl Source for Slow {
    fn about(&self) -> String {
        "slow".into()
    }

    async fn next(&mut self) -> Result<Option<Update>, BoxError> {
        if self.0.fetch_add(1, SeqCst) > 0 {
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_secs(5)).await;
        Ok(Some(full(&["a"])))
    }
}

/// Pitfall 22, in time: nobody asks again because it takes long.
#[tokio::test(start_paused = true)]
async fn one_slow_look_up_for_all_first_callers() {
    let (directory, asked) = (Directory::new(), Arc::new(AtomicUsize::new(0)));
    let begin = Instant::now();
    let kept = directory.watch_source("orders", Slow(asked.clone()));
    let callers: Vec<_> = (0..64)
        .map(|n| {
            let (directory, asked) = (directory.clone(), asked.clone());
            tokio::spawn(async move {
                sleep(ms(n * 10)).await;
                let watch = directory.watch_source("orders", Slow(asked));
                watch.settled().await.unwrap().endpoints().len()
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 1);
    }
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    sleep(ms(1)).await;
    drop(kept);
    assert_eq!(asked.load(SeqCst), 2, "one look-up, and the wait for what may follow");
}

#[tokio::test(start_paused = true)]
async fn an_error_changes_nothing_and_is_followed_by_backoff() {
    let events = Events::default();
    let directory = Directory::builder().observe(events.observe()).build();
    let failures = (0..6).map(|_| Step::Fail("no route"));
    let steps = [Step::Say(full(&["a", "b"]))].into_iter().chain(failures).chain([Step::Say(full(&["a"]))]);
    let (script, seen) = Script::new(steps);
    let mut follower = follow(&directory, "orders", script);
    assert!(follower.batch().await);
    assert_eq!(follower.addresses(), ["a", "b"]);
    sleep(ms(1)).await;
    let status = follower.watch.handle().status();
    assert_eq!((status.failures, status.next_try.is_some()), (1, true));
    let error = status.error.unwrap();
    assert_eq!((error.kind(), error.endpoint()), (ErrorKind::NoEndpoint, Some("orders")));
    assert!(error.to_string().contains("no route"), "{error}");
    assert!(follower.batch().await);
    assert_eq!(follower.addresses(), ["a"]);
    let status = follower.watch.handle().status();
    assert!(status.error.is_none() && status.failures == 0 && status.next_try.is_none());
    // From 500 ms, doubling up to 10 s, between half of it and all of it.
    let times = seen.times.lock().unwrap().clone();
    for (n, two) in times[1..8].windows(2).enumerate() {
        let (wait, whole) = (two[1] - two[0], ms((500 << n).min(10_000)));
        assert!(wait >= whole / 2 && wait <= whole + ms(2), "{n}: {wait:?}");
    }
    let heard = events.take();
    assert_eq!(heard[0], "2 endpoints: 2 new, 0 gone, 0 described anew");
    assert_eq!(heard[1..7], std::array::from_fn::<_, 6, _>(|n| format!("failed {}: no route", n + 1)));
    assert_eq!(heard[7..], ["recovered after 6", "1 endpoints: 0 new, 1 gone, 0 described anew"]);
}

#[tokio::test(start_paused = true)]
async fn a_sudden_empty_answer_is_doubted() {
    let events = Events::default();
    let directory = Directory::builder().observe(events.observe()).build();
    let (pusher, source) = PushSource::new();
    let mut follower = follow(&directory, "orders", source);
    pusher.set([Instance::new("a"), Instance::new("b")]);
    follower.batch().await;
    let id = follower.at("a").id();

    pusher.set([]);
    assert_eq!(follower.after(ms(29_990)).await, ["a", "b"]);
    assert!(follower.watch.handle().status().doubted_until.is_some());
    pusher.set([Instance::new("a"), Instance::new("c")]);
    assert_eq!(follower.after(ms(200)).await, ["a", "c"]);
    assert_eq!(follower.at("a").id(), id, "as if nothing had been");
    assert!(follower.watch.handle().status().doubted_until.is_none());

    // One by one comes to the same for the last one; and the doubt begins anew.
    pusher.remove("a");
    pusher.remove("c");
    assert_eq!(follower.after(ms(29_990)).await, ["a", "c"]);
    assert_eq!(follower.after(ms(20)).await, Vec::<String>::new());
    let heard = events.take();
    assert_eq!(heard[1..3], ["doubted", "withdrawn"]);
    assert_eq!(heard[4..], ["doubted", "0 endpoints: 0 new, 2 gone, 0 described anew"]);
}

#[tokio::test(start_paused = true)]
async fn the_hold_is_a_setting_that_counts_at_once() {
    let directory = Directory::new();
    let (pusher, source) = PushSource::new();
    let mut follower = follow(&directory, "orders", source);
    pusher.set([Instance::new("a")]);
    follower.batch().await;
    pusher.set([]);
    assert_eq!(follower.after(ms(5_000)).await, ["a"]);
    directory.config().set(DiscoverConfig::default().with_empty_hold(ms(6_000)).unwrap());
    assert_eq!(follower.after(ms(990)).await, ["a"]);
    assert_eq!(follower.after(ms(20)).await, [""; 0]);
    directory.config().set(DiscoverConfig::default().with_empty_hold(ms(0)).unwrap());
    pusher.set([Instance::new("a")]);
    assert_eq!(follower.after(ms(200)).await, ["a"]);
    pusher.set([]);
    assert_eq!(follower.after(ms(1)).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_at_first_is_an_answer() {
    let (script, _) = Script::new([Step::Sleep(ms(10)), Step::Say(full(&[]))]);
    let mut follower = follow(&Directory::new(), "orders", script);
    assert!(follower.now() && follower.batches == 0, "nothing is known yet");
    assert!(follower.batch().await && follower.set.is_empty());
    // A delta that says nothing does not mean that there is nothing.
    let nothing = Update::Delta { changed: vec![], removed: vec![] };
    let (script, _) = Script::new([Step::Say(nothing), Step::Say(Update::Unchanged)]);
    let mut follower = follow(&Directory::new(), "orders", script);
    follower.after(ms(60_000)).await;
    assert_eq!(follower.batches, 0);
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_are_told_together() {
    let directory = Directory::new();
    let (pusher, source) = PushSource::new();
    let mut follower = follow(&directory, "orders", source);
    pusher.set([Instance::new("0")]);
    follower.batch().await;
    // 30 within 600 ms, then quiet: one batch, 100 ms after the last.
    let begin = Instant::now();
    for n in 1..=30 {
        pusher.insert(Instance::new(n.to_string()));
        sleep(ms(20)).await;
    }
    follower.batch().await;
    assert_eq!((follower.set.len(), follower.batches), (31, 2));
    assert!(begin.elapsed() >= ms(670) && begin.elapsed() <= ms(690), "{:?}", begin.elapsed());
    // Without an end: at least once a second.
    for n in 0..500 {
        pusher.insert(Instance::new("0").with_weight(n + 2));
        sleep(ms(10)).await;
        follower.now();
    }
    assert!((6..=7).contains(&follower.batches), "{}", follower.batches);
    // A change that is taken back is none.
    follower.after(ms(500)).await;
    let batches = follower.batches;
    pusher.insert(Instance::new("x"));
    pusher.remove("x");
    follower.after(ms(500)).await;
    assert_eq!(follower.batches, batches);
}

#[tokio::test(start_paused = true)]
async fn the_same_address_is_the_same_endpoint() {
    let directory = Directory::new();
    let (pusher, source) = PushSource::new();
    let mut follower = follow(&directory, "orders", source);
    let a = || Instance::new("a");
    pusher.set([a().with_zone("z").with_label("v", "1"), Instance::new("b")]);
    follower.batch().await;
    let (first, b) = (follower.at("a").clone(), follower.at("b").clone());
    first.state().set_ready();
    pusher.set([a().with_weight(7).with_priority(2).with_label("w", "2").with_draining(true)]);
    follower.batch().await;
    let anew = follower.at("a").clone();
    assert_eq!((anew.id(), anew.weight(), anew.priority(), anew.zone()), (first.id(), 7, 2, None));
    assert_eq!(anew.labels().collect::<Vec<_>>(), [("w", "2")]);
    assert_eq!(first.state().status(), EndpointStatus::Draining);
    assert_eq!(b.state().status(), EndpointStatus::Gone);
    // Whoever else said that it drains is not contradicted by a word on something else.
    pusher.set([a()]);
    follower.batch().await;
    assert_eq!(anew.state().status(), EndpointStatus::Ready);
    anew.state().set_draining(true);
    pusher.set([a().with_weight(3), Instance::new("b")]);
    follower.batch().await;
    assert_eq!(anew.state().status(), EndpointStatus::Draining);
    assert_ne!(follower.at("b").id(), b.id(), "gone is final");
}

#[tokio::test(start_paused = true)]
async fn all_watches_of_a_name_share_a_source() {
    let directory = Directory::new();
    let steps = || [Step::Say(full(&["a"])), Step::Sleep(ms(500)), Step::Say(full(&["b"]))];
    let ((script, first), (other, second)) = (Script::new(steps()), Script::new(steps()));
    let mut one = follow(&directory, "orders", script);
    let mut two = follow(&directory.clone(), "orders", other);
    assert_eq!(second.dropped(), 1, "not needed");
    assert_eq!(first.asked(), 0, "nobody has polled");
    one.batch().await;
    sleep(ms(1_000)).await;
    // Who is slow, or late, gets the last set at once.
    two.batch().await;
    let mut three = Follower::new(two.watch.clone());
    three.batch().await;
    one.batch().await;
    for follower in [&one, &two, &three] {
        assert_eq!(follower.addresses(), ["b"]);
    }
    assert_eq!((one.batches, two.batches, three.batches), (2, 1, 1));
    // What one of them finds out about an endpoint is no other's affair.
    one.at("b").state().set_ready();
    assert_ne!(one.at("b").id(), three.at("b").id());
    assert!(!three.at("b").state().is_ready());
    assert_eq!(first.asked(), 3);

    let handle = one.watch.handle();
    assert_eq!((&**handle.name(), handle.about()), ("orders", "a script"));
    assert_eq!(directory.names().len(), 1);
    drop((one, two));
    sleep(ms(10)).await;
    assert_eq!(first.dropped(), 0, "one is still there");
    drop(three);
    sleep(ms(10)).await;
    assert_eq!((first.dropped(), directory.names().len()), (1, 0));
    assert_eq!(handle.status().snapshot.endpoints().len(), 1, "to look at it goes on");
    // Whoever comes then begins anew.
    let (script, again) = Script::new(steps());
    let mut four = follow(&directory, "orders", script);
    four.batch().await;
    assert_eq!((again.asked() > 0, four.addresses()), (true, vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_dropped_unpolled_leaves_nothing() {
    let directory = Directory::new();
    let (script, seen) = Script::new([]);
    drop(directory.watch_source("orders", script));
    assert_eq!((seen.asked(), seen.dropped(), directory.names().len()), (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_has_failed() {
    let directory = Directory::new();
    let (script, seen) = Script::new([Step::Say(full(&["a"])), Step::Panic, Step::Say(full(&["a", "b"]))]);
    let mut follower = follow(&directory, "orders", script);
    follower.batch().await;
    sleep(ms(10)).await;
    let error = follower.watch.handle().status().error.unwrap().to_string();
    assert!(error.contains("panicked") && error.contains("on purpose"), "{error}");
    assert_eq!(follower.addresses(), ["a"]);
    follower.batch().await;
    assert_eq!((follower.addresses().len(), seen.dropped()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_first_look_up_says_why_it_failed() {
    let directory = Directory::new();
    let (script, _) =
        Script::new([Step::Sleep(ms(100)), Step::Fail("no such host"), Step::Say(full(&["a"]))]);
    let watch = directory.watch_source("orders", script);
    let (one, two) = tokio::join!(watch.settled(), watch.settled());
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert!(
            error.to_string().starts_with("MCP-W-106 no endpoint available at orders: no such host"),
            "{error}"
        );
    }
    assert_eq!(watch.settled().await.unwrap().endpoints().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_asks_at_once() {
    let directory = Directory::new();
    let steps = [
        Step::Say(full(&["a"])),
        Step::Sleep(ms(3_600_000)),
        Step::Say(full(&["b"])),
        Step::Fail("x"),
        Step::Say(full(&["c"])),
    ];
    let (script, seen) = Script::new(steps);
    let mut follower = follow(&directory, "orders", script);
    follower.batch().await;
    let handle = follower.watch.handle();
    handle.refresh();
    assert_eq!(follower.after(ms(150)).await, ["b"]);
    assert_eq!(seen.refreshed(), 1);
    // Also out of a backoff.
    assert_eq!(handle.status().failures, 1);
    handle.refresh();
    assert_eq!(follower.after(ms(150)).await, ["c"]);
    assert_eq!(seen.refreshed(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_source_leaves_the_set() {
    let events = Events::default();
    let directory = Directory::builder().observe(events.observe()).build();
    let (script, seen) = Script::new([Step::Say(full(&["a"])), Step::Say(full(&["a", "b"])), Step::End]);
    let mut follower = follow(&directory, "orders", script);
    follower.batch().await;
    assert!(follower.batch().await && !follower.batch().await);
    assert_eq!(follower.addresses(), ["a", "b"]);
    assert_eq!(seen.dropped(), 1);
    assert!(follower.watch.handle().status().ended);
    assert_eq!(follower.watch.settled().await.unwrap().endpoints().len(), 2);
    assert_eq!(events.take().last().unwrap(), "ended");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_not_taken() {
    let events = Events::default();
    let config = DiscoverConfig::default().with_max_endpoints(2).unwrap();
    let directory = Directory::builder().observe(events.observe()).config(config).build();
    let (script, _) = Script::new([Step::Say(full(&["a", "", "b", "c"]))]);
    let mut follower = follow(&directory, "orders", script);
    follower.batch().await;
    assert_eq!(follower.addresses(), ["a", "b"]);
    assert_eq!(events.take()[0], "refused 2: address of an instance: empty");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_stops_talking_leaves_room_for_others() {
    struct Chatter(u32);
    impl Source for Chatter {
        fn about(&self) -> String {
            "chatter".into()
        }
        async fn next(&mut self) -> Result<Option<Update>, BoxError> {
            self.0 += 1;
            let instance = Instance::new("a").with_weight(self.0 % 100);
            Ok(Some(Update::Delta { changed: vec![instance], removed: vec![] }))
        }
    }
    let directory = Directory::new();
    let mut chatter = follow(&directory, "chatter", Chatter(0));
    chatter.batch().await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    drop(chatter);
    let others = directory.watch("mcp://a:1").unwrap();
    assert!(timeout(ms(10), others.settled()).await.is_ok());
}

#[test]
fn a_runtime_that_ends_takes_no_source_with_it() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let directory = Directory::new();
    let (pusher, source) = PushSource::new();
    let mut follower = follow(&directory, "orders", source);
    // Nothing to start a task on: it is started later.
    follower.now();
    pusher.set([Instance::new("a")]);
    let first = runtime();
    first.block_on(follower.batch());
    let id = follower.at("a").id();
    drop(first);
    pusher.set([Instance::new("a"), Instance::new("b")]);
    runtime().block_on(follower.batch());
    assert_eq!((follower.addresses().len(), follower.at("a").id()), (2, id));
}
