//! What a checker does, on paused time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::HashMap,
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use towpath_core::{BoxError, Change, Discover, Endpoint, EndpointId, EndpointStatus, Fixed};
use towpath_health::{HealthChecker, HealthConfig, HealthEvent, HealthOptions, Initial, Probe, ProbeError};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn config(change: impl FnOnce(&mut HealthOptions)) -> HealthConfig {
    let mut options = HealthOptions { jitter: 0.0, ..HealthOptions::default() };
    change(&mut options);
    HealthConfig::try_new(options).unwrap()
}

/// Says at once what it was told to.
fn switch(fails: &Arc<AtomicBool>) -> impl Probe {
    let fails = fails.clone();
    move |_: Endpoint| {
        let fails = fails.load(Relaxed);
        async move { if fails { Err("told to fail") } else { Ok(()) } }
    }
}

/// Waits until something holds, and says how long that took.
async fn until(holds: impl Fn() -> bool) -> Duration {
    let begin = Instant::now();
    while !holds() {
        sleep(Duration::from_millis(1)).await;
        assert!(begin.elapsed() < secs(3_600), "it never came to hold");
    }
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn three_failures_take_it_out_and_two_successes_bring_it_back() {
    let fails = Arc::new(AtomicBool::new(false));
    let (tell, mut told) = mpsc::unbounded_channel();
    let checker = HealthChecker::builder(switch(&fails))
        .config(config(|_| {}))
        .observe(move |event: &HealthEvent| {
            if let HealthEvent::Changed { endpoint, healthy, row, error, .. } = event {
                // The state is written first.
                assert_eq!(endpoint.state().is_unhealthy(), !healthy);
                let _ = tell.send((*healthy, *row, error.as_ref().map(ToString::to_string)));
            }
        })
        .build();
    let one = Endpoint::new("mcp://10.0.0.7:8080");
    one.state().set_ready();
    checker.add(one.clone());
    until(|| checker.counts().probes == 1).await;

    fails.store(true, Relaxed);
    let took = until(|| one.state().is_unhealthy()).await;
    assert!(took >= secs(14) && took <= secs(16), "{took:?}");
    assert_eq!(one.state().status(), EndpointStatus::Unhealthy);
    assert_eq!(told.try_recv().unwrap(), (false, 3, Some("told to fail".to_owned())));
    let seen = checker.endpoint(one.id()).unwrap();
    assert_eq!((seen.healthy, seen.row), (false, 3));
    assert_eq!(seen.last.unwrap().error.unwrap().to_string(), "told to fail");

    fails.store(false, Relaxed);
    let took = until(|| !one.state().is_unhealthy()).await;
    assert!(took >= secs(9) && took <= secs(11), "{took:?}");
    assert!(one.state().is_ready());
    assert_eq!(told.try_recv().unwrap(), (true, 2, None));
    assert!(told.try_recv().is_err());
    let counts = checker.counts();
    assert_eq!((counts.endpoints, counts.unhealthy, counts.probes, counts.failed), (1, 0, 6, 3));
}

#[tokio::test(start_paused = true)]
async fn who_never_answers_has_failed_when_the_time_is_up() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let checker = HealthChecker::builder(move |_: Endpoint| {
        count.fetch_add(1, Relaxed);
        pending::<Result<(), BoxError>>()
    })
    .config(config(|o| o.recheck = Some(secs(2))))
    .build();
    let one = Endpoint::new("a:1");
    checker.add(one.clone());
    until(|| checker.counts().probes == 1).await;
    let last = checker.endpoint(one.id()).unwrap().last.unwrap();
    assert!(matches!(last.error, Some(ProbeError::TimedOut(waited)) if waited == secs(1)));
    assert!(last.took >= secs(1) && last.took < secs(2));
    // It is in doubt: asked again sooner.
    let took = until(|| one.state().is_unhealthy()).await;
    assert!(took <= Duration::from_millis(4_100), "{took:?}");
    assert_eq!(asked.load(Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_has_failed_and_harms_nothing() {
    let checker = HealthChecker::builder(|endpoint: Endpoint| async move {
        if &**endpoint.address() == "bad:1" {
            panic!("on purpose");
        }
        Ok::<_, BoxError>(())
    })
    .config(config(|_| {}))
    .build();
    let (bad, good) = (Endpoint::new("bad:1"), Endpoint::new("good:1"));
    checker.add(bad.clone());
    checker.add(good.clone());
    until(|| bad.state().is_unhealthy()).await;
    let last = checker.endpoint(bad.id()).unwrap().last.unwrap();
    assert!(matches!(last.error, Some(ProbeError::Panicked)));
    sleep(secs(60)).await;
    let good = checker.endpoint(good.id()).unwrap();
    assert!(good.healthy && good.row > 10);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_harms_nothing() {
    let fails = Arc::new(AtomicBool::new(true));
    let checker = HealthChecker::builder(switch(&fails))
        .config(config(|_| {}))
        .observe(|_: &HealthEvent| panic!("on purpose"))
        .build();
    let one = Endpoint::new("a:1");
    checker.add(one.clone());
    until(|| one.state().is_unhealthy()).await;
    fails.store(false, Relaxed);
    until(|| !one.state().is_unhealthy()).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_to_prove_itself_is_let_in_by_the_first_success() {
    let fails = Arc::new(AtomicBool::new(false));
    let checker =
        HealthChecker::builder(switch(&fails)).config(config(|o| o.initial = Initial::Unhealthy)).build();
    let one = Endpoint::new("a:1");
    let mut checked = Box::pin(checker.through(Fixed::new([one.clone()])));
    let change = poll_fn(|cx| checked.as_mut().poll_change(cx)).await;
    assert_eq!(change, Some(Change::Insert(one.clone())));
    assert!(one.state().is_unhealthy(), "before anybody hears of it");
    assert_eq!(checker.counts().unhealthy, 1);
    let took = until(|| !one.state().is_unhealthy()).await;
    assert!(took <= Duration::from_millis(501), "{took:?}");
}

/// A stream that is told what to say.
struct Told(mpsc::UnboundedReceiver<Change>);

impl Discover for Told {
    fn poll_change(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Change>> {
        self.0.poll_recv(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_passed_on_and_its_endpoints_are_checked_while_they_are_in_the_set() {
    let fails = Arc::new(AtomicBool::new(true));
    let checker = HealthChecker::builder(switch(&fails)).config(config(|_| {})).build();
    let (tell, told) = mpsc::unbounded_channel();
    let mut checked = Box::pin(checker.through(Told(told)));
    let (a, b) = (Endpoint::new("a:1"), Endpoint::new("b:1"));
    let heavier = a.clone().with_weight(7);
    for change in [
        Change::Insert(a.clone()),
        Change::Insert(b.clone()),
        Change::Settled,
        Change::Insert(heavier.clone()),
    ] {
        tell.send(change.clone()).unwrap();
        assert_eq!(poll_fn(|cx| checked.as_mut().poll_change(cx)).await, Some(change));
    }
    assert_eq!(checker.endpoints().len(), 2);
    assert_eq!(checker.endpoint(a.id()).unwrap().endpoint, heavier);
    until(|| a.state().is_unhealthy() && b.state().is_unhealthy()).await;

    tell.send(Change::Remove(a.id())).unwrap();
    poll_fn(|cx| checked.as_mut().poll_change(cx)).await;
    assert!(!a.state().is_unhealthy(), "nobody would find out that it has recovered");
    assert!(b.state().is_unhealthy());
    assert_eq!(checker.endpoints().len(), 1);

    // One that came twice is checked until both are gone.
    checker.add(b.clone());
    drop(checked);
    assert!(b.state().is_unhealthy() && checker.endpoints().len() == 1);
    assert!(checker.remove(b.id()) && !checker.remove(b.id()));
    assert!(!b.state().is_unhealthy() && checker.endpoints().is_empty());
}

#[tokio::test(start_paused = true)]
async fn probes_end_with_their_endpoint_and_with_the_last_handle() {
    #[derive(Clone)]
    struct Under(Arc<AtomicUsize>);
    impl Probe for Under {
        async fn probe(&mut self, _: &Endpoint) -> Result<(), BoxError> {
            struct Count(Arc<AtomicUsize>);
            impl Drop for Count {
                fn drop(&mut self) {
                    self.0.fetch_sub(1, Relaxed);
                }
            }
            self.0.fetch_add(1, Relaxed);
            let _count = Count(self.0.clone());
            pending().await
        }
    }
    let under_way = Arc::new(AtomicUsize::new(0));
    let checker = HealthChecker::builder(Under(under_way.clone()))
        .config(config(|o| (o.interval, o.timeout) = (secs(60), secs(60))))
        .build();
    let endpoints: Vec<_> = (0..4).map(|n| Endpoint::new(format!("a:{n}"))).collect();
    endpoints.iter().for_each(|one| checker.add(one.clone()));
    until(|| under_way.load(Relaxed) >= 2).await;
    let probed = checker.endpoints().into_iter().find(|one| one.next.is_none()).unwrap();
    let before = under_way.load(Relaxed);
    checker.remove(probed.endpoint.id());
    tokio::task::yield_now().await;
    assert_eq!(under_way.load(Relaxed), before - 1);

    let clone = checker.clone();
    drop(checker);
    until(|| under_way.load(Relaxed) >= 2).await;
    drop(clone);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(under_way.load(Relaxed), 0);
    assert_eq!(Arc::strong_count(&under_way), 1, "nothing of it is left");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_gone_is_not_probed() {
    let fails = Arc::new(AtomicBool::new(false));
    let checker = HealthChecker::builder(switch(&fails)).config(config(|_| {})).build();
    let one = Endpoint::new("a:1");
    checker.add(one.clone());
    until(|| checker.counts().probes == 1).await;
    one.state().set_gone();
    sleep(secs(20)).await;
    let counts = checker.counts();
    assert_eq!((counts.probes, counts.endpoints), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_are_spread_over_the_interval() {
    let begun = Arc::new(Mutex::new(HashMap::<u64, u32>::new()));
    let (all, begin) = (begun.clone(), Instant::now());
    let checker = HealthChecker::builder(move |_: Endpoint| {
        // In tenths of a second.
        let tenth = (begin.elapsed().as_millis() / 100) as u64;
        *all.lock().unwrap().entry(tenth).or_default() += 1;
        async { Ok::<_, BoxError>(()) }
    })
    .build();
    let endpoints: Vec<_> = (0..10_000).map(|n| Endpoint::new(format!("a:{n}"))).collect();
    tokio::spawn(checker.through(Fixed::new(endpoints)).run());
    sleep(secs(20)).await;
    let begun = begun.lock().unwrap();
    // 200 are the fair share of each, give or take 14; where the first round and the second one overlap by their jitter, more.
    for tenth in 0..199 {
        let count = begun.get(&tenth).copied().unwrap_or_default();
        let fair = if tenth < 100 { 60..440 } else { 120..280 };
        assert!(fair.contains(&count), "{count} in tenth {tenth}");
    }
    let all: u32 = begun.values().sum();
    assert!((38_000..42_000).contains(&all), "{all}");
    assert_eq!(checker.counts().unhealthy, 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_the_config_says_and_none_starves() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, peak) = (now.clone(), most.clone());
    let checker = HealthChecker::builder(move |_: Endpoint| {
        let (count, peak) = (count.clone(), peak.clone());
        async move {
            peak.fetch_max(count.fetch_add(1, Relaxed) + 1, Relaxed);
            sleep(Duration::from_millis(500)).await;
            count.fetch_sub(1, Relaxed);
            Ok::<_, BoxError>(())
        }
    })
    .config(config(|o| o.concurrency = 10))
    .build();
    // 200 in 5 s would take 20 at a time.
    (0..200).for_each(|n| checker.add(Endpoint::new(format!("a:{n}"))));
    sleep(secs(41)).await;
    assert_eq!(most.load(Relaxed), 10);
    let counts = checker.counts();
    assert!(counts.late >= secs(4), "{counts:?}");
    let rows: Vec<_> = checker.endpoints().iter().map(|one| one.row).collect();
    let (least, most) = (rows.iter().min().unwrap(), rows.iter().max().unwrap());
    assert!(*least >= 3 && *most <= 5, "from {least} to {most}");
}

#[tokio::test(start_paused = true)]
async fn a_shorter_interval_counts_at_once() {
    let fails = Arc::new(AtomicBool::new(false));
    let checker =
        HealthChecker::builder(switch(&fails)).config(config(|o| o.interval = secs(24 * 3_600))).build();
    (0..20).for_each(|n| checker.add(Endpoint::new(format!("a:{n}"))));
    sleep(secs(1)).await;
    let before = checker.counts().probes;
    assert!(before < 20);
    checker.config().set(config(|_| {}));
    sleep(secs(6)).await;
    assert!(checker.endpoints().iter().all(|one| one.row > 0));
    sleep(secs(50)).await;
    assert!(checker.endpoints().iter().all(|one| one.row >= 10), "{:?}", checker.counts());
}

#[test]
fn without_a_runtime_they_start_when_there_is_one_and_they_outlive_one() {
    let fails = Arc::new(AtomicBool::new(true));
    let checker = HealthChecker::builder(switch(&fails))
        .config(config(|o| (o.interval, o.timeout) = (Duration::from_millis(10), Duration::from_millis(10))))
        .build();
    let one = Endpoint::new("a:1");
    checker.add(one.clone());
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let mut checked = Box::pin(checker.through(Told(mpsc::unbounded_channel().1)));
    runtime().block_on(async {
        sleep(secs(1)).await;
        assert_eq!(checker.counts().probes, 0);
        let _ = poll_fn(|cx| Poll::Ready(checked.as_mut().poll_change(cx))).await;
        until(|| one.state().is_unhealthy()).await;
    });
    fails.store(false, Relaxed);
    runtime().block_on(async {
        let before = checker.counts().probes;
        let _ = poll_fn(|cx| Poll::Ready(checked.as_mut().poll_change(cx))).await;
        until(|| !one.state().is_unhealthy()).await;
        assert!(checker.counts().probes > before);
    });
}

/// An endpoint that comes and goes while it is probed on another thread ends as nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_removed_is_not_left_unhealthy() {
    let checker = HealthChecker::builder(|_: Endpoint| async { Err("always") })
        .config(config(|o| {
            (o.interval, o.timeout, o.failures) = (Duration::from_millis(10), Duration::from_millis(10), 1);
            o.initial = Initial::Unhealthy;
        }))
        .build();
    let endpoints: Vec<_> = (0..16).map(|n| Endpoint::new(format!("a:{n}"))).collect();
    for round in 0..200 {
        endpoints.iter().for_each(|one| checker.add(one.clone()));
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
        endpoints.iter().for_each(|one| assert!(checker.remove(one.id())));
        assert!(checker.endpoints().is_empty());
    }
    let clean = || endpoints.iter().all(|one| !one.state().is_unhealthy());
    timeout(secs(10), async {
        while !clean() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[test]
fn what_is_shared_can_be() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<HealthChecker>();
    shared::<towpath_health::Checked<Fixed>>();
    shared::<towpath_health::Health>();
    shared::<towpath_health::PingProbe>();
    shared::<towpath_health::TcpProbe>();
    shared::<towpath_health::HttpProbe>();
    let ids: Vec<EndpointId> = HealthChecker::new(towpath_health::TcpProbe::new())
        .endpoints()
        .into_iter()
        .map(|one| one.endpoint.id())
        .collect();
    assert!(ids.is_empty());
    let future = pin!(HealthChecker::new(towpath_health::TcpProbe::new()).through(Fixed::new([])).run());
    fn sent<F: Future + Send>(_: &F) {}
    sent(&future);
}
